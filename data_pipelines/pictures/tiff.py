"""TIFF: how many pictures a file holds, and those that Pillow does not read right.

Pictures of 8 bits are left to Pillow. Deeper ones are decoded by tifffile, which needs
imagecodecs for some compressions; without it Pillow's libtiff does where it can.
"""

import contextlib
import logging
import lzma
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from data_pipelines.errors import DataError
from data_pipelines.pictures.formats import EXTRA, identify, load_whole
from data_pipelines.pictures.limits import (
    MOST_PICTURES,
    check_pixels,
    refuse_several,
)
from data_pipelines.pictures.reading import Reading
from data_pipelines.pictures.values import Stored

try:
    import tifffile
except ImportError:
    tifffile = None

# Subfile types: a smaller copy of another picture, a transparency mask.
_NO_PICTURE = 1 | 4
_INVERTED, _GREY, _RGB, _PALETTE, _INK = 0, 1, 2, 3, 5
_DEFLATE, _LZMA, _PACKBITS = (8, 32946), 34925, 32773
_SUBFILE_TAG, _BITS_TAG, _ORIENTATION_TAG = 254, 258, 274
_MAX_SAMPLE_TAG, _FORMAT_TAG = 281, 339


@dataclass(frozen=True, eq=False)
class Tiff:
    """The one picture of a TIFF file.

    Attributes:
      image: As Pillow opened it, where it reads it right; not loaded yet.
      stored: Else its values.
      ink: Whether these are cyan, magenta, yellow and black.
      orientation: Of these, as EXIF has it; Pillow turns its own.
    """

    image: Image.Image | None = None
    stored: Stored | None = None
    ink: bool = False
    orientation: int = 1


def read_tiff(file: BinaryIO, name: str, reading: Reading) -> Tiff:
    """Finds the one picture of a file, and reads it where Pillow would not do it right.

    Args:
      file: The file.
      name: What it is, for messages.
      reading: How large it may be.

    Raises:
      DataError: it holds several pictures, or one of a kind that is not read.
    """
    with _opened(file) as tiff:
        if tiff is None:
            return Tiff(_with_pillow_alone(file, name, reading, deep=False))
        number, page = _only_page(tiff, name)
        check_pixels(page.imagewidth, page.imagelength, name, reading)
        _check_bands(page, name)
        known = page.predictor == 1 or int(page.compression) != _PACKBITS
        if known and page.sampleformat == 1 and page.bitspersample <= 8:
            image = _page_of_pillow(file, number)
            if image is not None:
                return Tiff(image)
        each = page.samplesperpixel * page.bitspersample / 8
        check_pixels(page.imagewidth, page.imagelength, name, reading, each)
        return _read_page(file, number, page, name)


def open_tiff(file: BinaryIO, name: str, reading: Reading) -> Image.Image:
    """Opens the one picture of a file as Pillow reads it, whatever its numbers mean."""
    with _opened(file) as tiff:
        if tiff is None:
            return _with_pillow_alone(file, name, reading, deep=True)
        number, page = _only_page(tiff, name)
        check_pixels(page.imagewidth, page.imagelength, name, reading)
    image = _page_of_pillow(file, number)
    if image is None:
        raise ValueError("a TIFF of a kind that Pillow does not read")
    return image


def tiff_size(file: BinaryIO, name: str, reading: Reading) -> tuple[int, int]:
    """Reads width and height, turned as Pillow turns them; see `read_tiff`."""
    with _opened(file) as tiff:
        if tiff is None:
            return _with_pillow_alone(file, name, reading, deep=True).size
        _, page = _only_page(tiff, name)
        size = page.imagewidth, page.imagelength
        check_pixels(*size, name, reading)
        return size[::-1] if _tag(page, _ORIENTATION_TAG, 1) in (5, 6, 7, 8) else size


def is_deep_tiff(file: BinaryIO) -> bool:
    """Whether a file's first page is of other values than 8 bits."""
    with _opened(file) as tiff:
        if tiff is None:
            return False
        page = tiff.pages[0]
        return page.bitspersample > 8 or page.sampleformat != 1


