"""Thresholds from calibration scores: at a rate of false alarms, or at the best F1.

What is above a threshold is anomalous; what is equal to it is not. Labels are 0 for
normal and 1 for anomalous images.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from kanoclip_jax.metrics.histograms import PixelHistogram, coarse_edges
from kanoclip_jax.verdict import is_above

# Of what a share and a count multiply to in floating point.
_SLACK = 1e-9
_RESAMPLES = 1000
_CONFIDENCE = 0.95

Scores = Float[np.ndarray, " n"]
Labels = Int[np.ndarray, " n"]
Interval = tuple[float, float]


class Quality(NamedTuple):
    """What a threshold does to the images or pixels that it was chosen on.

    Attributes:
        rate: share of the normal ones above it.
        recall: share of the anomalous ones above it, None where there are none.
        f1: 2 TP / (2 TP + FP + FN), likewise.
    """

    rate: float
    recall: float | None
    f1: float | None


class Spread(NamedTuple):
    """95 % bootstrap intervals: of a threshold, and of its rate of false alarms."""

    threshold: Interval
    rate: Interval


def needed_normals(rate: float) -> int:
    """The fewest normal images with which `at_rate` keeps a rate: ⌈1 / rate⌉ - 1."""
    return math.ceil(1 / rate - _SLACK) - 1


def expected_rate(count: int, rate: float) -> float:
    """The most false alarms that `at_rate` of so many images gives, on average."""
    return _flagged_ranks(count, rate) / (count + 1)


def at_rate(normal: Scores, rate: float) -> float:
    """The lowest score that keeps a rate of false alarms on new images, on average.

    Of n normal scores and a new one of the same kind, the new one's rank is any of the
    n + 1 with equal chance. So the k-th lowest of the n, k = n + 1 - ⌊rate · (n + 1)⌋,
    is exceeded with probability (n + 1 - k) / (n + 1) ≤ rate, whatever the
    distribution; ties only lower it (split conformal prediction: Vovk et al., 2005).
    Of fewer than `needed_normals` the highest is taken, which is exceeded with
    probability 1 / (n + 1).
    """
    return float(np.sort(normal)[-_flagged_ranks(normal.size, rate)])


def at_best_f1(
    scores: Scores, labels: Labels, room: Callable[[Scores], Scores] | None = None
) -> float:
    """Half-way from the lowest score that the best F1 flags down to the next score.

    Of several best ones the highest.

    Args:
        scores: of images,
        labels: and what they are.
        room: how far scores around each of several thresholds may move. What counts is
            then the F1 that is left when they move for the worse: of scores that
            arithmetic alone tells apart, no threshold divides them.
    """
    cuts = np.unique(scores)
    below = np.append(0.0, cuts[:-1])
    middle = (cuts + below) / 2
    moves = 0.0 if room is None else room(middle)
    below[0] = -np.inf
    normal, anomalous = (np.sort(scores[labels == k]) for k in (0, 1))
    true = anomalous.size - np.searchsorted(anomalous, np.maximum(cuts, middle + moves))
    false = normal.size - np.searchsorted(
        normal, np.minimum(below, middle - moves), "right"
    )
    f1 = 2 * true / (true + false + anomalous.size)
    return float(middle[np.flatnonzero(f1 == f1.max())[-1]])


def pixels_at_rate(histogram: PixelHistogram, rate: float) -> float:
    """The lowest bin's edge above which no more of the normal pixels lie."""
    used = np.flatnonzero(histogram.negatives)
    at_or_above = np.cumsum(histogram.negatives[used][::-1])[::-1]
    above = np.append(at_or_above[1:], 0)
    last = used[np.argmax(above <= rate * at_or_above[0] + _SLACK)]
    return float(min(histogram.edges(last + 1), histogram.highest))


def colour_range(histogram: PixelHistogram, begin: float, highest: float) -> Interval:
    """Where the colours of maps begin and where they saturate.

    They saturate at the highest score seen, but no nearer to the beginning than the
    median normal pixel: where only normal pictures were seen, these say nothing of how
    high anomalies get, but of how far normal scores are apart.

    Args:
        histogram: of normal pixels.
        begin: the pixel threshold.
        highest: score of any pixel seen, anomalous ones too.
    """
    typical = pixels_at_rate(histogram, 0.5)
    return begin, min(max(highest, begin + max(begin - typical, 0.0)), 1.0)


def pixels_at_best_f1(histogram: PixelHistogram) -> float:
    """As `at_best_f1`, between bins.

    Raises:
        ValueError: no pixel is anomalous, so that every threshold has the F1 of 0.
    """
    if not histogram.positives.any():
        raise ValueError("no pixel is anomalous, so there is no best F1")
    counts = histogram.negatives + histogram.positives
    used = np.flatnonzero(counts)[::-1]
    true = np.cumsum(histogram.positives[used])
    f1 = 2 * true / (np.cumsum(counts[used]) + true[-1])
    best = int(np.argmax(f1))
    below = histogram.edges(used[best + 1] + 1) if best + 1 < used.size else 0.0
    return float((histogram.edges(used[best]) + below) / 2)


