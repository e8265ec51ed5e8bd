"""The curves and histograms behind the metrics, in as many points as a drawing shows."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64


class Curve(NamedTuple):
    """Points in the order of a falling threshold.

    Attributes:
        x: a rate or the recall, rising from 0.
        y: what it costs or brings.
    """

    x: Float64[np.ndarray, " t"]
    y: Float64[np.ndarray, " t"]


class ScoreHistogram(NamedTuple):
    """Counts between evenly spaced scores.

    Attributes:
        edges: of the bins, one more than there are.
        normal: scores of what is normal, by bin.
        anomalous: likewise.
    """

    edges: Float64[np.ndarray, " k+1"]
    normal: Int64[np.ndarray, " k"]
    anomalous: Int64[np.ndarray, " k"]


def thin(curve: Curve, most: int) -> Curve:
    """Some of a curve's own points, evenly along it; both ends of every jump.

    Args:
        curve: any number of points.
        most: how many may be left, at least 4.
    """
    if len(curve.x) <= most:
        return curve
    length = sum(np.abs(np.diff(axis)) / (np.ptp(axis) or 1) for axis in curve)
    along = np.concatenate([[0.0], np.cumsum(length)])
    after = np.searchsorted(along, np.linspace(0, along[-1], most // 2))
    kept = np.union1d(after, np.maximum(after - 1, 0))
    return Curve(curve.x[kept], curve.y[kept])


def score_edges(lowest: float, highest: float, bins: int) -> Float64[np.ndarray, " k"]:
    """Edges of even bins between two scores; of one bin around a single score."""
    if lowest < highest:
        return np.linspace(lowest, highest, bins + 1)
    return np.array([lowest - 0.005, lowest + 0.005])
