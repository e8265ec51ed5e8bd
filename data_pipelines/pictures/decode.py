"""Encoded files, arrays and PIL images to RGB pictures of 8 bits.

Whatever a decoder raises is the picture's own error: every step lies inside `naming`.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from data_pipelines.errors import DataError
from data_pipelines.pictures.deep import is_deep_image, jpeg_2000_depth, read_deep
from data_pipelines.pictures.dicom import read_dicom
from data_pipelines.pictures.files import open_file
from data_pipelines.pictures.formats import (
    AVIF,
    DICOM,
    HEIC,
    JPEG_2000,
    TIFF,
    as_file,
    identify,
    load_whole,
    name_format,
)
from data_pipelines.pictures.heic import read_heic
from data_pipelines.pictures.limits import check_pixels, refuse_several
from data_pipelines.pictures.reading import (
    DEFAULT_READING,
    REPLACE,
    SKIP_REMEDY,
    Reading,
)
from data_pipelines.pictures.tiff import (
    Tiff,
    is_deep_tiff,
    read_tiff,
    tiff_size,
)
from data_pipelines.pictures.values import (
    AUTO_RANGE,
    SET_RANGE,
    Stored,
    limits_of_type,
    to_levels,
)

REMEDY = f"{REPLACE}, {SKIP_REMEDY}"
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as methods see it.

    Attributes:
      image: RGB of 8 bits.
      warning: What is to be said of its values; empty where nothing is.
    """

    image: Image.Image
    warning: str = ""


def decode_picture(
    data: bytes | BinaryIO,
    path: str,
    reading: Reading = DEFAULT_READING,
    *,
    upright: bool = False,
    remedy: str = REMEDY,
) -> Picture:
    """Decodes an encoded picture to RGB.

    Alpha is dropped, as the field's code does; see `values` for what numbers mean.

    Args:
      data: The encoded file, or what it is read from, bit by bit.
      path: Its name, for the message.
      reading: What its numbers mean, and how large it may be.
      upright: Applies the EXIF orientation. Off for catalogue datasets, whose figures
        were made with the pixels as stored. A TIFF's is always applied, and HEIC's.
      remedy: What the message tells the user to do.

    Raises:
      DataError: it is empty, damaged, of no known format, too large, holds several
        pictures, or values whose range nobody knows.
    """
    with naming(path, remedy):
        file = nonempty(data, path, remedy)
        found, orientation = _decode(file, path, reading, remedy)
        if not upright and orientation > 0:
            orientation = 0
        return Picture(_turn(found.image, abs(orientation)), found.warning)


def read_picture(path: str | Path, reading: Reading = DEFAULT_READING) -> Picture:
    """Reads a file for prediction as an RGB picture, upright if `reading` says so.

    Only as much of a file is read as its format asks for: what is no image costs
    nothing, whatever its size.

    Raises:
      DataError: see `decode_picture`.
    """
    with open_file(path) as file:
        return decode_picture(
            file, str(path), reading, upright=reading.upright, remedy=REPLACE
        )


def read_size(
    file: Path | bytes, path: str = "", reading: Reading = DEFAULT_READING
) -> tuple[int, int]:
    """Reads a picture's width and height, as stored, from its header.

    Args:
      file: The file, or its encoded content.
      path: The name of encoded content, for the message.
      reading: How large it may be.

    Raises:
      DataError: the file cannot be read, is no picture, too large, or holds several.
    """
    if isinstance(file, Path):
        with open_file(file) as opened:
            return _size(opened, path or str(file), reading)
    return _size(file, path, reading)


def is_deep(data: bytes | BinaryIO) -> bool:
    """Says by its header whether a picture is of other values than 8 bits.

    Of what cannot be read it says no: decoding it says why.
    """
    with contextlib.suppress(Exception):
        file = as_file(data)
        kind = name_format(file)
        if kind == TIFF:
            return is_deep_tiff(file)
        return kind == DICOM or is_deep_image(file)
    return False


