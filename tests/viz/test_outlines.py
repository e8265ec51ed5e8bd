"""Regions as run lengths and as polygons: their own pixels, holes included."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from kanoclip_jax.viz import find_regions
from kanoclip_jax.viz.polygons import trace_region
from kanoclip_jax.viz.run_lengths import decode_region, encode_regions, pack, unpack

NEIGHBOURS = np.ones((3, 3))
MASKS = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12))
# A frame in a frame, a hole beside a hole, and holes that touch over a corner.
FRAMES = np.ones((9, 9), bool)
FRAMES[1:-1, 1:-1] = FRAMES[4, 4] = False
FRAMES[3:6, 3:6] ^= True
HOLES = np.pad(np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], bool), 2, constant_values=1)


def test_polygons_go_along_the_edges_of_pixels():
    assert trace_region(np.ones((1, 1), bool)) == [0, 0, 1, 0, 1, 1, 0, 1]
    corner = np.array([[1, 0], [1, 1]], bool)
    assert trace_region(corner) == [0, 0, 1, 0, 1, 1, 2, 1, 2, 2, 0, 2]
    touching = np.eye(2, dtype=bool)
    assert trace_region(touching) == [0, 0, 1, 0, 1, 1, 2, 1, 2, 2, 1, 2, 1, 1, 0, 1]
    # Down a seam above the hole, around it the other way, and up again.
    ring = np.ones((3, 3), bool)
    ring[1, 1] = False
    seam, hole = [1, 0, 1, 1], [1, 2, 2, 2, 2, 1]
    outer = [3, 0, 3, 3, 0, 3]
    assert trace_region(ring) == [0, 0, *seam, *hole, 1, 1, 1, 0, *outer]


def turns(points: list[int], shape: tuple[int, int]) -> np.ndarray:
    """How often a ring goes around each pixel's centre, clockwise."""
    found = np.zeros(shape, int)
    ends = [*points[2:], *points[:2]]
    for x, y, _, below in zip(points[::2], points[1::2], ends[::2], ends[1::2]):
        rows = slice(min(y, below), max(y, below))
        found[rows, :x] += np.sign(below - y)
    return found


@settings(max_examples=40, deadline=None)
@given(MASKS)
@example(FRAMES)
@example(HOLES)
@example(np.ones((3, 4), bool))
def test_outlines_hold_a_regions_pixels_and_no_others(mask):
    above, regions = find_regions(mask.astype(np.float32), 0.5)
    labels, count = ndimage.label(mask, NEIGHBOURS)
    assert count == len(regions)
    seen = np.zeros(mask.shape, bool)
    for region, text in zip(regions, encode_regions(above, regions), strict=True):
        x, y, width, height = region.box
        inside = np.zeros(mask.shape, bool)
        crop = decode_region(text, len(mask), region.box)
        inside[y : y + height, x : x + width] = crop
        number = labels[inside][0]
        np.testing.assert_array_equal(inside, labels == number)
        seen |= inside
        # One ring, that both rules of filling read alike, of edges that have a length.
        points = trace_region(crop)
        np.testing.assert_array_equal(turns(points, crop.shape), crop.astype(int))
        corners = np.array(points).reshape(-1, 2)
        steps = np.abs(np.roll(corners, -1, axis=0) - corners)
        assert (steps.min(axis=1) == 0).all() and (steps.max(axis=1) > 0).all()
    np.testing.assert_array_equal(seen, mask)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 2**31), min_size=1, max_size=20))
@example([6, 1, 40, 4, 5, 4, 5, 4, 21])
def test_packed_numbers_come_back(counts):
    assert unpack(pack(counts)) == counts


@settings(max_examples=30, deadline=None)
@given(MASKS)
@example(FRAMES)
def test_pycocotools_reads_the_same(mask):
    coco = pytest.importorskip("pycocotools.mask")
    above, regions = find_regions(mask.astype(np.float32), 0.5)
    size = list(mask.shape)
    for region, text in zip(regions, encode_regions(above, regions), strict=True):
        pixels = coco.decode({"size": size, "counts": text})
        assert coco.encode(np.asfortranarray(pixels))["counts"].decode() == text
        assert coco.toBbox({"size": size, "counts": text}).tolist() == list(region.box)
        points = trace_region(decode_region(text, len(mask), region.box))
        points[::2] = [region.box[0] + x for x in points[::2]]
        points[1::2] = [region.box[1] + y for y in points[1::2]]
        drawn = coco.decode(coco.merge(coco.frPyObjects([points], *size)))
        np.testing.assert_array_equal(drawn, pixels)
