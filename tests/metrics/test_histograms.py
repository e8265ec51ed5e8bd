"""The pixel state: what it counts, merges and refuses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pixel_reference import draw_maps, label_regions

from kanoclip_jax.metrics import pixel
from kanoclip_jax.metrics.histograms import REGION_UNIT, PixelHistogram

ARRAYS = ("negatives", "positives", "overlap")
METRICS = (
    pixel.auroc,
    pixel.average_precision,
    pixel.f1_max,
    pixel.aupro,
    pixel.aupro_200,
)


def row(*scores: float) -> np.ndarray:
    return np.float32([scores])


def test_counts_pixels_and_regions():
    histogram = PixelHistogram()
    # Labels need not be consecutive: a region may be lost on resizing.
    histogram.update(row(0.1, 0.2, 0.3, 0.4, 0.5), np.int32([[0, 3, 3, 0, 7]]))
    histogram.update(row(0.6, 0.7), np.int32([[3, 0]]))
    assert histogram.negatives.sum() == 3
    assert histogram.positives.sum() == 4
    assert histogram.regions == 3
    assert histogram.overlap.sum() == 3 * REGION_UNIT
    assert histogram.lowest == np.float32(0.1)
    assert histogram.highest == np.float32(0.7)


def test_a_region_sums_to_one_whatever_its_area():
    for area in (1, 3, 7, 1000, 518 * 518, 3999 * 2999):
        histogram = PixelHistogram()
        scores = np.full((1, area), 0.5, np.float32)
        histogram.update(scores, np.ones((1, area), np.int32))
        assert histogram.overlap.sum() == pytest.approx(REGION_UNIT, rel=6e-6)


def test_the_ends_of_the_scale_are_allowed():
    histogram = PixelHistogram()
    histogram.update(row(0, 1, 1, 0), np.int32([[1, 0, 2, 0]]))
    assert histogram.positives.sum() == histogram.negatives.sum() == 2
    assert pixel.auroc(histogram) == 0.5


def test_neighbouring_scores_are_told_apart():
    for low in (0.0, 0.3, 0.5, 0.95):
        histogram = PixelHistogram()
        histogram.update(row(low, low + 2e-6), np.int32([[0, 1]]))
        assert pixel.auroc(histogram) == 1


def test_memory_is_bounded_and_constant():
    histogram = PixelHistogram()
    before = [getattr(histogram, name).nbytes for name in ARRAYS]
    maps, masks = draw_maps("smooth", 0.03)
    for anomaly_map, labels in zip(maps, label_regions(masks), strict=True):
        histogram.update(anomaly_map, labels)
    assert [getattr(histogram, name).nbytes for name in ARRAYS] == before
    assert sum(before) <= 2**25


@pytest.mark.parametrize("bad", [-0.001, 1.001, np.nan, np.inf])
def test_scores_outside_the_scale_are_refused(bad: float):
    histogram = PixelHistogram()
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        histogram.update(row(0.5, bad), np.int32([[0, 1]]))
    assert histogram.negatives.sum() == histogram.positives.sum() == 0
    assert histogram.lowest == np.inf


def test_shapes_that_differ_are_refused():
    # A TypeError where the test runner checks the annotated shapes first.
    with pytest.raises((ValueError, TypeError)):
        PixelHistogram().update(row(0.5, 0.5), np.int32([[0], [1]]))


def test_adding_nothing_changes_nothing():
    histogram = PixelHistogram()
    histogram.update(row(0.2, 0.7, 0.4), np.int32([[0, 1, 0]]))
    for merged in (histogram + PixelHistogram(), PixelHistogram() + histogram):
        assert [m(merged) for m in METRICS] == [m(histogram) for m in METRICS]
        assert merged.regions == 1
    assert (PixelHistogram() + PixelHistogram()).regions == 0


def test_a_sum_leaves_its_parts_alone():
    left, right = PixelHistogram(), PixelHistogram()
    left.update(row(0.2, 0.7), np.int32([[0, 1]]))
    right.update(row(0.9, 0.1), np.int32([[0, 1]]))
    before = pixel.auroc(left), pixel.auroc(right)
    total = left + right
    total.update(row(0.5, 0.5), np.int32([[0, 1]]))
    assert (pixel.auroc(left), pixel.auroc(right)) == before
    assert left.regions == right.regions == 1


def narrow_and_wide() -> tuple[np.ndarray, np.ndarray]:
    """Maps whose ranges differ much, so that the order of arrival could matter."""
    maps, masks = draw_maps("smooth", 0.03)
    scale = np.float32([1e-5, 1e-3, 0.05, 0.3, 1, 0.01, 0.2, 0.6])[:, None, None]
    offset = np.float32([0.5, 0.2, 0.9, 0.1, 0, 0, 0.7, 0.4])[:, None, None]
    return (maps * scale + offset)[:, ::4, ::4], label_regions(masks)[:, ::4, ::4]


MAPS, REGIONS = narrow_and_wide()


@settings(max_examples=10, deadline=None)
@given(order=st.permutations(range(8)), cuts=st.sets(st.integers(1, 7), max_size=3))
def test_any_split_in_any_order_gives_the_same_bits(order: list[int], cuts: set[int]):
    whole = PixelHistogram()
    for i in range(8):
        whole.update(MAPS[i], REGIONS[i])
    total = PixelHistogram()
    for chosen in np.split(np.array(order), sorted(cuts)):
        part = PixelHistogram()
        for i in chosen:
            part.update(MAPS[i], REGIONS[i])
        total = total + part
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(total, name), getattr(whole, name))
    assert [m(total) for m in METRICS] == [m(whole) for m in METRICS]
    assert (total.regions, total.lowest, total.highest) == (
        whole.regions,
        whole.lowest,
        whole.highest,
    )