@contextlib.contextmanager
def _opened(file: BinaryIO) -> Iterator[Any]:
    """The file as tifffile has it; None without that, or where it makes nothing of it."""
    if tifffile is None:
        yield None
        return
    # What is wrong with a file is said once, in the error.
    log = logging.getLogger("tifffile")
    if log.level == logging.NOTSET:
        log.setLevel(logging.CRITICAL)
    file.seek(0)
    try:
        tiff = tifffile.TiffFile(file)
    except Exception:  # noqa: BLE001
        tiff = None
    if tiff is None:
        yield None
        return
    with tiff:
        yield tiff if len(tiff.pages) else None


def _page_of_pillow(file: BinaryIO, number: int) -> Image.Image | None:
    file.seek(0)
    image = identify(file)
    if image is not None and number:
        image.seek(number)
    return image


def _only_page(tiff: Any, name: str) -> tuple[int, Any]:
    found = []
    for number, page in enumerate(tiff.pages):
        if not int(getattr(page, "subfiletype", 0)) & _NO_PICTURE:
            found.append((number, page))
        if number >= MOST_PICTURES:
            break
    if not found:
        raise DataError(f"{name} holds no picture of full resolution")
    number, page = found[0]
    page = page.aspage()
    count = max(len(found), page.imagedepth)
    # Both write several pictures as one page.
    with contextlib.suppress(Exception):
        count = max(count, int((tiff.imagej_metadata or {}).get("images", 1)))
    with contextlib.suppress(Exception):
        shape = (tiff.shaped_metadata or ({},))[0].get("shape", page.shape)
        count = max(count, int(np.prod(shape)) // int(np.prod(page.shape)))
    refuse_several(count, name)
    return number, page


def _check_bands(page: Any, name: str) -> None:
    samples, extra = page.samplesperpixel, len(page.extrasamples)
    photometric = int(page.photometric)
    allowed = {_INVERTED: 1, _GREY: 1, _PALETTE: 1, _RGB: 3, _INK: 4}
    bands = allowed.get(photometric, samples)
    # A band that nobody explains is taken for alpha, as Pillow takes it.
    if samples > 4 + (extra and photometric == _INK) or samples - bands > 1:
        raise DataError(
            f"{name} has {samples} bands; allowed are 1 (grey), 3 (RGB) and 4 (CMYK), "
            "and one more for alpha"
        )


def _read_page(file: BinaryIO, number: int, page: Any, name: str) -> Tiff:
    """Decodes a page of more than 8 bits, of floating-point or of signed values."""
    photometric = int(page.photometric)
    kinds = {_INVERTED: 1, _GREY: 1, _RGB: 3, _INK: 4}
    if photometric not in kinds or not page.dtype or page.dtype.kind not in "iuf":
        raise DataError(
            f"{name} is a TIFF of {page.bitspersample} bits in the colours "
            f"{getattr(page.photometric, 'name', photometric)}; allowed are grey, RGB "
            "and CMYK: convert it"
        )
    _check_bands(page, name)
    pixels = _decode_page(file, number, page, name)
    if pixels.ndim == 3:
        bands = kinds[photometric]
        pixels = pixels[..., 0] if bands == 1 else pixels[..., :bands]
    limits = None
    if page.sampleformat == 1:
        limits = 0.0, _highest(page)
    return Tiff(
        stored=Stored(pixels, limits, inverted=photometric == _INVERTED),
        ink=photometric == _INK,
        orientation=_tag(page, _ORIENTATION_TAG, 1),
    )


def _highest(page: Any) -> float:
    """The value that is white, of unsigned ones.

    Many writers keep the picture's own highest value in MaxSampleValue, which says
    nothing; one that ends a depth of its own says that depth.
    """
    full = 2**page.bitspersample - 1
    said = _tag(page, _MAX_SAMPLE_TAG, full)
    depths = {2**depth - 1 for depth in range(9, page.bitspersample)}
    return float(said if said in depths else full)


def _tag(page: Any, code: int, default: int) -> int:
    found = page.tags.valueof(code, default)
    if isinstance(found, (tuple, list)):
        found = max(found, default=default)
    return int(found) if isinstance(found, (int, np.integer)) else default


def _decode_page(file: BinaryIO, number: int, page: Any, name: str) -> np.ndarray:
    _check_segments(file, page)
    try:
        pixels = page.asarray(maxworkers=1)
    except Exception as error:
        # From Python 3.14 on one of them is in the standard library.
        if "imagecodecs" not in str(error) and not isinstance(error, ImportError):
            raise
        found = _pillow_values(file, number, page)
        if found is None:
            raise DataError(
                f"{name} is a TIFF of {page.bitspersample} bits with the compression "
                f"{getattr(page.compression, 'name', page.compression)}, which needs imagecodecs: {EXTRA}"
            ) from error
        return found
    if page.axes == "SYX":
        pixels = np.moveaxis(pixels, 0, -1)
    if page.axes not in ("YX", "YXS", "SYX"):
        raise DataError(f"{name} is a TIFF of the axes {page.axes}; allowed is YXS")
    return pixels


def _check_segments(file: BinaryIO, page: Any) -> None:
    """Refuses compressed strips that hold more than their part of the picture.

    The library would inflate them whole, however much that is.
    """
    compression = int(page.compression)
    if compression not in _DEFLATE and compression != _LZMA:
        return
    most = int(np.prod(page.chunks)) * max(1, page.bitspersample // 8) + 1
    pairs = zip(page.dataoffsets, page.databytecounts, strict=True)
    for offset, count in pairs:
        file.seek(offset)
        data = file.read(count)
        if compression == _LZMA:
            inflated = lzma.LZMADecompressor().decompress(data, most)
        else:
            inflated = zlib.decompressobj().decompress(data, most)
        if len(inflated) >= most:
            raise ValueError("a compressed strip holds more than its part")


def _pillow_values(file: BinaryIO, number: int, page: Any) -> np.ndarray | None:
    """The values as libtiff reads them, where Pillow keeps them whole."""
    image = _page_of_pillow(file, number)
    # Pillow turns pictures as their orientation says; here that comes later. Of the
    # predictor libtiff knows nothing beside this compression.
    turned = _tag(page, _ORIENTATION_TAG, 1) != 1
    packed = int(page.compression) == _PACKBITS and page.predictor != 1
    if image is None or turned or packed or int(page.planarconfig) != 1:
        return None
    if image.mode == "RGB" and page.dtype == np.uint16:
        return _both_bytes_of_tiff(file, number, image)
    if page.samplesperpixel != 1 or (page.dtype.kind == "f") != (image.mode == "F"):
        return None
    load_whole(image)
    pixels = np.asarray(image)
    if pixels.shape != (page.imagelength, page.imagewidth):
        return None
    if page.dtype == np.uint32 and pixels.dtype == np.int32:
        return pixels.view(np.uint32)
    return pixels if image.mode != "L" else None


def _both_bytes_of_tiff(
    file: BinaryIO, number: int, image: Image.Image
) -> np.ndarray | None:
    """Colours of 16 bits: the high bytes, which Pillow keeps, and then the low ones."""
    (tile, *more), native = image.tile, "RGB;16N"
    if more or tile.codec_name != "libtiff" or tile.args[0] != native:
        return None
    swapped = "RGB;16B" if sys.byteorder == "little" else "RGB;16L"
    low = _page_of_pillow(file, number)
    low.tile = [tile._replace(args=(swapped, *tile.args[1:]))]
    load_whole(low)
    low_bytes = np.asarray(low)
    high = _page_of_pillow(file, number)
    load_whole(high)
    pixels = np.asarray(high).astype(np.uint16)
    pixels <<= 8
    pixels |= low_bytes
    return pixels


def _with_pillow_alone(
    file: BinaryIO, name: str, reading: Reading, *, deep: bool
) -> Image.Image:
    """Without tifffile: pictures of 8 bits, and a count of the pages."""
    image = _page_of_pillow(file, 0)
    if image is None:
        raise ValueError("not an image")
    bits = max(image.tag_v2.get(_BITS_TAG, (1,)))
    kinds = set(image.tag_v2.get(_FORMAT_TAG, (1,)))
    if not deep and (bits > 8 or kinds != {1}):
        raise DataError(
            f"{name} is a TIFF of more than 8 bits, which needs tifffile: pip install "
            "tifffile"
        )
    full = []
    for number in range(min(image.n_frames, MOST_PICTURES)):
        image.seek(number)
        check_pixels(*image.size, name, reading)
        if not image.tag_v2.get(_SUBFILE_TAG, 0) & _NO_PICTURE:
            full.append(number)
    refuse_several(len(full), name)
    if not full:
        raise DataError(f"{name} holds no picture of full resolution")
    image.seek(full[0])
    return image
