"""Encoded masks to arrays of {0, 1}: decoding, squashing, and their regions."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32, UInt8
from PIL import Image
from scipy import ndimage

from data_pipelines.errors import DataError
from data_pipelines.mask_values import (
    PUBLISHED,
    Palette,
    Told,
    tell_colours,
    tell_grey,
    tell_lossy,
    tell_palette,
    tell_transparent,
)
from data_pipelines.orientation import turn
from data_pipelines.pictures import (
    DEFAULT_READING,
    SKIP_REMEDY,
    Reading,
    load_deep_colours,
    load_stored,
)

# JPEG rings around edges, so that > 0 would flood a lossy mask with foreground.
_LOSSY_MASK_FLOOR = 127
_LOSSY = ("JPEG", "MPO")
# TIFF's tags, and what they say.
_BITS, _PHOTOMETRIC, _PLANAR, _SAMPLE_FORMAT = 258, 262, 284, 339
_MIN_IS_WHITE, _SEPARATE, _SIGNED = 0, 2, 2


@dataclass(frozen=True)
class MaskRule:
    """How the file of a mask becomes one.

    Attributes:
      values: What counts; see `mask_values`.
      turns: The EXIF orientations that turn it to lie on its picture as it is read.
      reading: How large it may be.
    """

    values: str = "auto"
    turns: tuple[int, ...] = ()
    reading: Reading = DEFAULT_READING


AUTO = MaskRule()


def decode_mask(
    data: bytes, path: str, size: int, rule: MaskRule = AUTO
) -> UInt8[np.ndarray, "size size"]:
    """Decodes a ground-truth mask to {0, 1} and squashes it to a square.

    Args:
      data: The encoded mask; `b""` gives an empty mask.
      path: Its name, for the message.
      size: Side of the result in pixels.
      rule: What counts, and which way up it is.

    Returns:
      uint8 `[size, size]`, 1 on the anomaly.

    Raises:
      DataError: the bytes are not a readable mask.
    """
    if not data:
        return np.zeros((size, size), np.uint8)
    return square_mask(decode_original_mask(data, path, rule), size)


def decode_original_mask(
    data: bytes, path: str, rule: MaskRule = AUTO
) -> UInt8[np.ndarray, "h w"]:
    """Decodes a ground-truth mask to {0, 1} at its own size; see `decode_mask`."""
    mask = tell_mask(data, path, rule.values, rule.reading).mask.astype(np.uint8)
    for orientation in rule.turns:
        mask = turn(mask, orientation)
    return mask


def tell_mask(
    data: bytes,
    path: str,
    values: str = "auto",
    reading: Reading = DEFAULT_READING,
) -> Told:
    """Decodes a mask as stored, and says how it was read.

    Args:
      data: The encoded mask.
      path: Its name, for the message.
      values: The rule; see `mask_values`.
      reading: How large it may be; its range is that of pictures, not of masks.

    Raises:
      DataError: the bytes are not a readable image, hold several pictures, or do not
        tell what counts.
    """
    image = load_stored(data, path, reading)
    if values == PUBLISHED:
        return Told(_published(image), values)
    tags = _tags(image)
    if image.mode == "RGB" and (deep := load_deep_colours(data, path, reading)):
        return _tell_deep_colours(*deep, path, values)
    apart = len(image.getbands()) > 1 and tags.get(_PLANAR) == (_SEPARATE,)
    if apart and max(tags[_BITS], default=8) > 8:
        raise DataError(
            f"{path} is a TIFF of more than 8 bits whose colours and alpha are stored "
            "apart, which is not read; write it as PNG"
        )
    if image.format in _LOSSY:
        return tell_lossy(np.asarray(image.convert("RGB")), path, values)
    if image.mode == "P" and "transparency" not in image.info:
        colours = np.asarray(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
        indices = np.asarray(image)
        missing = int(indices.max()) + 1 - len(colours)
        if missing > 0:
            colours = np.pad(colours, ((0, missing), (0, 0)))
        return tell_palette(Palette(indices, colours), path, values)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _tell_deep(np.asarray(image), tags, path, values)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        pixels = np.asarray(image.convert("RGBA"))
        colours, alpha = pixels[..., :3], pixels[..., 3]
        return tell_transparent(colours, alpha, path, values)
    if image.mode == "L" and _SIGNED in tags.get(_SAMPLE_FORMAT, ()):
        return tell_grey(np.asarray(image).view(np.int8), path, values, 127)
    if image.mode in ("1", "L"):
        return tell_grey(np.asarray(image.convert("L")), path, values)
    return tell_colours(np.asarray(image.convert("RGB")), path, values)


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


def _published(image: Image.Image) -> np.ndarray:
    """Any channel above 0, of JPEG masks above 127: what published figures are of."""
    floor = _LOSSY_MASK_FLOOR if image.format == "JPEG" else 0
    if image.mode not in ("L", "I") and not image.mode.startswith("I;16"):
        image = image.convert("RGB")
    pixels = np.asarray(image)
    return pixels > floor if pixels.ndim == 2 else (pixels > floor).any(axis=-1)


def _tell_deep(
    pixels: np.ndarray, tags: dict[int, tuple[int, ...]], path: str, values: str
) -> Told:
    """A mask of 16 or 32 bits: of 8-bit values where none is higher."""
    pixels = pixels.astype(np.int64)
    if tags.get(_PHOTOMETRIC) == (_MIN_IS_WHITE,):
        bits = tags.get(_BITS, (0,))[0]
        if bits != 16 or pixels.min() < 0:
            raise DataError(
                f"{path} has {bits} bits a pixel of which 0 is white, which is not "
                "read; write it with 0 as black"
            )
        pixels = 65535 - pixels
    highest = int(pixels.max())
    top = 255 if highest <= 255 else 65535 if highest <= 65535 else 2**31 - 1
    return tell_grey(pixels, path, values, top)


def _tell_deep_colours(
    colours: np.ndarray, orientation: int, path: str, values: str
) -> Told:
    """A mask in colours of more than 8 bits: of 8-bit values where none is higher."""
    if colours.dtype.kind not in "iu":
        raise DataError(
            f"{path} holds floating-point pixels; allowed are 8- and 16-bit images: "
            f"convert it, {SKIP_REMEDY}"
        )
    colours = turn(colours, orientation).astype(np.int64)
    top = 255 if colours.max() <= 255 else 65535 if colours.max() <= 65535 else 2**31
    return tell_colours(colours, path, values, top)


def _tags(image: Image.Image) -> dict[int, tuple[int, ...]]:
    """What a TIFF file says of its values, empty for others."""
    if image.format != "TIFF":
        return {}
    keys = (_BITS, _PHOTOMETRIC, _PLANAR, _SAMPLE_FORMAT)
    return {key: _tuple(image.tag_v2.get(key)) for key in keys}


def _tuple(value: object) -> tuple[int, ...]:
    if value is None:
        return ()
    return tuple(value) if isinstance(value, Iterable) else (int(value),)
