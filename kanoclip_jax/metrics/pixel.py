"""Pixel metrics of a histogram; each is None where it is not defined."""

import numpy as np
from jaxtyping import Float64, Int64

from kanoclip_jax.metrics.curves import Curve, ScoreHistogram, score_edges
from kanoclip_jax.metrics.histograms import BINS, PixelHistogram

AUPRO_LIMIT = 0.3
_PEER_STEPS = 200

Counts = Float64[np.ndarray, " t"]


def auroc(histogram: PixelHistogram) -> float | None:
    """Area under the ROC curve; pixels of one bin count as ties."""
    curve = roc(histogram)
    return None if curve is None else float(np.trapezoid(curve.y, curve.x))


def average_precision(histogram: PixelHistogram) -> float | None:
    """Step-wise average precision, as scikit-learn's."""
    if not _has_both(histogram):
        return None
    false, true, _ = _sweep(histogram)
    precision = true[1:] / (true[1:] + false[1:])
    return float(np.sum(np.diff(true) * precision) / true[-1])


def f1_max(histogram: PixelHistogram) -> float | None:
    """The best F1 over all thresholds, 2 TP / (2 TP + FP + FN)."""
    if not _has_both(histogram):
        return None
    false, true, _ = _sweep(histogram)
    return float(np.max(2 * true / (true + false + true[-1])))


def aupro(histogram: PixelHistogram, limit: float = AUPRO_LIMIT) -> float | None:
    """Normalised area under the per-region overlap curve up to a false-positive rate.

    MVTec AD's official definition (Bergmann et al., 2021), see `region_overlap`.

    Raises:
        ValueError: the limit is not in (0, 1].
    """
    curve = region_overlap(histogram, limit)
    return None if curve is None else float(np.trapezoid(curve.y, curve.x) / limit)


def aupro_200(histogram: PixelHistogram, limit: float = AUPRO_LIMIT) -> float | None:
    """The variant of published tables (AnomalyCLIP's `cal_pro_score`, from CFLOW-AD).

    200 thresholds evenly from the class's lowest towards its highest score; only points
    with a false-positive rate below the limit, whose rates are stretched to [0, 1]. A
    pixel in the bin of a threshold counts as not above it.
    """
    if not _has_both(histogram) or histogram.highest <= histogram.lowest:
        return None
    step = (histogram.highest - histogram.lowest) / _PEER_STEPS
    bins = histogram.locate(histogram.lowest + step * np.arange(_PEER_STEPS))
    rate, overlap = (
        1 - np.cumsum(counts)[bins] / counts.sum()
        for counts in (histogram.negatives, histogram.overlap)
    )
    rate, overlap = rate[rate < limit][::-1], overlap[rate < limit][::-1]
    if not rate.size or rate[-1] <= rate[0]:
        return None
    return float(np.trapezoid(overlap, rate) / (rate[-1] - rate[0]))


def roc(histogram: PixelHistogram) -> Curve | None:
    """True-positive rate against false-positive rate; a point for each bin in use."""
    if not _has_both(histogram):
        return None
    false, true, _ = _sweep(histogram)
    return Curve(false / false[-1], true / true[-1])


def precision_recall(histogram: PixelHistogram) -> Curve | None:
    """Precision against recall, from (0, 1) on as scikit-learn's."""
    if not _has_both(histogram):
        return None
    false, true, _ = _sweep(histogram)
    precision = true[1:] / (true[1:] + false[1:])
    return Curve(true / true[-1], np.concatenate([[1.0], precision]))


def region_overlap(
    histogram: PixelHistogram, limit: float = AUPRO_LIMIT
) -> Curve | None:
    """The per-region overlap (PRO) curve up to a false-positive rate.

    Mean over connected regions of their covered share, against the rate over all normal
    pixels, interpolated linearly at the limit.

    Raises:
        ValueError: the limit is not in (0, 1].
    """
    if not 0 < limit <= 1:
        raise ValueError(f"limit is {limit}; it must lie in (0, 1]")
    if not _has_both(histogram):
        return None
    false, _, covered = _sweep(histogram)
    rate, overlap = false / false[-1], covered / covered[-1]
    end = int(np.searchsorted(rate, limit, side="right"))
    # np.interp may take any of several points at one rate; the last one counts.
    last = overlap[end - 1]
    if end < len(rate):
        share = (limit - rate[end - 1]) / (rate[end] - rate[end - 1])
        last += share * (overlap[end] - last)
    return Curve(np.append(rate[:end], limit), np.append(overlap[:end], last))


def score_histogram(histogram: PixelHistogram, bins: int) -> ScoreHistogram | None:
    """How many normal and anomalous pixels have which score.

    Much coarser bins than the metrics'; a pixel in the fine bin of an edge counts as
    above it.
    """
    if histogram.lowest > histogram.highest:
        return None
    edges = score_edges(histogram.lowest, histogram.highest, bins)
    inner = np.minimum(histogram.locate(edges[1:-1]), BINS - 1)

    def between(counts: Int64[np.ndarray, " k"]) -> Int64[np.ndarray, " b"]:
        below = (np.cumsum(counts) - counts)[inner]
        return np.diff(below, prepend=0, append=counts.sum())

    return ScoreHistogram(
        edges, between(histogram.negatives), between(histogram.positives)
    )


def _has_both(histogram: PixelHistogram) -> bool:
    return bool(histogram.negatives.any() and histogram.positives.any())


def _sweep(histogram: PixelHistogram) -> tuple[Counts, Counts, Counts]:
    """False and true positives and overlap, from no pixel to all, bin by bin.

    As floats: exact for counts below 2^53, and a product cannot overflow.
    """
    used = np.flatnonzero(histogram.negatives + histogram.positives)[::-1]
    false, true, covered = (
        np.concatenate([[0.0], np.cumsum(counts[used])])
        for counts in (histogram.negatives, histogram.positives, histogram.overlap)
    )
    return false, true, covered
