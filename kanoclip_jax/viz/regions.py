"""Where in a map the anomaly is: its regions above a threshold, its hottest region."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from kanoclip_jax.verdict import is_above

# Regions touch over corners, as those of the metrics.
_NEIGHBOURS = np.ones((3, 3))

Box = tuple[int, int, int, int]


class Region(NamedTuple):
    """A connected set of pixels above a threshold.

    Attributes:
        box: `(left, top, right, bottom)` in pixels, right and bottom exclusive, as
            Pillow's `crop` takes it.
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
    labels, count = ndimage.label(mask, _NEIGHBOURS)
    if not count:
        return mask, ()
    owners = labels[mask]
    areas = np.bincount(owners)
    scores = np.zeros(count + 1, anomaly_map.dtype)
    np.maximum.at(scores, owners, anomaly_map[mask])
    large = areas >= min_area
    mask[mask] = large[owners]
    regions = [
        Region(_box(slices), int(areas[number]), float(scores[number]))
        for number, slices in enumerate(ndimage.find_objects(labels), start=1)
        if large[number]
    ]
    return mask, tuple(sorted(regions, key=lambda region: -region.score))


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
        `(left, top, right, bottom)` in pixels, right and bottom exclusive, as Pillow's
        `crop` takes it. A constant map gives the whole image.

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
    labels, _ = ndimage.label(anomaly_map >= level, _NEIGHBOURS)
    (slices,) = ndimage.find_objects((labels == labels[row, column]).view(np.uint8))
    return _box(slices)


def _box(slices: tuple[slice, slice]) -> Box:
    rows, columns = slices
    return columns.start, rows.start, columns.stop, rows.stop
