"""Pixel metrics of a histogram; each is None where it is not defined."""

import numpy as np
from jaxtyping import Float64

from kanoclip_jax.metrics.histograms import PixelHistogram

AUPRO_LIMIT = 0.3
_PEER_STEPS = 200

Counts = Float64[np.ndarray, " t"]


def auroc(histogram: PixelHistogram) -> float | None:
    """Area under the ROC curve; pixels of one bin count as ties."""
    if not _has_both(histogram):
        return None
    false, true, _ = _sweep(histogram)
    return float(np.trapezoid(true / true[-1], false / false[-1]))


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

    MVTec AD's official definition (Bergmann et al., 2021): mean over connected regions
    of their covered share, against the rate over all normal pixels, interpolated
    linearly at the limit.

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
    inside = np.append(overlap[:end], last), np.append(rate[:end], limit)
    return float(np.trapezoid(*inside) / limit)


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
