"""Encoded pictures to arrays: decoding and square resizing."""

import contextlib
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from data_pipelines.errors import DataError

# By content, whatever a file is called. Pillow knows more, and runs Ghostscript on some.
_FORMATS = ("PNG", "JPEG", "BMP", "DIB", "TIFF", "WEBP", "GIF", "PPM")

SKIP_REMEDY = "or skip such files with --config.data.skip_bad_files=True"
_REPLACE = "replace or remove the file"


def open_image(
    data: bytes | BinaryIO, path: str, remedy: str = f"{_REPLACE}, {SKIP_REMEDY}"
) -> Image.Image:
    """Decodes all pixels of an encoded image.

    Args:
      data: The encoded file, or what it is read from, bit by bit.
      path: Its name, for the message.
      remedy: What the message tells the user to do.

    Returns:
      The loaded PIL image, in its own mode and orientation.

    Raises:
      DataError: the bytes are empty, truncated or not an image, or hold floating-point
        pixels, whose range nobody knows.
    """
    if not data:
        raise DataError(f"{path} is empty (0 bytes); {remedy}")
    try:
        file = io.BytesIO(data) if isinstance(data, bytes) else data
        image = Image.open(file, formats=_FORMATS)
        image.load()
    # Pillow's decoders raise nearly anything on damaged files.
    except Exception as error:
        raise _undecodable(path, error, remedy) from error
    if image.mode == "F":
        raise DataError(
            f"{path} holds floating-point pixels; allowed are 8- and 16-bit images: "
            f"convert it, {SKIP_REMEDY}"
        )
    return image


def read_size(file: Path | bytes, path: str = "") -> tuple[int, int]:
    """Reads an image's width and height, as stored, from its header.

    Args:
      file: The file, or its encoded content.
      path: The name of encoded content, for the message.

    Raises:
      DataError: the file cannot be read or is not an image.
    """
    try:
        with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file) as image:
            return image.size
    except Exception as error:
        remedy = f"{_REPLACE}, {SKIP_REMEDY}"
        raise _undecodable(path or str(file), error, remedy) from error


def decode_image(
    data: bytes, path: str, size: int, upright: bool = False
) -> UInt8[np.ndarray, "size size 3"]:
    """Decodes an image to RGB and squashes it to a square.

    The resize is PIL's bicubic on the 8-bit image, as in AnomalyCLIP's
    `get_transform`. 16-bit grey is scaled to 8 bits over its full range; alpha is
    dropped, as the field's code does.

    Args:
      data: The encoded file.
      path: Its name, for the message.
      size: Side of the result in pixels.
      upright: Applies the EXIF orientation. Off for catalogue datasets, whose figures
        were made with the pixels as stored.

    Returns:
      uint8 pixels `[size, size, 3]`.

    Raises:
      DataError: the bytes are not a readable image.
    """
    return square(_rgb(open_image(data, path), upright), size)


def decode_within(
    data: bytes, path: str, side: int, upright: bool = False
) -> UInt8[np.ndarray, "h w 3"]:
    """Decodes an image to RGB at its own aspect, shrunk into a square if need be.

    Args:
      data: The encoded file.
      path: Its name, for the message.
      side: The longest side of the result, in pixels.
      upright: As in `decode_image`.

    Returns:
      uint8 pixels `[h, w, 3]`.

    Raises:
      DataError: the bytes are not a readable image.
    """
    image = _rgb(open_image(data, path), upright)
    image.thumbnail((side, side), Image.Resampling.BICUBIC)
    return np.array(image)


def read_image(
    path: str | Path, size: int, upright: bool = True
) -> tuple[UInt8[np.ndarray, "size size 3"], int, int]:
    """Reads a photograph for prediction.

    Args:
      path: The image file.
      size: Side of the result in pixels.
      upright: Applies the EXIF orientation.

    Returns:
      uint8 pixels `[size, size, 3]`, and the image's own height and width.

    Raises:
      DataError: the file cannot be read or decoded.
    """
    image = read_photograph(path, upright)
    return square(image, size), image.height, image.width


def read_upright(path: str | Path) -> UInt8[np.ndarray, "h w 3"]:
    """Reads a photograph for prediction at its own size, upright.

    Args:
      path: The image file.

    Returns:
      uint8 pixels `[h, w, 3]`.

    Raises:
      DataError: the file cannot be read or decoded.
    """
    return np.asarray(read_photograph(path))


def read_photograph(path: str | Path, upright: bool = True) -> Image.Image:
    """Reads a photograph for prediction as an RGB picture.

    Only as much of a file is read as its format asks for: what is no image costs
    nothing, whatever its size.

    Args:
      path: The image file.
      upright: Applies the EXIF orientation.

    Raises:
      DataError: the file cannot be read or decoded.
    """
    with _open_file(path) as file:
        if not os.fstat(file.fileno()).st_size:
            return open_image(b"", str(path), _REPLACE)
        image = open_image(file, str(path), _REPLACE)
        return upright_photograph(image, str(path), upright)


def upright_photograph(
    image: Image.Image, name: str, upright: bool = True
) -> Image.Image:
    """Turns a picture of any mode into an upright RGB one.

    Args:
      image: As somebody opened or made it.
      name: What it is, for the message.
      upright: False leaves its orientation as it is.

    Raises:
      DataError: it cannot be decoded, has no pixels, or holds floating-point ones.
    """
    if image.mode == "F" or not image.width or not image.height:
        raise DataError(
            f"{name} is a picture of mode {image.mode} and {image.width}x"
            f"{image.height} px; allowed are 8- and 16-bit pictures of 1x1 px and above"
        )
    try:
        return _rgb(image, upright)
    # Pillow decodes at first use.
    except Exception as error:
        raise _undecodable(name, error, _REPLACE) from error


def square(image: Image.Image, size: int) -> UInt8[np.ndarray, "size size 3"]:
    """Squashes an RGB picture to a square by PIL's bicubic."""
    return np.array(image.resize((size, size), Image.Resampling.BICUBIC))


def read_file(path: str | Path) -> bytes:
    """Reads a file's bytes; raises DataError naming it where that fails."""
    with _open_file(path) as file:
        return file.read()


@contextlib.contextmanager
def _open_file(path: str | Path) -> Iterator[BinaryIO]:
    """Opens a regular file: a pipe would be waited for, a device has no end."""
    try:
        mode = os.stat(path).st_mode
        # A folder is left to `open`, which says whether it may be read at all.
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise DataError(f"{path} is not a regular file; {_REPLACE}")
        with open(path, "rb") as file:
            yield file
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})") from error


def _rgb(image: Image.Image, upright: bool) -> Image.Image:
    if upright:
        # Damaged EXIF data, on which Pillow raises nearly anything, turns nothing.
        with contextlib.suppress(Exception):
            image = ImageOps.exif_transpose(image)
    if image.mode == "I" or image.mode.startswith("I;16"):
        deep = np.asarray(image).astype(np.float64).clip(0, 65535)
        image = Image.fromarray(np.round(deep / 257).astype(np.uint8))
    return image.convert("RGB")


def _undecodable(path: str, error: Exception, remedy: str) -> DataError:
    # Pillow's «cannot identify» names a memory address.
    if isinstance(error, Image.UnidentifiedImageError):
        reason = "not an image"
    else:
        reason = (str(error) or type(error).__name__).splitlines()[0]
    return DataError(f"{path} cannot be decoded ({reason}); {remedy}")