def picture_from_array(
    array: np.ndarray, name: str, reading: Reading = DEFAULT_READING
) -> Picture:
    """Takes an array as a picture.

    Args:
      array: `[h, w]`, `[h, w, 3]` (RGB) or `[h, w, 4]`, whose alpha is dropped: uint8,
        unsigned over the full range of its type, or any other number with a
        `value_range`.
      name: What it is, for messages.
      reading: What its numbers mean.

    Raises:
      DataError: it is of another shape or type, or its range is not known.
    """
    shaped = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if not shaped or array.dtype.kind not in "uif" or not array.size:
        raise DataError(
            f"{name} is an array of {array.dtype} and shape {array.shape}; allowed are "
            "[h, w], [h, w, 3] (RGB) and [h, w, 4] of uint8 or uint16, or of other "
            "numbers where value_range says their range"
        )
    with naming(name, REPLACE):
        pixels = array[..., :3] if array.ndim == 3 else array
        if array.dtype == np.uint8:
            image = Image.fromarray(np.ascontiguousarray(pixels))
            return Picture(image.convert("RGB"))
        stored = Stored(pixels, limits_of_type(array.dtype))
        return _from_stored(stored, name, reading)


def picture_from_image(
    image: Image.Image, name: str, reading: Reading = DEFAULT_READING
) -> Picture:
    """Turns somebody's PIL image of any mode into an RGB picture, upright likewise.

    Raises:
      DataError: it cannot be decoded, has no pixels, or its range is not known.
    """
    if not image.width or not image.height:
        raise DataError(
            f"{name} is a picture of {image.width}x{image.height} px; allowed are "
            "those of 1x1 px and above"
        )
    with naming(name, REPLACE):
        file = _file_of_deep(image)
        if file is not None:
            place = file.tell()
            try:
                return decode_picture(
                    file, name, reading, upright=reading.upright, remedy=REPLACE
                )
            finally:
                # Where Pillow left it, should the caller use the image himself.
                file.seek(place)
        orientation = _orientation(image) if reading.upright else 1
        # Pillow decodes at first use.
        if image.mode == "F":
            found = _from_stored(Stored(np.asarray(image), None), name, reading)
        elif image.mode == "I" or image.mode.startswith("I;16"):
            # In Pillow «I» is what 16 bits become as soon as they are touched.
            stored = Stored(np.asarray(image), (0.0, 65535.0))
            found = _from_stored(stored, name, reading)
        else:
            found = Picture(image.convert("RGB"))
        return Picture(_turn(found.image, orientation), found.warning)


def square(image: Image.Image, size: int) -> np.ndarray:
    """Squashes an RGB picture to a square by PIL's bicubic; uint8 `[size, size, 3]`."""
    return np.array(image.resize((size, size), Image.Resampling.BICUBIC))


@contextlib.contextmanager
def naming(path: str, remedy: str) -> Iterator[None]:
    """Turns whatever a decoder raises into a DataError that names the picture."""
    try:
        yield
    except DataError:
        raise
    # Decoders raise nearly anything on damaged files, MemoryError included.
    except Exception as error:
        reason = "there is not enough memory for it"
        if not isinstance(error, MemoryError):
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(f"{path} cannot be decoded ({reason}); {remedy}") from error


def nonempty(data: bytes | BinaryIO, path: str, remedy: str) -> BinaryIO:
    """Opens an encoded picture from its beginning; raises DataError without any."""
    file = as_file(data)
    if not file.seek(0, os.SEEK_END):
        raise DataError(f"{path} is empty (0 bytes); {remedy}")
    file.seek(0)
    return file


