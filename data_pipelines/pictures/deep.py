"""Pictures of more than 8 bits that Pillow opens, at their full depth.

Pillow has no colour mode of 16 bits and keeps the high byte of each value; what it
leaves out is had by reading the file a second time with the bytes exchanged.
"""

import re
from typing import BinaryIO

import numpy as np
from PIL import Image

from data_pipelines.pictures.formats import identify
from data_pipelines.pictures.values import Stored

_COMMENT = re.compile(rb"#[^\r\n]*")
# The bytes of JPEG 2000 in which its depth is looked for; boxes come first.
_J2K_HEAD = 2**16
_FULL = (0.0, 65535.0)


def read_deep(file: BinaryIO, image: Image.Image) -> Stored | None:
    """Reads the values of a picture that is not of 8 bits.

    Args:
      file: The file.
      image: The same as Pillow opened it, not loaded yet.

    Returns:
      The values; None where Pillow's own 8 bits are all there is.
    """
    if image.format == "PNG":
        return _read_png(file, image)
    if image.format == "PPM":
        return _read_pnm(file, image)
    if image.format == "JPEG2000" and image.mode.startswith("I;16"):
        depth = jpeg_2000_depth(file)
        # Pillow shifts what is less up to 16 bits.
        pixels = np.asarray(image) >> (16 - depth)
        return Stored(pixels, (0.0, float(2**depth - 1)))
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return Stored(np.asarray(image), None)
    return None


def is_deep_image(file: BinaryIO) -> bool:
    """Whether `read_deep` may have values to read."""
    file.seek(0)
    head = file.read(25)
    if head.startswith(b"\x89PNG"):
        return head[24] == 16
    if head[:1] == b"P" and head[1:2] in b"2356fF":
        return True
    return head[:4] == b"\xff\x4f\xff\x51" or head[4:8] == b"jP  "


def jpeg_2000_depth(file: BinaryIO) -> int:
    """Reads the bits of JPEG 2000's first component, at most 16."""
    file.seek(0)
    head = file.read(_J2K_HEAD)
    # SOC, SIZ and its length, then 36 bytes of sizes before the components.
    start = head.find(b"\xff\x4f\xff\x51")
    if start < 0 or start + 42 >= len(head):
        return 16
    return min(16, (head[start + 42] & 127) + 1)


def _read_png(file: BinaryIO, image: Image.Image) -> Stored | None:
    file.seek(24)
    depth, colour = file.read(2)
    if depth != 16:
        return None
    significant = _significant_bits(file)
    if colour == 0:
        file.seek(0)
        pixels = np.asarray(identify(file))
    elif colour == 4:
        # Four bytes a pixel, whatever Pillow calls them.
        four = _with_rawmode(file, "RGBA", "RGBA")[..., :2].astype(np.uint16)
        pixels = four[..., 0] << 8 | four[..., 1]
    else:
        mode = "RGB" if colour == 2 else "RGBA"
        pixels = _both_bytes(file, mode)
    return Stored(pixels, _png_limits(pixels, significant))


def _png_limits(pixels: np.ndarray, significant: int) -> tuple[float, float]:
    """The range that sBIT says, whether values were scaled to 16 bits or left alone.

    The standard asks for scaled ones, whose lower bits are empty (or repeat the upper
    ones, which here are empty, too); cameras' software leaves them as they are.
    """
    if not 8 < significant < 16 or pixels.max() >= 2**significant:
        return _FULL
    rest = pixels & np.uint16(2 ** (16 - significant) - 1)
    return _FULL if rest.max() <= 1 else (0.0, float(2**significant - 1))


def _significant_bits(file: BinaryIO) -> int:
    """The depth in a PNG's sBIT chunk, 0 without one; it comes before the pixels."""
    place = 8
    while True:
        file.seek(place)
        head = file.read(8)
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        if kind == b"sBIT" and 0 < length <= 4:
            values = file.read(length)
            # The last of two or of four is alpha's.
            return max(values[: length - 1] if length in (2, 4) else values)
        if len(head) < 8 or kind in (b"PLTE", b"IDAT", b"IEND"):
            return 0
        place += 12 + length


def _both_bytes(file: BinaryIO, mode: str) -> np.ndarray:
    """Colours of 16 bits, big-endian: their high bytes, then their low ones."""
    pixels = _with_rawmode(file, mode, f"{mode};16B")[..., :3].astype(np.uint16)
    # In place: a huge picture is in memory several times as it is.
    pixels <<= 8
    pixels |= _with_rawmode(file, mode, f"{mode};16L")[..., :3]
    return pixels


def _with_rawmode(file: BinaryIO, mode: str, rawmode: str) -> np.ndarray:
    file.seek(0)
    image = identify(file)
    image._mode = mode
    image.tile = [tile._replace(args=rawmode) for tile in image.tile]
    return np.asarray(image)


def _read_pnm(file: BinaryIO, image: Image.Image) -> Stored | None:
    (tile,) = image.tile
    if image.mode == "F":
        return Stored(np.asarray(image), None)
    rawmode, *rest = (tile.args,) if isinstance(tile.args, str) else tile.args
    highest = 65535 if rawmode == "I;16B" else rest[0] if rest else 255
    if not isinstance(highest, int) or highest <= 255:
        return None
    bands = 3 if image.mode == "RGB" else 1
    count = image.width * image.height * bands
    file.seek(tile.offset)
    if tile.codec_name == "ppm_plain":
        text = _COMMENT.sub(b"", file.read()).decode("ascii")
        pixels = np.fromstring(text, np.int64, count, sep=" ")
        if pixels.size and (pixels.min() < 0 or pixels.max() > highest):
            raise ValueError(f"values outside of 0 to {highest}, its highest")
    else:
        pixels = np.frombuffer(file.read(2 * count), ">u2")
    if pixels.size < count:
        raise ValueError("image file is truncated")
    shape = (image.height, image.width, *((3,) if bands == 3 else ()))
    return Stored(pixels.astype(np.uint16).reshape(shape), (0.0, float(highest)))
