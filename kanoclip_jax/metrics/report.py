"""One class's metrics from its first image to its row of the report."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Array, Float, Int

from kanoclip_jax.metrics import image, pixel, thresholds
from kanoclip_jax.metrics.batch import MapBatch
from kanoclip_jax.metrics.curves import Curve, ScoreHistogram, thin
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
_PIXEL_CURVES = {
    "pixel_roc": pixel.roc,
    "pixel_precision_recall": pixel.precision_recall,
    "region_overlap": pixel.region_overlap,
}
# More than the pixels that a small drawing has along a curve.
_POINTS = 256
_IMAGE_BINS, _PIXEL_BINS = 25, 50
# Of normal pixels, what may have a colour in pictures of a class.
_COLOURED = 0.01


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
        # Without masks, normal images' pixels are known to be normal all the same.
        self._normal = None if has_masks else PixelHistogram()
        self._highest = 0.0

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
        if span is None:
            span = float(anomaly_map.min()), float(anomaly_map.max())
        self._highest = max(self._highest, span[1])
        if self._pixels is not None:
            self._pixels.update(anomaly_map, regions, span)
        elif label == 0:
            self._normal.update(anomaly_map, regions, span)

    def update_rows(
        self,
        scores: Float[np.ndarray, " m"],
        labels: Int[np.ndarray, " m"],
        batch: MapBatch,
        rows: Int[np.ndarray, " m"],
    ) -> None:
        """Add images of a batch, whose pixels stay on their devices.

        Args:
            scores: of the images.
            labels: 0 normal, 1 anomalous.
            batch: their maps.
            rows: which of its rows they are.
        """
        self._scores += scores.tolist()
        self._labels += labels.tolist()
        self._highest = max(self._highest, batch.span(rows)[1])
        if self._pixels is not None:
            self._pixels.update_rows(batch, rows)
        elif (normal := rows[labels == 0]).size:
            self._normal.update_rows(batch, normal)

    def __add__(self, other: "ClassMetrics") -> "ClassMetrics":
        """The metrics of both's images."""
        merged = type(self)(has_masks=False)
        merged._scores = self._scores + other._scores
        merged._labels = self._labels + other._labels
        merged._highest = max(self._highest, other._highest)
        for part in ("_pixels", "_normal"):
            mine, theirs = getattr(self, part), getattr(other, part)
            both = None if mine is None or theirs is None else mine + theirs
            setattr(merged, part, both)
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

    def curves(self) -> dict[str, Curve | None]:
        """What the areas are areas under, thinned; None where not defined."""
        found = {
            "image_roc": image.roc(self._scores, self._labels),
            "image_precision_recall": image.precision_recall(
                self._scores, self._labels
            ),
        }
        for name, curve in _PIXEL_CURVES.items():
            found[name] = None if self._pixels is None else curve(self._pixels)
        return {
            name: None if curve is None else thin(curve, _POINTS)
            for name, curve in found.items()
        }

    def thresholds(self) -> dict[str, float | None]:
        """Of images that of the best F1, of pixels what 99 % of normal ones are below.

        None where it is not defined.
        """
        scores, labels = np.array(self._scores), np.array(self._labels)
        both = len(set(self._labels)) == 2
        best = thresholds.at_best_f1(scores, labels) if both else None
        return {"image": best, "pixel": self._begin()}

    def colour_range(self) -> tuple[float, float] | None:
        """Where colours of maps begin and where they saturate.

        They begin where 1 % of normal pixels lie above; see `thresholds.colour_range`.
        None where no pixel is known to be normal.
        """
        begin = self._begin()
        if begin is None:
            return None
        pixels = self._normal if self._pixels is None else self._pixels
        return thresholds.colour_range(pixels, begin, self._highest)

    def _begin(self) -> float | None:
        pixels = self._normal if self._pixels is None else self._pixels
        if not pixels.negatives.any():
            return None
        return thresholds.pixels_at_rate(pixels, _COLOURED)

    def histograms(self) -> dict[str, ScoreHistogram | None]:
        """How the scores of images and of pixels are distributed."""
        pixels = self._pixels
        return {
            "image": image.histogram(self._scores, self._labels, _IMAGE_BINS),
            "pixel": (
                None if pixels is None else pixel.score_histogram(pixels, _PIXEL_BINS)
            ),
        }


def mean_of(classes: Mapping[str, Row]) -> Row:
    """Unweighted mean over the classes where a metric is defined; counts are summed."""
    mean: Row = {}
    for name in (*_IMAGE, *_PIXEL):
        defined = [row[name] for row in classes.values() if row[name] is not None]
        mean[name] = float(np.mean(defined)) if defined else None
    for name in ("normal", "anomalous"):
        mean[name] = sum(row[name] for row in classes.values())
    return mean
