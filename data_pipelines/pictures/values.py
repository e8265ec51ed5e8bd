"""The one rule of what a number in a picture means: from stored values to 8 bits.

What the file says is used. What it cannot say (the range of floating-point or signed
values, 12 bits in 16) is a setting, the same for every picture: to take each picture's
own lowest and highest value would change the contrast from picture to picture.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from data_pipelines.errors import DataError

AUTO_RANGE = "auto"
_DEPTH = re.compile(r"(\d{1,2})bit")
_DEPTHS = range(8, 17)
# Below this share of its range a deep picture is nearly black: 12 bits in 16 reach 1/16.
_DARK = 1 / 8
_BLOCK = 2**20
SET_RANGE = (
    "set --config.data.value_range (value_range of a Detector) to LOW,HIGH or to a "
    "depth such as 12bit"
)


@dataclass(frozen=True)
class Stored:
    """Pixels as a file or an array holds them.

    Attributes:
      pixels: `[h, w]` or `[h, w, c]`, of any integer or floating-point type.
      limits: The values that are black and white, where the file says them.
      inverted: Whether the lowest value is white.
      window: Whether values outside of the limits are meant to be black and white.
    """

    pixels: np.ndarray
    limits: tuple[float, float] | None
    inverted: bool = False
    window: bool = False


def canonical_range(value: str | Sequence[float]) -> str:
    """Spells a value range in its one way, so that equal ones compare equal.

    Args:
      value: `auto`, `8bit` to `16bit`, `LOW,HIGH`, or a pair of numbers.

    Raises:
      DataError: it is none of these.
    """
    text = value if isinstance(value, str) else ",".join(map(str, value))
    text = text.strip().lower()
    depth = _DEPTH.fullmatch(text)
    if text == AUTO_RANGE or (depth and int(depth[1]) in _DEPTHS):
        return text
    try:
        low, high = map(float, text.split(","))
        if math.isfinite(high - low) and low < high:
            return f"{low:.17g},{high:.17g}"
    except ValueError:
        pass
    raise DataError(
        f"data.value_range is {value!r}; allowed are auto, a depth from "
        f"{_DEPTHS[0]}bit to {_DEPTHS[-1]}bit, or LOW,HIGH, the values that are black "
        "and white, as in -1000,1000"
    )


def limits_of(value_range: str) -> tuple[float, float] | None:
    """Reads a canonical range; None is `auto`."""
    if value_range == AUTO_RANGE:
        return None
    depth = _DEPTH.fullmatch(value_range)
    if depth:
        return 0.0, float(2 ** int(depth[1]) - 1)
    low, high = value_range.split(",")
    return float(low), float(high)


def limits_of_type(dtype: np.dtype) -> tuple[float, float] | None:
    """Returns the range of an unsigned type; of others nobody knows it."""
    return (0.0, float(np.iinfo(dtype).max)) if dtype.kind == "u" else None


def to_levels(stored: Stored, value_range: str, name: str) -> tuple[np.ndarray, str]:
    """Turns stored values into 8 bits.

    Args:
      stored: The values, and what the file says of them.
      value_range: A canonical range; it wins over what the file says.
      name: What the picture is, for messages.

    Returns:
      uint8 pixels of the same shape, and what is to be said of them: empty, or that
      they are nearly black or without any contrast.

    Raises:
      DataError: the range is not known, a value is no number, or lies outside of a
        depth.
    """
    pixels = stored.pixels
    lowest, highest = float(pixels.min()), float(pixels.max())
    if not math.isfinite(lowest) or not math.isfinite(highest):
        bad = int(pixels.size - np.isfinite(pixels).sum())
        raise DataError(
            f"{name} holds {bad} values that are no finite numbers (NaN or infinite); "
            "write a number in their place"
        )
    limits = limits_of(value_range) or stored.limits
    if limits is None:
        raise DataError(
            f"{name} holds values of type {pixels.dtype} from {lowest:g} to "
            f"{highest:g}, and does not say which are black and white; {SET_RANGE}"
        )
    low, high = limits
    whole = not stored.window if value_range == AUTO_RANGE else "," not in value_range
    if whole and (lowest < low or highest > high):
        raise DataError(
            f"{name} holds values from {lowest:g} to {highest:g}, outside of its range "
            f"{low:g} to {high:g}; {SET_RANGE}"
        )
    levels = _scale(pixels, low, high)
    warning = _warn(lowest, highest, low, high)
    if stored.inverted:
        np.subtract(255, levels, out=levels)
    return levels, warning


def _warn(lowest: float, highest: float, low: float, high: float) -> str:
    reached = f"values of {lowest:g} to {highest:g} in a range of {low:g} to {high:g}"
    if lowest < highest and (highest <= low or lowest >= high):
        return f"without any contrast: {reached}; {SET_RANGE}"
    if 0 < (highest - low) / (high - low) < _DARK:
        return f"nearly black: {reached}; {SET_RANGE}"
    return ""


def _scale(pixels: np.ndarray, low: float, high: float) -> np.ndarray:
    """Maps `low` to 0 and `high` to 255, rounded and clipped, in little memory."""
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    if pixels.dtype.kind in "iu" and pixels.dtype.itemsize <= 2:
        # Of each value once: exact, and faster than arithmetic on each pixel.
        index = np.dtype(f"u{pixels.dtype.itemsize}")
        every = np.arange(2 ** (8 * index.itemsize)).astype(index)
        table = _levels(every.view(pixels.dtype), low, high)
        return table[np.ascontiguousarray(pixels).view(index)]
    levels = np.empty(pixels.shape, np.uint8)
    for rows in _blocks(pixels):
        levels[rows] = _levels(pixels[rows], low, high)
    return levels


def _levels(values: np.ndarray, low: float, high: float) -> np.ndarray:
    scaled = (values.astype(np.float64) - low) * (255 / (high - low))
    return np.round(scaled.clip(0, 255)).astype(np.uint8)


def _blocks(pixels: np.ndarray) -> Iterator[slice]:
    """Rows of about a million values at a time."""
    step = max(1, _BLOCK * len(pixels) // max(1, pixels.size))
    return (slice(start, start + step) for start in range(0, len(pixels), step))
