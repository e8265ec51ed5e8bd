"""One class's metrics from its first image to its row of the report."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Array, Float, Int

from kanoclip_jax.metrics import image, pixel
from kanoclip_jax.metrics.histograms import PixelHistogram

Row = dict[str, float | int | None]

_IMAGE = {
    "image_auroc": image.auroc,
    "image_ap": image.average_precision,
    "image_f1max": image.f1_max,
}
_PIXEL = {
    "pixel_auroc": pixel.auroc,
    "pixel_ap": pixel.average_precision,
    "pixel_f1max": pixel.f1_max,
    "pixel_aupro": pixel.aupro,
    "pixel_aupro_200": pixel.aupro_200,
}


class ClassMetrics:
    """The metrics of one class; memory does not grow with the number of maps.

    Args:
        has_masks: whether the dataset outlines its anomalies; else pixel metrics are
            None.
    """

    def __init__(self, *, has_masks: bool) -> None:
        self._scores: list[float] = []
        self._labels: list[int] = []
        self._pixels = PixelHistogram() if has_masks else None

    def update(
        self,
        score: float,
        label: int,
        anomaly_map: Float[Array | np.ndarray, "h w"],
        regions: Int[np.ndarray, "h w"],
        span: tuple[float, float] | None = None,
    ) -> None:
        """Add one image.

        Args:
            score: of the image.
            label: 0 normal, 1 anomalous.
            anomaly_map: scores of its pixels, in [0, 1].
            regions: 0 on normal pixels, k on the k-th connected region.
            span: the map's lowest and highest score, where they are known already.
        """
        self._scores.append(score)
        self._labels.append(label)
        if self._pixels is not None:
            self._pixels.update(anomaly_map, regions, span)

    def __add__(self, other: "ClassMetrics") -> "ClassMetrics":
        """The metrics of both's images."""
        merged = type(self)(has_masks=False)
        merged._scores = self._scores + other._scores
        merged._labels = self._labels + other._labels
        if self._pixels is not None and other._pixels is not None:
            merged._pixels = self._pixels + other._pixels
        return merged

    def compute(self) -> Row:
        """The class's row of the report; None where a metric is not defined."""
        row: Row = {
            name: metric(self._scores, self._labels) for name, metric in _IMAGE.items()
        }
        for name, metric in _PIXEL.items():
            row[name] = None if self._pixels is None else metric(self._pixels)
        row["normal"] = self._labels.count(0)
        row["anomalous"] = self._labels.count(1)
        return row


def mean_of(classes: Mapping[str, Row]) -> Row:
    """Unweighted mean over the classes where a metric is defined; counts are summed."""
    mean: Row = {}
    for name in (*_IMAGE, *_PIXEL):
        defined = [row[name] for row in classes.values() if row[name] is not None]
        mean[name] = float(np.mean(defined)) if defined else None
    for name in ("normal", "anomalous"):
        mean[name] = sum(row[name] for row in classes.values())
    return mean
