"""Anomaly maps in colour, alone or laid over their image."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8

# Eleven equidistant colours of matplotlib's inferno (CC0; Smith and van der Walt);
# between them at most 9 of 255 off the original. Lightness rises evenly with the score,
# in greyscale and for colour-blind eyes too.
_ANCHORS = (
    (0, 0, 4),
    (22, 11, 57),
    (66, 10, 104),
    (106, 23, 110),
    (147, 38, 103),
    (188, 55, 84),
    (221, 81, 58),
    (243, 120, 25),
    (252, 165, 10),
    (246, 215, 70),
    (252, 255, 164),
)
_LEVELS = 256
_TABLE = np.stack(
    [
        np.interp(np.linspace(0, 1, _LEVELS), np.linspace(0, 1, len(_ANCHORS)), channel)
        for channel in zip(*_ANCHORS, strict=True)
    ],
    axis=1,
)

# Pixels in floating point at a time: a photograph's 48 million would take gigabytes.
_STRIP = 2**20

# Green is the hue that inferno lacks.
OUTLINE = (0, 255, 128)


def colourise(anomaly_map: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """A map in colour, from black (0) over red to pale yellow (1).

    The scale is fixed, so that pictures of different images compare; scores outside
    [0, 1] take the colour of the nearer end.

    Args:
        anomaly_map: Scores, `[h, w]`.

    Returns:
        RGB, `[h, w, 3]`.

    Raises:
        ValueError: a score is NaN.
    """
    picture = np.empty((*anomaly_map.shape, 3), np.uint8)
    for rows in _strips(anomaly_map.shape):
        picture[rows] = np.rint(_paint(anomaly_map[rows]))
    return picture


def overlay(
    image: UInt8[np.ndarray, "h w 3"],
    anomaly_map: Float[np.ndarray, "h w"],
    alpha: float = 0.8,
    mask: Integer[np.ndarray, "h w"] | Bool[np.ndarray, "h w"] | None = None,
) -> UInt8[np.ndarray, "h w 3"]:
    """A map over its image; opacity grows with the score, so normal areas stay visible.

    Args:
        image: RGB, `[h, w, 3]`.
        anomaly_map: Scores in [0, 1], `[h, w]`.
        alpha: Opacity of the score 1, in [0, 1]; a score s has opacity alpha · s.
        mask: Non-zero on anomalous pixels; its outline is drawn where given.

    Returns:
        RGB, `[h, w, 3]`; the image itself where the map is 0.

    Raises:
        ValueError: sizes differ, alpha is outside [0, 1] or a score is NaN.
    """
    if image.shape[:2] != anomaly_map.shape:
        raise ValueError(
            f"image is {image.shape[:2]} and anomaly_map {anomaly_map.shape}; "
            "resize one to the other"
        )
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha}; it must lie in [0, 1]")
    picture = np.empty_like(image)
    for rows in _strips(anomaly_map.shape):
        scores = anomaly_map[rows]
        opacity = alpha * np.clip(scores, 0, 1).astype(np.float32)[..., None]
        picture[rows] = np.rint(image[rows] * (1 - opacity) + _paint(scores) * opacity)
    return picture if mask is None else outline(picture, mask)


def outline(
    image: UInt8[np.ndarray, "h w 3"],
    mask: Integer[np.ndarray, "h w"] | Bool[np.ndarray, "h w"],
    colour: tuple[int, int, int] = OUTLINE,
) -> UInt8[np.ndarray, "h w 3"]:
    """An image with the border of a mask drawn just outside of it.

    Args:
        image: RGB, `[h, w, 3]`.
        mask: Non-zero on anomalous pixels, `[h, w]`.
        colour: RGB of the line, whose width is 1/200 of the longer side.

    Returns:
        RGB, `[h, w, 3]`; anomalous pixels unchanged.

    Raises:
        ValueError: sizes differ.
    """
    if image.shape[:2] != mask.shape:
        raise ValueError(
            f"image is {image.shape[:2]} and mask {mask.shape}; resize one to the other"
        )
    inside = mask > 0
    grown = _grow(inside, max(1, round(max(mask.shape) / 200)))
    picture = image.copy()
    picture[grown & ~inside] = colour
    return picture


def _grow(mask: Bool[np.ndarray, "h w"], width: int) -> Bool[np.ndarray, "h w"]:
    """A mask dilated by a square, `width` pixels to each side."""
    grown = mask.copy()
    for lines in (grown, grown.T):
        reach = 0
        while reach < width:
            # A step of one more than what is covered already leaves no gap.
            shift = min(reach + 1, width - reach)
            before = np.copy(lines)
            lines[shift:] |= before[:-shift]
            lines[:-shift] |= before[shift:]
            reach += shift
    return grown


def _strips(shape: tuple[int, int]) -> Iterator[slice]:
    """Rows of a picture, a few at a time."""
    height = max(1, _STRIP // max(shape[1], 1))
    for top in range(0, shape[0], height):
        yield slice(top, top + height)


def _paint(anomaly_map: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w 3"]:
    """Colours in [0, 255] before rounding."""
    if np.isnan(anomaly_map).any():
        raise ValueError("anomaly_map holds NaN; scores lie in [0, 1]")
    level = np.rint(np.clip(anomaly_map, 0, 1).astype(np.float32) * (_LEVELS - 1))
    return _TABLE[level.astype(np.intp)]
