"""Thresholds against literal expectations, scikit-learn, and what the rule promises."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from kanoclip_jax.metrics import thresholds
from kanoclip_jax.metrics.histograms import (
    COARSE_BINS,
    PixelHistogram,
    coarse_counts,
    coarse_edges,
)

TENTHS = np.arange(1, 20) / 20


def histogram_of(scores: np.ndarray, regions: np.ndarray) -> PixelHistogram:
    histogram = PixelHistogram()
    histogram.update(scores.astype(np.float32), regions)
    return histogram


@pytest.mark.parametrize(
    ("rate", "needed"), [(0.5, 1), (0.1, 9), (0.07, 14), (0.05, 19), (0.01, 99)]
)
def test_how_many_normals_a_rate_needs(rate, needed):
    assert thresholds.needed_normals(rate) == needed
    assert thresholds.expected_rate(needed, rate) <= rate
    assert thresholds.expected_rate(needed - 1, rate) > rate


@pytest.mark.parametrize(
    ("rate", "expected"), [(0.05, 0.95), (0.1, 0.9), (0.14, 0.9), (0.01, 0.95)]
)
def test_the_order_statistic_of_a_rate(rate, expected):
    """Of the 19 scores 0.05, 0.10 … 0.95."""
    shuffled = np.random.default_rng(0).permutation(TENTHS)
    assert thresholds.at_rate(shuffled, rate) == expected


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(np.linspace(0, 1, 12)) | st.floats(0, 1), min_size=2),
    st.floats(0.01, 0.99),
)
def test_of_exchangeable_scores_the_rate_is_kept_on_average(scores, rate):
    """Each score in turn is the new one; with ties and whatever distribution."""
    scores = np.array(scores)
    alarms = [
        new > thresholds.at_rate(np.delete(scores, i), rate)
        for i, new in enumerate(scores)
    ]
    count = scores.size - 1
    bound = max(rate, 1 / (count + 1))
    assert np.mean(alarms) <= bound + 1e-9
    if count >= thresholds.needed_normals(rate):
        assert np.mean(alarms) <= rate + 1e-9


def test_the_best_f1_lies_between_two_scores():
    scores = np.array([0.1, 0.2, 0.3, 0.4, 0.8, 0.9])
    labels = np.array([0, 0, 1, 0, 1, 1])
    # Flagged from 0.3: 3 of 4 right, F1 6/7; from 0.8: F1 4/5.
    assert thresholds.at_best_f1(scores, labels) == pytest.approx(0.25)
    assert thresholds.at_best_f1(scores, np.ones(6, int)) == pytest.approx(0.05)
    assert thresholds.quality(scores, labels, 0.25) == pytest.approx((1 / 3, 1, 6 / 7))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 40))
def test_no_threshold_has_a_better_f1(seed, count):
    rng = np.random.default_rng(seed)
    scores, labels = rng.integers(1, 13, count) / 13, rng.integers(0, 2, count)
    labels[0] = 1
    cuts = [-1.0, *np.unique(scores)]
    best = max(f1_score(labels, scores > cut) for cut in cuts)
    found = thresholds.at_best_f1(scores, labels)
    assert f1_score(labels, scores > found) == pytest.approx(best)


def test_pixels_at_a_rate():
    scores = np.linspace(0.2, 0.7, 1000).reshape(20, 50)
    histogram = histogram_of(scores, np.zeros((20, 50), np.int32))
    for rate, above in ((0.01, 10), (0.5, 500), (0.0004, 0), (0.9999, 999)):
        threshold = thresholds.pixels_at_rate(histogram, rate)
        assert np.count_nonzero(scores.astype(np.float32) > threshold) == above
        assert thresholds.pixel_quality(histogram, threshold).rate == above / 1000


@pytest.mark.parametrize("score", [0.0, 0.3, 0.5, 1.0])
def test_pixels_of_one_score_are_all_normal(score):
    histogram = histogram_of(np.full((4, 4), score), np.zeros((4, 4), np.int32))
    threshold = thresholds.pixels_at_rate(histogram, 0.1)
    assert not np.float32(score) > threshold
    assert threshold == pytest.approx(score, abs=1e-6)


def test_the_best_f1_of_pixels():
    rng = np.random.default_rng(0)
    regions = np.zeros((40, 40), np.int32)
    regions[5:15, 5:15] = 1
    scores = (0.2 + 0.1 * rng.random((40, 40)) + 0.07 * (regions > 0)).astype("f4")
    threshold = thresholds.pixels_at_best_f1(histogram_of(scores, regions))
    truth = regions.ravel() > 0
    best = max(f1_score(truth, scores.ravel() > cut) for cut in np.unique(scores))
    assert f1_score(truth, scores.ravel() > threshold) == pytest.approx(best)
    found = thresholds.pixel_quality(histogram_of(scores, regions), threshold)
    assert found.f1 == pytest.approx(best)
    assert found.recall == (scores[regions > 0] > threshold).mean()


def test_no_anomalous_pixel_has_no_best_f1():
    histogram = PixelHistogram()
    histogram.update(np.full((4, 4), 0.5, np.float32), np.zeros((4, 4), np.int32))
    with pytest.raises(ValueError, match="no pixel is anomalous"):
        thresholds.pixels_at_best_f1(histogram)


def test_edges_of_bins_hold_their_scores():
    scores = np.random.default_rng(1).random((30, 30)).astype(np.float32)
    histogram = histogram_of(scores, np.zeros((30, 30), np.int32))
    bins = histogram.locate(scores.ravel())
    assert (histogram.edges(bins) <= scores.ravel()).all()
    assert (scores.ravel() <= histogram.edges(bins + 1)).all()


def test_coarse_counts_are_a_histogram():
    rng = np.random.default_rng(2)
    scores = rng.random((30, 30)).astype(np.float32)
    scores[0, :2] = 0, 1
    regions = (rng.random((30, 30)) > 0.8).astype(np.int32)
    edges = coarse_edges(COARSE_BINS)
    assert edges[0] == 0 and edges[-1] == 1 and (np.diff(edges) > 0).all()
    counts = coarse_counts(scores, regions)
    for row, chosen in zip(counts, (regions == 0, regions > 0), strict=True):
        expected, _ = np.histogram(scores[chosen], edges)
        np.testing.assert_array_equal(row, expected)


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Of scores that are spread evenly, the rate of a threshold t is 1 - t."""
    rate, count, inside = 0.1, 60, 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        scores, labels = rng.random(count), np.zeros(count, int)
        threshold = thresholds.at_rate(scores, rate)
        spread = thresholds.spread_of_images(
            scores, labels, lambda s, _: thresholds.at_rate(s, rate), seed
        )
        assert spread.threshold[0] <= threshold <= spread.threshold[1]
        inside += spread.rate[0] <= 1 - threshold <= spread.rate[1]
    # 95 % of 60 is 57; a bootstrap of 60 images keeps a little less.
    assert 52 <= inside <= 60


