"""Colours of maps and overlays."""

import numpy as np
import pytest
from scipy import ndimage

from kanoclip_jax.viz import colourise, outline, overlay

GREEN = (0, 255, 128)


def gradient(h: int, w: int) -> np.ndarray:
    return np.linspace(0, 1, h * w, dtype=np.float32).reshape(h, w)


def test_colours_of_the_fixed_scale():
    picture = colourise(np.float32([[0, 0.5, 1]]))
    assert picture.dtype == np.uint8
    # matplotlib's inferno at 0, 0.5 and 1.
    expected = [[0, 0, 4], [188, 55, 84], [252, 255, 164]]
    assert np.abs(picture[0].astype(int) - expected).max() <= 1


def test_lightness_rises_with_the_score():
    picture = colourise(gradient(1, 256))[0].astype(float)
    linear = (picture / 255) ** 2.2
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    assert np.all(np.diff(luminance) > -1e-4)
    assert luminance[-1] > 0.9


def test_the_scale_does_not_follow_the_map():
    low = colourise(np.full((2, 2), 0.1, np.float32))
    mixed = colourise(np.float32([[0.1, 0.9], [0.9, 0.1]]))
    np.testing.assert_array_equal(low[0, 0], mixed[0, 0])


def test_scores_beyond_the_scale_take_its_ends():
    np.testing.assert_array_equal(
        colourise(np.float32([[-3, 7]])), colourise(np.float32([[0, 1]]))
    )


def test_half_precision_maps_are_accepted():
    full = colourise(gradient(8, 8))
    half = colourise(gradient(8, 8).astype(np.float16))
    assert np.abs(full.astype(int) - half).max() <= 5


def test_nan_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        colourise(np.float32([[0, np.nan]]))


def test_overlay_leaves_the_image_where_nothing_is_found():
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    found = np.zeros((5, 7), np.float32)
    found[2, 3] = 1
    picture = overlay(image, found)
    changed = (picture != image).any(-1)
    assert changed.sum() == 1 and changed[2, 3]


def test_overlay_mixes_by_alpha_and_score():
    image = np.full((1, 2, 3), 100, np.uint8)
    full = overlay(image, np.ones((1, 2), np.float32), alpha=1.0)
    np.testing.assert_array_equal(full[0, 0], [252, 255, 164])
    half = overlay(image, np.ones((1, 2), np.float32), alpha=0.5)
    np.testing.assert_array_equal(half[0, 0], [176, 178, 132])
    none = overlay(image, np.ones((1, 2), np.float32), alpha=0.0)
    np.testing.assert_array_equal(none, image)


def test_overlay_does_not_write_into_its_image():
    image = np.zeros((4, 4, 3), np.uint8)
    mask = np.zeros((4, 4), bool)
    mask[1, 1] = True
    overlay(image, np.ones((4, 4), np.float32), mask=mask)
    assert not image.any()


def test_outline_rings_the_mask_and_spares_it():
    image = np.full((5, 5, 3), 9, np.uint8)
    mask = np.zeros((5, 5), np.uint8)
    mask[2, 2] = 255
    picture = outline(image, mask, colour=GREEN)
    ring = np.zeros((5, 5), bool)
    ring[1:4, 1:4] = True
    ring[2, 2] = False
    np.testing.assert_array_equal((picture == GREEN).all(-1), ring)
    np.testing.assert_array_equal(picture[2, 2], [9, 9, 9])


def test_outline_is_wider_on_larger_images():
    mask = np.zeros((800, 800), bool)
    mask[400, 400] = True
    picture = outline(np.zeros((800, 800, 3), np.uint8), mask)
    assert picture[400].any(-1).sum() == 8


def test_large_pictures_are_painted_in_strips_without_a_seam(monkeypatch):
    image = np.random.default_rng(2).integers(0, 256, (50, 30, 3), np.uint8)
    scores = gradient(50, 30)
    whole, colours = overlay(image, scores), colourise(scores)
    monkeypatch.setattr("kanoclip_jax.viz.heatmap._STRIP", 100)
    np.testing.assert_array_equal(overlay(image, scores), whole)
    np.testing.assert_array_equal(colourise(scores), colours)


def test_outline_is_a_dilation_by_a_square():
    mask = np.random.default_rng(3).random((500, 60)) > 0.999
    picture = outline(np.zeros((500, 60, 3), np.uint8), mask)
    grown = ndimage.binary_dilation(mask, np.ones((3, 3)), iterations=2)
    assert mask.any()
    np.testing.assert_array_equal(picture.any(-1), grown & ~mask)


def test_an_empty_mask_has_no_outline():
    image = np.random.default_rng(1).integers(0, 256, (6, 6, 3), np.uint8)
    np.testing.assert_array_equal(outline(image, np.zeros((6, 6), bool)), image)


@pytest.mark.parametrize("alpha", [-0.1, 1.5])
def test_alpha_outside_its_range_is_refused(alpha: float):
    with pytest.raises(ValueError, match="alpha"):
        overlay(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), np.float32), alpha)


def test_sizes_that_differ_are_refused():
    image = np.zeros((2, 3, 3), np.uint8)
    # A TypeError where the test runner checks the annotated shapes first.
    with pytest.raises((ValueError, TypeError)):
        overlay(image, np.zeros((3, 2), np.float32))
    with pytest.raises((ValueError, TypeError)):
        outline(image, np.zeros((3, 2), bool))
