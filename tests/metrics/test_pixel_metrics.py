"""Histogram metrics against scikit-learn and against sorting all scores."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pixel_reference import draw_maps, exact_aupro, label_regions, peers_aupro
from sklearn.metrics import (
    average_precision_score,
    precision_recall_curve,
    roc_auc_score,
)

from kanoclip_jax.metrics import pixel
from kanoclip_jax.metrics.histograms import PixelHistogram

METRICS = (
    pixel.auroc,
    pixel.average_precision,
    pixel.f1_max,
    pixel.aupro,
    pixel.aupro_200,
)
KINDS = (
    "white",
    "white with signal",
    "smooth",
    "narrow at 0",
    "narrow at 1/2",
    "narrow at 1",
    "two levels",
    "eight levels",
    "256 narrow levels",
    "crowded at 0",
    "crowded at 1",
    "narrow and crowded",
)


def histogram_of(maps: np.ndarray, regions: np.ndarray) -> PixelHistogram:
    histogram = PixelHistogram()
    for anomaly_map, labels in zip(maps, regions, strict=True):
        histogram.update(anomaly_map, labels)
    return histogram


def one_row(scores: list[float], regions: list[int]) -> PixelHistogram:
    return histogram_of(np.float32([[scores]]), np.int32([[regions]]))


def best_f1(masks: np.ndarray, maps: np.ndarray) -> float:
    precision, recall, _ = precision_recall_curve(masks.ravel(), maps.ravel())
    return float(np.nanmax(2 * precision * recall / (precision + recall + 1e-300)))


@pytest.mark.parametrize("rate", [0.005, 0.03])
@pytest.mark.parametrize("kind", KINDS)
def test_metrics_equal_the_exact_ones(kind: str, rate: float):
    maps, masks = draw_maps(kind, rate)
    histogram = histogram_of(maps, label_regions(masks))
    truth, scores = masks.ravel(), maps.ravel()
    assert pixel.auroc(histogram) == pytest.approx(
        roc_auc_score(truth, scores), abs=1e-5
    )
    assert pixel.aupro(histogram) == pytest.approx(exact_aupro(maps, masks), abs=1e-5)
    assert pixel.average_precision(histogram) == pytest.approx(
        average_precision_score(truth, scores), abs=1e-4
    )
    assert pixel.f1_max(histogram) == pytest.approx(best_f1(masks, maps), abs=1e-4)


@pytest.mark.parametrize(
    "kind", ["white with signal", "smooth", "narrow at 1/2", "eight levels"]
)
def test_the_variant_of_published_tables(kind: str):
    maps, masks = draw_maps(kind, 0.03)
    histogram = histogram_of(maps, label_regions(masks))
    assert pixel.aupro_200(histogram) == pytest.approx(
        peers_aupro(maps, masks), abs=1e-4
    )


def test_the_two_variants_differ():
    maps, masks = draw_maps("smooth", 0.03)
    histogram = histogram_of(maps, label_regions(masks))
    assert abs(pixel.aupro(histogram) - pixel.aupro_200(histogram)) > 1e-3


@pytest.mark.parametrize("limit", [0.05, 0.5, 1.0])
def test_other_limits(limit: float):
    maps, masks = draw_maps("smooth", 0.03)
    histogram = histogram_of(maps, label_regions(masks))
    assert pixel.aupro(histogram, limit) == pytest.approx(
        exact_aupro(maps, masks, limit), abs=1e-5
    )


def test_perfect_and_inverted_scores():
    perfect = one_row([0.9, 0.8, 0.1, 0.2], [1, 1, 0, 0])
    assert [metric(perfect) for metric in METRICS[:4]] == [1, 1, 1, 1]
    inverted = one_row([0.1, 0.2, 0.9, 0.8], [1, 1, 0, 0])
    assert pixel.auroc(inverted) == 0
    assert pixel.f1_max(inverted) == pytest.approx(2 / 3)
    assert pixel.aupro(inverted) == 0


def test_one_level_is_chance():
    flat = one_row([0.5, 0.5, 0.5, 0.5], [1, 0, 0, 0])
    assert pixel.auroc(flat) == 0.5
    assert pixel.average_precision(flat) == 0.25
    assert pixel.f1_max(flat) == pytest.approx(0.4)
    # Half of a triangle of base and height 0.3, over 0.3.
    assert pixel.aupro(flat) == pytest.approx(0.15)
    assert pixel.aupro_200(flat) is None


def test_every_region_weighs_the_same():
    # The large region is missed, the small one found: half of the overlap at rate 0.
    histogram = one_row([0.9, 0.3, 0.1, 0.1, 0.1, 0.1], [2, 0, 1, 1, 1, 1])
    assert pixel.aupro(histogram) == pytest.approx(0.5)


def test_the_curve_is_interpolated_at_the_limit():
    # Rates 0, 0.5, 1 with overlaps 0, 1, 1: at 0.3 the overlap is 0.6.
    histogram = one_row([0.8, 0.8, 0.2], [1, 0, 0])
    assert pixel.aupro(histogram) == pytest.approx(0.3)


def test_undefined_is_none():
    normal_only = one_row([0.1, 0.9], [0, 0])
    anomalous_only = one_row([0.1, 0.9], [1, 1])
    for histogram in (PixelHistogram(), normal_only, anomalous_only):
        assert [metric(histogram) for metric in METRICS] == [None] * 5


def test_too_few_thresholds_below_the_limit_is_none():
    # Every threshold leaves half of the normal pixels above it.
    assert pixel.aupro_200(one_row([0.9, 0.9, 0.1], [1, 0, 0])) is None


@settings(max_examples=30, deadline=None)
@given(data=st.data(), levels=st.sampled_from([1, 2, 7, 255]))
def test_few_pixels_with_ties(data: st.DataObject, levels: int):
    size = data.draw(st.integers(2, 40))
    ranks = data.draw(
        st.lists(st.integers(0, levels), min_size=size, max_size=size).map(np.array)
    )
    truth = data.draw(
        st.lists(st.booleans(), min_size=size, max_size=size)
        .map(np.array)
        .filter(lambda t: 0 < t.sum() < len(t))
    )
    maps = (ranks / levels).astype(np.float32)[None, None]
    masks = truth[None, None]
    histogram = histogram_of(maps, label_regions(masks))
    found = [metric(histogram) for metric in METRICS[:4]]
    expected = [
        roc_auc_score(truth, ranks),
        average_precision_score(truth, ranks),
        best_f1(masks, maps),
        exact_aupro(maps, masks),
    ]
    assert found == pytest.approx(expected, abs=1e-9)
