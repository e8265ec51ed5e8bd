"""Anomaly maps in colour, alone or laid over their image."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8

from kanoclip_jax.viz.scale import Scale, lay_over, paint

# Pixels in floating point at a time: a photograph's 48 million would take gigabytes.
_STRIP = 2**20

# Lines are pale inside and dark outside, so that they are seen on any ground. Green is a
# true outline, cyan what a threshold found; neither hue is one of the scales'.
OUTLINE = (0, 255, 128)
CONTOUR = (90, 240, 255)
_EDGE = (16, 16, 16)


def colourise(
    anomaly_map: Float[np.ndarray, "h w"], scale: Scale | None = None
) -> UInt8[np.ndarray, "h w 3"]:
    """A map in colour; see `scale.paint`.

    The scale is fixed, so that pictures of different images compare; scores outside
    of it take the colour of the nearer end.

    Args:
        anomaly_map: Scores, `[h, w]`.
        scale: Where colour begins and ends; None for the absolute one, of [0, 1].

    Returns:
        RGB, `[h, w, 3]`.

    Raises:
        ValueError: a score is NaN.
    """
    picture = np.empty((*anomaly_map.shape, 3), np.uint8)
    for rows in _strips(anomaly_map.shape):
        picture[rows] = paint(_numbers(anomaly_map[rows]), scale)
    return picture


def overlay(
    image: UInt8[np.ndarray, "h w 3"],
    anomaly_map: Float[np.ndarray, "h w"],
    scale: Scale | None = None,
    mask: Integer[np.ndarray, "h w"] | Bool[np.ndarray, "h w"] | None = None,
) -> UInt8[np.ndarray, "h w 3"]:
    """A map over its image; what is not above the scale's beginning stays untouched.

    Args:
        image: RGB, `[h, w, 3]`.
        anomaly_map: Scores in [0, 1], `[h, w]`.
        scale: Where colour begins and ends; None for the absolute one, of [0, 1].
        mask: Non-zero on what was found; its contour is drawn where given.

    Returns:
        RGB, `[h, w, 3]`.

    Raises:
        ValueError: sizes differ or a score is NaN.
    """
    if image.shape[:2] != anomaly_map.shape:
        raise ValueError(
            f"image is {image.shape[:2]} and anomaly_map {anomaly_map.shape}; "
            "resize one to the other"
        )
    picture = np.empty_like(image)
    for rows in _strips(anomaly_map.shape):
        picture[rows] = lay_over(image[rows], _numbers(anomaly_map[rows]), scale)
    return picture if mask is None else outline(picture, mask, CONTOUR)


def outline(
    image: UInt8[np.ndarray, "h w 3"],
    mask: Integer[np.ndarray, "h w"] | Bool[np.ndarray, "h w"],
    colour: tuple[int, int, int] = OUTLINE,
) -> UInt8[np.ndarray, "h w 3"]:
    """An image with the border of a mask drawn just outside of it.

    Args:
        image: RGB, `[h, w, 3]`.
        mask: Non-zero on anomalous pixels, `[h, w]`.
        colour: RGB of the line, whose width is 1/200 of the longer side; a dark edge
            of half that width is around it.

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
    width = max(1, round(max(mask.shape) / 200))
    line = _grow(inside, width)
    edge = _grow(line, max(1, width // 2))
    picture = image.copy()
    picture[edge & ~line] = _EDGE
    picture[line & ~inside] = colour
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


def _numbers(scores: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    if np.isnan(scores).any():
        raise ValueError("anomaly_map holds NaN; scores lie in [0, 1]")
    return scores
