"""Where in a map the anomaly is: its regions above a threshold, its hottest region."""

import itertools
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer

from kanoclip_jax.verdict import is_above

Box = tuple[int, int, int, int]


class Region(NamedTuple):
    """A connected set of pixels above a threshold.

    Attributes:
        box: `(x, y, width, height)` in pixels of the picture as it was read, x and y
            of its upper left corner, as COCO's `bbox`.
        area: its pixels.
        score: its highest score.
    """

    box: Box
    area: int
    score: float


def find_regions(
    anomaly_map: Float[np.ndarray, "h w"], threshold: float, min_area: int = 1
) -> tuple[Bool[np.ndarray, "h w"], tuple[Region, ...]]:
    """The 8-connected regions of a map above a threshold.

    Args:
        anomaly_map: Scores, `[h, w]`.
        threshold: Absolute; what is equal to it is not above it.
        min_area: Regions of fewer pixels are left out, of the mask too.

    Returns:
        The mask of the regions, and the regions, the highest score first.
    """
    mask = is_above(anomaly_map, threshold)
    runs = label_runs(mask)
    if not len(runs.owner):
        return mask, ()
    order, bounds = runs.grouped()
    lengths = runs.right - runs.left
    highest = np.maximum.reduceat(anomaly_map[mask], np.cumsum(lengths) - lengths)
    areas = np.add.reduceat(lengths[order], bounds)
    scores = np.maximum.reduceat(highest[order], bounds)
    boxes = runs.boxes(order, bounds)
    large = areas >= min_area
    mask[mask] = np.repeat(large[runs.owner], lengths)
    regions = map(Region, boxes, areas.tolist(), scores.tolist())
    found = itertools.compress(regions, large)
    return mask, tuple(sorted(found, key=lambda region: -region.score))


def hottest_box(
    anomaly_map: Float[np.ndarray, "h w"], threshold: float | None = None
) -> Box:
    """The box of the region around the highest score.

    The region is the 8-connected set of pixels at or above the threshold that contains
    the highest score (the first of them, row by row).

    Args:
        anomaly_map: Scores, `[h, w]`, none of them negative.
        threshold: Absolute; half of the highest score where None. One that no pixel
            reaches leaves the pixel of the highest score alone.

    Returns:
        `(x, y, width, height)` in pixels; see `Region`. A constant map gives the whole
        image.

    Raises:
        ValueError: the map is empty or holds NaN.
    """
    if not anomaly_map.size or np.isnan(anomaly_map).any():
        raise ValueError(
            f"a map of shape {anomaly_map.shape} is empty or holds NaN; "
            "scores lie in [0, 1]"
        )
    row, column = np.unravel_index(np.argmax(anomaly_map), anomaly_map.shape)
    # A float16 map would round its own half.
    peak = float(anomaly_map[row, column])
    level = peak / 2 if threshold is None else min(threshold, peak)
    runs = label_runs(anomaly_map >= level)
    hottest = (runs.row == row) & (runs.left <= column) & (column < runs.right)
    same = runs.owner == runs.owner[hottest]
    rows, left, right = runs.row[same], runs.left[same], runs.right[same]
    x, y = int(left.min()), int(rows[0])
    return x, y, int(right.max()) - x, int(rows[-1]) + 1 - y


class Runs(NamedTuple):
    """The 8-connected regions of a mask, as the runs of each of its rows.

    Attributes:
        owner: the number of each run's region, in the order of their first pixels.
        row: where it is.
        left: its first column.
        right: the column after its last.
    """

    owner: Integer[np.ndarray, " r"]
    row: Integer[np.ndarray, " r"]
    left: Integer[np.ndarray, " r"]
    right: Integer[np.ndarray, " r"]

    def grouped(self) -> tuple[np.ndarray, np.ndarray]:
        """The runs region by region, and where each region's begin."""
        order = np.argsort(self.owner, kind="stable")
        return order, np.flatnonzero(np.diff(self.owner[order], prepend=-1))

    def boxes(self, order: np.ndarray, bounds: np.ndarray) -> list[Box]:
        """The box of each region, of what `grouped` gives."""
        x = np.minimum.reduceat(self.left[order], bounds)
        y = np.minimum.reduceat(self.row[order], bounds)
        width = np.maximum.reduceat(self.right[order], bounds) - x
        height = np.maximum.reduceat(self.row[order], bounds) + 1 - y
        return list(map(tuple, np.stack([x, y, width, height], axis=1).tolist()))


def label_runs(mask: Bool[np.ndarray, "h w"]) -> Runs:
    """Number the regions; they touch over corners, as those of the metrics."""
    # Each row follows an empty pixel, so that none runs on into the next.
    stride = mask.shape[1] + 1
    flat = np.zeros(mask.shape[0] * stride + 1, bool)
    flat[:-1].reshape(-1, stride)[:, 1:] = mask
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    start, end = edges[::2], edges[1::2]
    # The runs of the row above that touch a run, over corners too, are neighbours.
    first = np.searchsorted(end, start - stride)
    count = np.searchsorted(start, end - stride, side="right") - first
    below = np.repeat(np.arange(len(start)), count)
    above = np.arange(len(below)) + np.repeat(first - np.cumsum(count) + count, count)
    root = np.arange(len(start))
    # The lower of two touching regions takes the other over, until none touch.
    while (root[above] != root[below]).any():
        low = np.minimum(root[above], root[below])
        high = np.maximum(root[above], root[below])
        np.minimum.at(root, high, low)
        while (root[root] != root).any():
            root = root[root]
    owner = np.unique(root, return_inverse=True)[1]
    row = start // stride
    return Runs(owner, row, start - row * stride - 1, end - row * stride - 1)