def _decode(
    file: BinaryIO, path: str, reading: Reading, remedy: str
) -> tuple[Picture, int]:
    """The picture, and its orientation: negative where it is applied in any case."""
    kind = name_format(file)
    if kind == DICOM:
        found = read_dicom(file, path, reading)
        if isinstance(found, Stored):
            return _from_stored(found, path, reading), 1
        return Picture(Image.fromarray(found)), 1
    if kind == HEIC:
        return Picture(read_heic(file, path, reading).convert("RGB")), 1
    if kind == TIFF:
        found = read_tiff(file, path, reading)
        if found.stored is not None:
            return _from_stored(found.stored, path, reading, found), -found.orientation
        image = found.image
    else:
        image = identified(file, path, reading, remedy)
        stored = read_deep(file, image)
        if stored is not None:
            return _from_stored(stored, path, reading), _orientation(image)
    load_whole(image)
    warning = ""
    if image.format == "JPEG2000" and jpeg_2000_depth(file) > 8:
        warning = _warn_of_high_bytes(image, path, reading)
    return Picture(image.convert("RGB"), warning), _orientation(image)


def identified(file: BinaryIO, path: str, reading: Reading, remedy: str) -> Image.Image:
    """Opens a picture that is no larger than allowed and the only one of its file."""
    file.seek(0)
    image = identify(file)
    if image is None:
        _refuse_unknown(file, path, remedy)
    check_pixels(image.width, image.height, path, reading)
    # Of a phone's MPO the first is the picture, and the others are made from it.
    if image.format != "MPO":
        refuse_several(getattr(image, "n_frames", 1), path)
    return image


def _refuse_unknown(file: BinaryIO, path: str, remedy: str) -> None:
    kind = name_format(file)
    if kind in (AVIF, JPEG_2000):
        raise DataError(f"{path} is {kind}, which needs Pillow 11.3: upgrade Pillow")
    if kind in (DICOM, HEIC):
        raise DataError(f"{path} is {kind}, which is no mask's format; convert it")
    if kind:
        kind = f": {kind}"
    raise DataError(f"{path} cannot be decoded (not an image{kind}); {remedy}")


def _size(file: bytes | BinaryIO, path: str, reading: Reading) -> tuple[int, int]:
    with naming(path, REMEDY):
        opened = nonempty(file, path, REMEDY)
        if name_format(opened) in (DICOM, HEIC):
            return decode_picture(opened, path, reading).image.size
        if name_format(opened) == TIFF:
            return tiff_size(opened, path, reading)
        return identified(opened, path, reading, REMEDY).size


def _from_stored(
    stored: Stored, name: str, reading: Reading, tiff: Tiff | None = None
) -> Picture:
    levels, warning = to_levels(stored, reading.value_range, name)
    if tiff is not None and tiff.ink:
        inks = [Image.fromarray(levels[..., i].copy()) for i in range(4)]
        return Picture(Image.merge("CMYK", inks).convert("RGB"), warning)
    if levels.ndim == 3 and levels.shape[2] == 4:
        levels = np.ascontiguousarray(levels[..., :3])
    return Picture(Image.fromarray(levels).convert("RGB"), warning)


def _warn_of_high_bytes(image: Image.Image, path: str, reading: Reading) -> str:
    """Colours of which Pillow keeps the high bytes alone."""
    if reading.value_range != AUTO_RANGE:
        raise DataError(
            f"{path} is a coloured JPEG 2000 picture of more than 8 bits, of which "
            "data.value_range cannot be applied; convert it to PNG or TIFF"
        )
    highest = max(band[1] for band in image.convert("RGB").getextrema())
    return f"nearly black; {SET_RANGE}" if 0 < highest < 32 else ""


def _file_of_deep(image: Image.Image) -> BinaryIO | None:
    """The file of an opened image of 16 bits, of which Pillow drops what it says."""
    tiles = getattr(image, "tile", None) or ()
    deep = any(";16" in str(tile[3]) for tile in tiles)
    file = getattr(image, "fp", None)
    return file if deep and file is not None and file.seekable() else None


def _orientation(image: Image.Image) -> int:
    # Damaged EXIF data, on which Pillow raises nearly anything, turns nothing.
    with contextlib.suppress(Exception):
        return int(image.getexif().get(_ORIENTATION, 1))
    return 1


def _turn(image: Image.Image, orientation: int) -> Image.Image:
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)
