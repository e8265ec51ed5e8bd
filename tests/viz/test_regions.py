"""The box of the hottest region, and all regions above a threshold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from kanoclip_jax.viz import Region, find_regions, hottest_box


def test_half_of_the_maximum_bounds_the_region():
    scores = np.zeros((6, 8), np.float32)
    scores[1:4, 2:5] = 0.4
    scores[2, 3] = 0.8
    scores[1, 5] = 0.39
    assert hottest_box(scores) == (2, 1, 3, 3)


def test_regions_touch_over_corners():
    scores = np.eye(4, dtype=np.float32)
    assert hottest_box(scores) == (0, 0, 4, 4)


def test_a_larger_but_cooler_region_is_left_out():
    scores = np.zeros((8, 8), np.float32)
    scores[4:, 4:] = 0.7
    scores[0, 1] = 0.9
    assert hottest_box(scores) == (1, 0, 1, 1)


def test_threshold_is_absolute():
    scores = np.float32([[0.1, 0.3, 0.8, 0.5, 0.0]])
    assert hottest_box(scores) == (2, 0, 2, 1)
    assert hottest_box(scores, threshold=0.2) == (1, 0, 3, 1)
    assert hottest_box(scores, threshold=0.9) == (2, 0, 1, 1)


def test_a_constant_map_is_one_region():
    assert hottest_box(np.zeros((3, 5), np.float32)) == (0, 0, 5, 3)
    assert hottest_box(np.full((3, 5), 0.3, np.float16)) == (0, 0, 5, 3)


@pytest.mark.parametrize("scores", [np.zeros((0, 4)), np.array([[0.0, np.nan]])])
def test_maps_without_a_maximum_are_refused(scores: np.ndarray):
    with pytest.raises(ValueError, match="empty or holds NaN"):
        hottest_box(scores)


@settings(max_examples=50, deadline=None)
@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=2),
        elements=st.floats(0, 1, width=32),
    )
)
def test_the_box_holds_the_maximum_and_every_side_is_warm(scores: np.ndarray):
    x, y, width, height = hottest_box(scores)
    crop = scores[y : y + height, x : x + width]
    assert crop.max() == scores.max()
    warm = crop >= float(scores.max()) / 2
    assert warm[0].any() and warm[-1].any() and warm[:, 0].any() and warm[:, -1].any()


SPOTS = np.float32(
    [
        [0.9, 0.6, 0.0, 0.0, 0.7],
        [0.0, 0.0, 0.8, 0.0, 0.7],
        [0.0, 0.0, 0.0, 0.0, 0.0],
        [0.5, 0.0, 0.0, 0.0, 0.0],
    ]
)


def test_regions_are_above_the_threshold_and_the_hottest_comes_first():
    mask, regions = find_regions(SPOTS, 0.5)
    expected = [(0, 0, 3, 2), 3, 0.9], [(4, 0, 1, 2), 2, 0.7]
    assert [(r.box, r.area) for r in regions] == [(b, a) for b, a, _ in expected]
    assert [r.score for r in regions] == pytest.approx([s for *_, s in expected])
    np.testing.assert_array_equal(mask, SPOTS > 0.5)


def test_small_regions_are_left_out_of_the_mask_too():
    mask, regions = find_regions(SPOTS, 0.5, min_area=3)
    assert [region.area for region in regions] == [3]
    assert mask.sum() == 3 and not mask[:, 4].any()


def test_nothing_above_the_threshold_is_no_region():
    mask, regions = find_regions(SPOTS, 1.0)
    assert regions == () and mask.shape == SPOTS.shape and not mask.any()
    mask, regions = find_regions(SPOTS, -1.0)
    assert regions == (Region((0, 0, 5, 4), 20, float(np.float32(0.9))),)


def test_a_score_is_compared_with_the_threshold_exactly():
    score = np.full((1, 1), 0.3, np.float32)
    assert find_regions(score, float(score[0, 0]))[1] == ()
    assert len(find_regions(score, np.nextafter(float(score[0, 0]), 0))[1]) == 1


def spiral(side: int) -> np.ndarray:
    scores = np.zeros((side, side), np.float32)
    low, high = 0, side - 1
    while low <= high:
        for line in ((low, slice(low, high + 1)), (high, slice(low, high + 1))):
            scores[line] = 0.6
        scores[low : high + 1, high] = 0.7
        scores[low + 2 : high + 1, low] = 0.8
        scores[low + 2 : low + 3, low : low + 2] = 0.9
        low, high = low + 2, high - 2
    return scores


# Few levels make thick regions, diagonals and ties.
MAPS = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12),
    elements=st.sampled_from([0.0, 0.25, 0.3, 0.5, 1.0]),
) | st.sampled_from([spiral(side) for side in (9, 30, 31)])
EDGES = [0.0, 0.25, 0.3, float(np.float32(0.3)), np.nextafter(np.float32(0.3), 1), 0.55]


def box_of(rows: slice, columns: slice) -> tuple[int, int, int, int]:
    width, height = columns.stop - columns.start, rows.stop - rows.start
    return columns.start, rows.start, width, height


@settings(max_examples=100, deadline=None)
@given(MAPS, st.sampled_from(EDGES), st.integers(0, 5))
def test_regions_are_those_that_scipy_labels(scores, threshold, min_area):
    neighbours = np.ones((3, 3))
    expected = scores > np.float64(threshold)
    labels, _ = ndimage.label(expected, neighbours)
    regions = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        inside = labels == number
        if inside.sum() < min_area:
            expected[inside] = False
        else:
            box = box_of(rows, columns)
            highest = float(scores[inside].max())
            regions.append(Region(box, int(inside.sum()), highest))
    mask, found = find_regions(scores, float(threshold), min_area)
    np.testing.assert_array_equal(mask, expected)
    assert found == tuple(sorted(regions, key=lambda region: -region.score))

    peak = np.unravel_index(np.argmax(scores), scores.shape)
    labels, _ = ndimage.label(scores >= scores[peak] / 2, neighbours)
    rows, columns = ndimage.find_objects((labels == labels[peak]).view(np.uint8))[0]
    box = box_of(rows, columns)
    assert hottest_box(scores) == box
