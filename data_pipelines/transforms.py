"""Encoded pictures to square arrays."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from data_pipelines.pictures import (
    DEFAULT_READING,
    Reading,
    decode_picture,
    read_picture,
    square,
)


def decode_image(
    data: bytes,
    path: str,
    size: int,
    upright: bool = False,
    reading: Reading = DEFAULT_READING,
) -> UInt8[np.ndarray, "size size 3"]:
    """Decodes an image to RGB and squashes it to a square.

    The resize is PIL's bicubic on the 8-bit image, as in AnomalyCLIP's
    `get_transform`.

    Args:
      data: The encoded file.
      path: Its name, for the message.
      size: Side of the result in pixels.
      upright: Applies the EXIF orientation; see `decode_picture`.
      reading: What its numbers mean.

    Returns:
      uint8 pixels `[size, size, 3]`.

    Raises:
      DataError: the bytes are not a readable image.
    """
    return square(decode_picture(data, path, reading, upright=upright).image, size)


def decode_within(
    data: bytes,
    path: str,
    side: int,
    reading: Reading = DEFAULT_READING,
    *,
    upright: bool = False,
) -> UInt8[np.ndarray, "h w 3"]:
    """Decodes an image to RGB at its own aspect, shrunk into a square if need be.

    Args:
      data: The encoded file.
      path: Its name, for the message.
      side: The longest side of the result, in pixels.
      reading: What its numbers mean.
      upright: Applies the EXIF orientation; see `decode_picture`.

    Returns:
      uint8 pixels `[h, w, 3]`.

    Raises:
      DataError: the bytes are not a readable image.
    """
    image = decode_picture(data, path, reading, upright=upright).image
    image.thumbnail((side, side), Image.Resampling.BICUBIC)
    return np.array(image)


def read_image(
    path: str | Path,
    size: int,
    reading: Reading = DEFAULT_READING,
) -> tuple[UInt8[np.ndarray, "size size 3"], int, int]:
    """Reads a photograph for prediction.

    Args:
      path: The image file.
      size: Side of the result in pixels.
      reading: What its numbers mean.

    Returns:
      uint8 pixels `[size, size, 3]`, and the image's own height and width.

    Raises:
      DataError: the file cannot be read or decoded.
    """
    image = read_picture(path, reading).image
    return square(image, size), image.height, image.width
