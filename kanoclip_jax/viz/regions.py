"""Where in a map the anomaly is: the box of its hottest region."""

import numpy as np
from jaxtyping import Float
from scipy import ndimage


def hottest_box(
    anomaly_map: Float[np.ndarray, "h w"], threshold: float | None = None
) -> tuple[int, int, int, int]:
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
    labels, _ = ndimage.label(anomaly_map >= level, np.ones((3, 3)))
    rows, columns = np.nonzero(labels == labels[row, column])
    return (
        int(columns.min()),
        int(rows.min()),
        int(columns.max()) + 1,
        int(rows.max()) + 1,
    )