def quality(scores: Scores, labels: Labels, threshold: float) -> Quality:
    """What a threshold does to images."""
    above = is_above(scores, threshold)
    return _quality(*(np.bincount(above[labels == k], minlength=2) for k in (0, 1)))


def pixel_quality(histogram: PixelHistogram, threshold: float) -> Quality:
    """What a threshold does to pixels; those in its bin are not above it."""
    negatives, positives = histogram.negatives, histogram.positives
    above = histogram.edges(np.arange(negatives.size)) >= threshold
    return _quality(
        *(
            np.array([counts[~above].sum(), counts[above].sum()])
            for counts in (negatives, positives)
        )
    )


def spread_of_images(
    scores: Scores,
    labels: Labels,
    choose: Callable[[Scores, Labels], float],
    seed: int,
) -> Spread:
    """What other images of the same kind would have given.

    Normal and anomalous images are each drawn anew with replacement; the rates are
    those that the resulting thresholds have on the given normal images.

    Args:
        scores: of images,
        labels: and what they are.
        choose: the rule.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    thresholds = []
    for _ in range(_RESAMPLES):
        drawn = np.concatenate([rng.choice(g, g.size) for g in _groups(labels)])
        thresholds.append(choose(scores[drawn], labels[drawn]))
    normal = np.sort(scores[labels == 0])
    above = normal.size - np.searchsorted(normal, thresholds, side="right")
    return Spread(_interval(thresholds), _interval(above / normal.size))


def spread_of_pixels(
    counts: Int[np.ndarray, "n 2 k"],
    labels: Labels,
    rate: float | None,
    seed: int,
) -> Spread:
    """The same for pixels. Images are drawn whole: their pixels hang together.

    Args:
        counts: of each image, its normal and its anomalous pixels by coarse bin.
        labels: what the images are.
        rate: of false alarms; the best F1 where None.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    weights = np.zeros((_RESAMPLES, len(counts)))
    for group in _groups(labels):
        even = np.full(group.size, 1 / group.size)
        weights[:, group] = rng.multinomial(group.size, even, _RESAMPLES)
    normal, anomalous = counts[:, 0], counts[:, 1]
    edges = coarse_edges(counts.shape[2])
    false = _at_or_above(weights @ normal)
    if rate is None:
        true = _at_or_above(weights @ anomalous)
        flagged = false + true
        f1 = 2 * true / np.maximum(flagged + true[:, :1], 1)
        chosen = f1.shape[1] - 1 - np.argmax(f1[:, ::-1], axis=1)
        # Empty bins below it flag the same.
        same = np.take_along_axis(flagged, chosen[:, None], 1)
        thresholds = (edges[np.argmax(flagged <= same, axis=1)] + edges[chosen]) / 2
    else:
        chosen = np.argmax(false <= rate * false[:, :1] + _SLACK, axis=1)
        thresholds = edges[chosen]
    own = _at_or_above(normal.sum(0, dtype=np.float64))
    return Spread(_interval(thresholds), _interval(own[chosen] / own[0]))


def _flagged_ranks(count: int, rate: float) -> int:
    """Of the ranks of n + 1 scores, how many are above the threshold; at least one."""
    return max(math.floor(rate * (count + 1) + _SLACK), 1)


def _quality(
    normal: Int[np.ndarray, " 2"], anomalous: Int[np.ndarray, " 2"]
) -> Quality:
    """From counts of what is not above and what is."""
    rate = float(normal[1] / normal.sum())
    if not anomalous.any():
        return Quality(rate, None, None)
    f1 = 2 * anomalous[1] / (normal[1] + anomalous[1] + anomalous.sum())
    return Quality(rate, float(anomalous[1] / anomalous.sum()), float(f1))


def _groups(labels: Labels) -> list[Int[np.ndarray, " m"]]:
    groups = (np.flatnonzero(labels == label) for label in (0, 1))
    return [group for group in groups if group.size]


def _at_or_above(counts: Float[np.ndarray, "*b k"]) -> Float[np.ndarray, "*b j"]:
    """From each bin upwards; at last, from beyond all of them."""
    summed = np.cumsum(counts[..., ::-1], axis=-1)[..., ::-1]
    return np.concatenate([summed, np.zeros_like(summed[..., :1])], axis=-1)


def _interval(values: Sequence[float] | Float[np.ndarray, " b"]) -> Interval:
    outside = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(values, [outside, 1 - outside])
    return float(low), float(high)
