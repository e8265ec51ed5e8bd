"""Colour scales of anomaly maps: where colour begins, where it saturates, and the colours.

A scale belongs to a model and a class, never to a picture, so that pictures compare.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from kanoclip_jax.verdict import is_above

# Names of the settings `predict.scale` and `eval.scale`.
CALIBRATED, ABSOLUTE = "calibrated", "absolute"
SCALES = (CALIBRATED, ABSOLUTE)

# Maps are probabilities: without thresholds, colour begins where «anomalous» is as
# likely as «normal».
_EVEN = 0.5

# Yellow over orange and red to crimson. Lightness falls in even steps (CIELAB's L* is 87,
# 78, 69, 59, 50, 42, 33), in greyscale and for colour-blind eyes too; yellow stands out
# from dark pictures, crimson from light ones.
_RAMP = (
    (255, 216, 50),
    (255, 178, 35),
    (252, 138, 30),
    (240, 98, 40),
    (222, 55, 50),
    (194, 20, 62),
    (158, 0, 76),
)
# Eleven equidistant colours of matplotlib's inferno (CC0; Smith and van der Walt);
# between them at most 9 of 255 off the original. Lightness rises evenly.
_INFERNO = (
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
# Of what is below the threshold in a map without its picture: from white to this.
_GREY = 190
# Opacity over a picture where colour begins and where it saturates: the faintest is
# seen, and the picture under the strongest.
_OPACITY = (0.55, 0.8)
# Of the absolute scale's highest score; its opacity grows from 0.
_ABSOLUTE_OPACITY = 0.8


def _table(anchors: tuple[tuple[int, int, int], ...]) -> Float[np.ndarray, "256 3"]:
    places = np.linspace(0, 1, len(anchors))
    levels = np.linspace(0, 1, _LEVELS)
    channels = [
        np.interp(levels, places, channel) for channel in zip(*anchors, strict=True)
    ]
    return np.stack(channels, axis=1)


_RAMP_TABLE, _INFERNO_TABLE = _table(_RAMP), _table(_INFERNO)


class Scale(NamedTuple):
    """From scores to colours; what is not above the beginning has none.

    Attributes:
        begin: the score above which there is colour: a pixel threshold.
        end: the score from which on the colour is the strongest.
    """

    begin: float
    end: float

    def level(self, scores: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
        """Where scores lie between the beginning (0) and the end (1)."""
        span = self.end - self.begin
        if span <= 0:
            return np.ones(np.shape(scores), np.float32)
        offset = np.asarray(scores, np.float32) - np.float32(self.begin)
        return np.clip(offset / np.float32(span), 0, 1)


def make_scale(pixel: float | None = None, end: float | None = None) -> Scale:
    """The scale of a pixel threshold.

    Args:
        pixel: the threshold; 0.5 where None.
        end: where colour saturates. Where None, or not above the threshold, as in
            calibrations that are older than scales: twice the threshold, but at most 1.
    """
    begin = _EVEN if pixel is None else float(pixel)
    if end is None or end <= begin:
        end = min(2 * begin, 1.0) if begin > 0 else 1.0
    return Scale(begin, float(end))


def lay_over(
    pixels: UInt8[np.ndarray, "h w 3"],
    scores: Float[np.ndarray, "h w"],
    scale: Scale | None,
) -> UInt8[np.ndarray, "h w 3"]:
    """Pixels with the colours of their scores over them.

    Args:
        pixels: RGB.
        scores: Of each pixel.
        scale: None for the absolute one, of [0, 1], whose opacity is 0.8 times the score.

    Returns:
        A new array; pixels that are not above the scale's beginning are as they were.
    """
    if scale is None:
        opacity = _ABSOLUTE_OPACITY * _absolute(scores)[..., None]
        colours = _colour(_INFERNO_TABLE, _absolute(scores))
        return _mix(pixels, colours, opacity)
    picture = pixels.copy()
    coloured = is_coloured(scores, scale)
    level = scale.level(scores[coloured])
    low, high = np.float32(_OPACITY[0]), np.float32(_OPACITY[1])
    opacity = (low + (high - low) * level)[:, None]
    picture[coloured] = _mix(pixels[coloured], _colour(_RAMP_TABLE, level), opacity)
    return picture


def paint(
    scores: Float[np.ndarray, "h w"], scale: Scale | None
) -> UInt8[np.ndarray, "h w 3"]:
    """The colours of scores alone: grey up to the scale's beginning, the ramp above it.

    The greys run from white (0) to light grey (the beginning). On the absolute scale
    (None) colours run from black (0) over red to pale yellow (1).
    """
    if scale is None:
        return np.rint(_colour(_INFERNO_TABLE, _absolute(scores))).astype(np.uint8)
    below = Scale(0.0, scale.begin).level(scores)[..., None]
    grey = np.broadcast_to(255 - (255 - _GREY) * below, (*scores.shape, 3))
    ramp = _colour(_RAMP_TABLE, scale.level(scores))
    coloured = is_coloured(scores, scale)[..., None]
    return np.rint(np.where(coloured, ramp, grey)).astype(np.uint8)


def is_coloured(
    scores: Float[np.ndarray, "*n"], scale: Scale
) -> Bool[np.ndarray, "*n"]:
    """Which scores have a colour: those that the threshold calls anomalous."""
    return is_above(scores, scale.begin)


def stops(scale: Scale | None) -> tuple[tuple[int, int, int], ...]:
    """A scale's colours from its beginning to its end, at even distances."""
    return _INFERNO if scale is None else _RAMP


def _absolute(scores: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    return np.clip(scores, 0, 1).astype(np.float32)


def _colour(
    table: Float[np.ndarray, "256 3"], level: Float[np.ndarray, "*n"]
) -> Float[np.ndarray, "*n 3"]:
    return table[np.rint(level * (_LEVELS - 1)).astype(np.intp)]


def _mix(
    pixels: UInt8[np.ndarray, "*n 3"],
    colours: Float[np.ndarray, "*n 3"],
    opacity: Float[np.ndarray, "*n 1"],
) -> UInt8[np.ndarray, "*n 3"]:
    return np.rint(pixels * (1 - opacity) + colours * opacity).astype(np.uint8)
