"""The verdict: what is anomalous, and how far above a score its threshold must lie.

Nothing here needs JAX, so that what is exported says the same by the same lines.
"""

import math
from typing import NamedTuple

import numpy as np

NORMAL, ANOMALOUS = "normal", "anomalous"
# By how much the log-odds of one and the same score may differ, by the dtype of the
# tower: batches of another size add up in another order, and so do other runtimes and
# machines. The largest differences of 16 pictures in batches of 1, 2, 3, 5, 8 and 16:
#
#                scores    maps
#     float32    4e-6      3e-5
#     bfloat16   5e-2      4e-2
#
# ONNX Runtime is within 1.2e-5 of JAX's maps; of what an export may differ by at most,
# 1e-4, scores from 0.11 to 0.89 are covered.
_MARGINS = {"float32": 1e-3}
_ROUGH = 0.1
# Probabilities near 1 are rounded to this.
_ROUNDING = 2.0**-23


class Thresholds(NamedTuple):
    """What is above them is anomalous; what is equal to them is not.

    Attributes:
        image: of an image's score.
        pixel: of a map's.
    """

    image: float
    pixel: float


def is_above(scores: np.ndarray | float, threshold: float) -> np.ndarray:
    """Which scores are anomalous: the one comparison, of pictures and of pixels.

    In double precision, so that a threshold between two scores stays between them.
    """
    return np.asarray(scores) > np.float64(threshold)


def label(score: float, threshold: float) -> str:
    """The verdict on a picture.

    Raises:
        ValueError: the score is no number, and no number is no verdict.
    """
    if not math.isfinite(score):
        raise ValueError(f"a score of {score} is no number")
    return ANOMALOUS if is_above(score, threshold) else NORMAL


def margin(chosen: np.ndarray | float, dtype: str = "float32") -> np.ndarray:
    """How far above a score a threshold must lie to stay above it.

    A score is a probability, or a mean of some: where log-odds may be off by d, it is
    off by d · p · (1 - p) at most. So the room is small where scores crowd, near 0 and
    near 1.

    Args:
        chosen: the highest score that is to be normal, or several.
        dtype: of the tower's computation.
    """
    odds = math.exp(_MARGINS.get(dtype, _ROUGH))
    lifted = chosen * odds / (1 - chosen + chosen * odds)
    return np.minimum(lifted - chosen + _ROUNDING, 1 - chosen)


def no_number(score: float, lowest: float, highest: float) -> str | None:
    """What of a result is no number; None where all of it is.

    Args:
        score: of a picture.
        lowest: of its map; NaN where one of its pixels is,
        highest: likewise.
    """
    if not math.isfinite(score):
        return f"its score is {score:f}"
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        worst = lowest if not math.isfinite(lowest) else highest
        return f"its anomaly map holds {worst:f}"
    return None


def shown(threshold: float) -> str:
    """A threshold in as many digits as tell it from 0 and from 1."""
    if 0 < threshold < 1e-3:
        return f"{threshold:.4g}"
    if 0 < 1 - threshold < 1e-3:
        return f"{threshold:.{3 - math.floor(math.log10(1 - threshold))}f}"
    return f"{threshold:.6f}"