def test_intervals_of_pixels_follow_the_images():
    rng = np.random.default_rng(3)
    labels = np.array([0] * 12 + [1] * 6)
    maps = [0.3 + 0.02 * rng.normal() + 0.05 * rng.random((20, 20)) for _ in labels]
    regions = np.zeros((18, 20, 20), np.int32)
    regions[12:, 5:12, 5:12] = 1
    maps = (np.array(maps) + 0.04 * regions).astype(np.float32)
    counts = np.stack(
        [coarse_counts(*pair) for pair in zip(maps, regions, strict=True)]
    )
    histogram = PixelHistogram()
    for pair in zip(maps, regions, strict=True):
        histogram.update(*pair)
    for rate in (0.05, None):
        spread = thresholds.spread_of_pixels(counts, labels, rate, seed=0)
        found = (
            thresholds.pixels_at_best_f1(histogram)
            if rate is None
            else thresholds.pixels_at_rate(histogram, rate)
        )
        low, high = spread.threshold
        assert 0.3 < low <= found <= high < 0.45
        assert high - low > 5e-3
        low, high = spread.rate
        assert 0 <= low < high <= 0.3
    same = thresholds.spread_of_pixels(counts[:1], labels[:1], 0.05, seed=0)
    assert same.threshold[0] == same.threshold[1]
