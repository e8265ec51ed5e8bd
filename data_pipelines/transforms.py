"""Encoded files to arrays: square pictures, mask binarisation and regions."""

from pathlib import Path

import numpy as np
from jaxtyping import Int32, UInt8
from PIL import Image
from scipy import ndimage

from data_pipelines.pictures import (
    DEFAULT_READING,
    Reading,
    decode_picture,
    load_stored,
    read_picture,
    square,
)

# JPEG rings around edges, so that > 0 would flood a lossy mask with foreground.
_LOSSY_MASK_FLOOR = 127


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
) -> UInt8[np.ndarray, "h w 3"]:
    """Decodes an image to RGB at its own aspect, shrunk into a square if need be.

    Args:
      data: The encoded file.
      path: Its name, for the message.
      side: The longest side of the result, in pixels.
      reading: What its numbers mean.

    Returns:
      uint8 pixels `[h, w, 3]`, in the orientation as stored.

    Raises:
      DataError: the bytes are not a readable image.
    """
    image = decode_picture(data, path, reading).image
    image.thumbnail((side, side), Image.Resampling.BICUBIC)
    return np.array(image)


def read_image(
    path: str | Path,
    size: int,
    reading: Reading = DEFAULT_READING,
) -> tuple[UInt8[np.ndarray, "size size 3"], int, int]:
    """Reads a photograph for prediction, upright.

    Args:
      path: The image file.
      size: Side of the result in pixels.
      reading: What its numbers mean.

    Returns:
      uint8 pixels `[size, size, 3]`, and the upright image's own height and width.

    Raises:
      DataError: the file cannot be read or decoded.
    """
    image = read_picture(path, reading).image
    return square(image, size), image.height, image.width


def decode_mask(data: bytes, path: str, size: int) -> UInt8[np.ndarray, "size size"]:
    """Decodes a ground-truth mask to {0, 1} and squashes it to a square.

    Args:
      data: The encoded mask; `b""` gives an empty mask.
      path: Its name, for the message.
      size: Side of the result in pixels.

    Returns:
      uint8 `[size, size]`, 1 on the anomaly.

    Raises:
      DataError: the bytes are not a readable image.
    """
    if not data:
        return np.zeros((size, size), np.uint8)
    return square_mask(decode_original_mask(data, path), size)


def decode_original_mask(data: bytes, path: str) -> UInt8[np.ndarray, "h w"]:
    """Decodes a ground-truth mask to {0, 1} at its own size.

    Any channel above 0 is the anomaly: masks may hold class ids. JPEG masks are
    binarised at 127 instead.

    Args:
      data: The encoded mask.
      path: Its name, for the message.

    Returns:
      uint8 `[h, w]`, 1 on the anomaly.

    Raises:
      DataError: the bytes are not a readable image.
    """
    image = load_stored(data, path)
    floor = _LOSSY_MASK_FLOOR if image.format == "JPEG" else 0
    if image.mode not in ("L", "I") and not image.mode.startswith("I;16"):
        image = image.convert("RGB")
    pixels = np.asarray(image)
    above = pixels > floor if pixels.ndim == 2 else (pixels > floor).any(axis=-1)
    return above.astype(np.uint8)


def square_mask(
    mask: UInt8[np.ndarray, "h w"], size: int
) -> UInt8[np.ndarray, "size size"]:
    """Squashes a mask of {0, 1} to a square of {0, 1}.

    Times 255, PIL's antialiased bilinear, then above one half, as the peers do.
    """
    full = Image.fromarray(mask * np.uint8(255))
    resized = full.resize((size, size), Image.Resampling.BILINEAR)
    return (np.asarray(resized) > 127).astype(np.uint8)


def label_regions(mask: UInt8[np.ndarray, "h w"]) -> Int32[np.ndarray, "h w"]:
    """Numbers the 8-connected regions of a mask from 1; background is 0."""
    regions = np.zeros(mask.shape, np.int32)
    if not mask.any():
        # Zeros that nobody wrote take no memory, whatever their size.
        return regions
    ndimage.label(mask, structure=np.ones((3, 3)), output=regions)
    return regions
