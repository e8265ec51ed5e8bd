"""Curves and score histograms against scikit-learn and numpy, and what thinning leaves."""

import numpy as np
import pytest
from pixel_reference import draw_maps, label_regions
from scipy.spatial import KDTree
from sklearn.metrics import precision_recall_curve, roc_curve

from kanoclip_jax.metrics import image, pixel
from kanoclip_jax.metrics.curves import Curve, thin
from kanoclip_jax.metrics.histograms import PixelHistogram
from kanoclip_jax.metrics.report import ClassMetrics

Points = tuple[np.ndarray, np.ndarray]
KINDS = ("white with signal", "smooth", "narrow at 1", "eight levels", "crowded at 0")


def draw(kind: str) -> tuple[np.ndarray, np.ndarray, PixelHistogram]:
    maps, masks = draw_maps(kind, 0.03)
    histogram = PixelHistogram()
    for anomaly_map, regions in zip(maps, label_regions(masks), strict=True):
        histogram.update(anomaly_map, regions)
    return maps.ravel(), masks.ravel(), histogram


def distance(some: Points, others: Points) -> np.ndarray:
    """From each of some points to the nearest of others."""
    return KDTree(np.column_stack(others)).query(np.column_stack(some), p=np.inf)[0]


@pytest.mark.parametrize("kind", KINDS)
def test_pixel_curves_are_scikit_learn_s(kind: str) -> None:
    """Their points are some of its points, and the others are near."""
    scores, labels, histogram = draw(kind)
    false, true, _ = roc_curve(labels, scores, drop_intermediate=False)
    roc = pixel.roc(histogram)
    assert distance(roc, (false, true)).max() < 1e-12
    assert distance((false, true), roc).max() < 1e-3

    precision, recall, _ = precision_recall_curve(labels, scores)
    curve = pixel.precision_recall(histogram)
    assert (curve.x[0], curve.y[0]) == (recall[-1], precision[-1]) == (0, 1)
    assert distance(curve, (recall, precision)).max() < 1e-12
    # Precision is unsteady where few pixels are above.
    settled = recall > 0.02
    assert distance((recall[settled], precision[settled]), curve).max() < 2e-3


@pytest.mark.parametrize("kind", KINDS)
def test_a_thinned_overlap_curve_has_the_area(kind: str) -> None:
    histogram = draw(kind)[2]
    curve = thin(pixel.region_overlap(histogram), 256)
    assert len(curve.x) <= 256
    assert (curve.x[0], curve.x[-1]) == (0, 0.3)
    area = np.trapezoid(curve.y, curve.x) / 0.3
    assert area == pytest.approx(pixel.aupro(histogram), abs=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_thinned_areas_stay(kind: str) -> None:
    histogram = draw(kind)[2]
    curve = thin(pixel.roc(histogram), 256)
    area = np.trapezoid(curve.y, curve.x)
    assert area == pytest.approx(pixel.auroc(histogram), abs=1e-3)


def test_thinning_keeps_points_ends_and_jumps() -> None:
    x = np.concatenate([np.linspace(0, 0.4, 5000), np.linspace(0.4, 1, 5000)])
    y = np.concatenate([np.full(5000, 0.1), np.full(5000, 0.9)])
    thinned = thin(Curve(x, y), 20)
    assert len(thinned.x) <= 20
    assert set(zip(*thinned, strict=True)) <= set(zip(x, y, strict=True))
    assert {(0.0, 0.1), (0.4, 0.1), (0.4, 0.9), (1.0, 0.9)} <= set(
        zip(*thinned, strict=True)
    )
    short = Curve(x[:20], y[:20])
    assert thin(short, 20) is short


def test_image_curves_are_scikit_learn_s() -> None:
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 2, 200)
    scores = np.round(rng.random(200) + 0.3 * labels, 2)
    false, true, _ = roc_curve(labels, scores)
    np.testing.assert_array_equal(image.roc(scores, labels), (false, true))
    precision, recall, _ = precision_recall_curve(labels, scores)
    np.testing.assert_array_equal(
        image.precision_recall(scores, labels), (recall[::-1], precision[::-1])
    )


def test_image_histograms_count_every_image() -> None:
    edges, normal, anomalous = image.histogram([0.2, 0.3, 0.6], [0, 0, 1], 4)
    np.testing.assert_allclose(edges, [0.2, 0.3, 0.4, 0.5, 0.6])
    assert (normal.sum(), anomalous.tolist()) == (2, [0, 0, 0, 1])
    edges, normal, anomalous = image.histogram([0.5, 0.5], [0, 1], 4)
    np.testing.assert_allclose(edges, [0.495, 0.505])
    assert normal.tolist() == anomalous.tolist() == [1]


@pytest.mark.parametrize("kind", ["white with signal", "smooth", "crowded at 0"])
def test_pixel_histograms_are_numpy_s(kind: str) -> None:
    scores, labels, histogram = draw(kind)
    edges, normal, anomalous = pixel.score_histogram(histogram, 20)
    assert (edges[0], edges[-1]) == (scores.min(), scores.max())
    for counts, chosen in ((normal, labels == 0), (anomalous, labels == 1)):
        expected = np.histogram(scores[chosen], edges)[0]
        assert counts.sum() == expected.sum()
        # A pixel in the fine bin of an edge may fall to its other side.
        np.testing.assert_allclose(counts, expected, atol=3)


def test_a_constant_map_has_a_histogram_of_one_bin() -> None:
    histogram = PixelHistogram()
    histogram.update(np.ones((2, 2), np.float32), np.int32([[0, 0], [0, 1]]))
    edges, normal, anomalous = pixel.score_histogram(histogram, 20)
    assert edges.tolist() == [0.995, 1.005]
    assert (normal.tolist(), anomalous.tolist()) == ([3], [1])


def test_what_is_not_defined_is_none() -> None:
    nothing = ClassMetrics(has_masks=True)
    assert (
        set(nothing.curves().values()) == set(nothing.histograms().values()) == {None}
    )
    normal = ClassMetrics(has_masks=False)
    normal.update(0.5, 0, np.float32([[0.1]]), np.int32([[0]]))
    assert set(normal.curves().values()) == {None}
    assert normal.histograms()["pixel"] is None
    assert normal.histograms()["image"].normal.tolist() == [1]
