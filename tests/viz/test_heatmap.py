"""Colours of maps and overlays."""

import numpy as np
import pytest
from scipy import ndimage

from kanoclip_jax.viz import Scale, colourise, make_scale, outline, overlay

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


def test_absolute_overlay_leaves_the_image_where_nothing_is_found():
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    found = np.zeros((5, 7), np.float32)
    found[2, 3] = 1
    picture = overlay(image, found)
    changed = (picture != image).any(-1)
    assert changed.sum() == 1 and changed[2, 3]


def test_absolute_opacity_grows_with_the_score():
    image = np.full((1, 3, 3), 100, np.uint8)
    picture = overlay(image, np.float32([[0, 0.5, 1]]))
    # 0.8 · (252, 255, 164) + 0.2 · 100, and 0.4 · (189, 56, 83) + 0.6 · 100.
    expected = [[100, 100, 100], [136, 82, 93], [222, 224, 151]]
    assert np.abs(picture[0].astype(int) - expected).max() <= 1


def test_nothing_below_the_threshold_is_touched():
    """Of a coloured photograph and a grey one, whatever the map is below it."""
    rng = np.random.default_rng(0)
    scores = rng.random((40, 50), np.float32)
    grey = np.repeat(rng.integers(0, 256, (40, 50, 1), np.uint8), 3, axis=2)
    for image in (rng.integers(0, 256, (40, 50, 3), np.uint8), grey):
        picture = overlay(image, scores, Scale(0.7, 0.9))
        changed = (picture != image).any(-1)
        assert not changed[scores <= np.float64(0.7)].any()
        assert changed[scores > 0.75].mean() > 0.99


def test_colour_begins_above_the_threshold_and_saturates_at_the_end():
    image = np.full((1, 6, 3), 100, np.uint8)
    scores = np.float32([[0, 0.5, 0.50001, 0.75, 1, 0.8]])
    picture = overlay(image, scores, Scale(0.5, 1.0))
    # Yellow with an opacity of 0.55, orange with 0.675, crimson with 0.8.
    expected = [[100, 100, 100], [100, 100, 100], [185, 164, 72]]
    expected += [[194, 98, 60], [146, 20, 81]]
    assert np.abs(picture[0, :5].astype(int) - expected).max() <= 1
    # The same score has the same colour in every picture.
    alone = overlay(image[:, :1], scores[:, 5:], Scale(0.5, 1.0))
    np.testing.assert_array_equal(alone[0, 0], picture[0, 5])
    further = overlay(image[:, :2], np.float32([[1, 0.9]]), Scale(0.5, 0.8))
    np.testing.assert_array_equal(further[0], picture[0, [4, 4]])


def test_a_map_alone_is_grey_below_its_threshold():
    picture = colourise(np.float32([[0, 0.25, 0.5, 0.500001, 1]]), Scale(0.5, 1.0))
    expected = [[255] * 3, [222] * 3, [190] * 3, [255, 216, 50], [158, 0, 76]]
    assert np.abs(picture[0].astype(int) - expected).max() <= 1


def test_lightness_falls_in_even_steps_along_the_ramp():
    """As it is seen: CIELAB's L*, of sRGB under D65."""
    colours = colourise(
        np.linspace(0.5001, 1, 256, dtype=np.float32)[None], Scale(0.5, 1)
    )
    share = colours[0] / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    lightness = 116 * np.cbrt(linear @ [0.2126, 0.7152, 0.0722]) - 16
    assert 86 < lightness[0] < 88 and 32 < lightness[-1] < 34
    straight = np.linspace(lightness[0], lightness[-1], 256)
    assert np.abs(lightness - straight).max() < 2
    assert np.all(np.diff(lightness) <= 0.3)


def test_the_contour_is_pale_with_a_dark_edge_and_outside():
    image = np.full((9, 9, 3), 100, np.uint8)
    scores = np.zeros((9, 9), np.float32)
    scores[4, 4] = 1
    picture = overlay(image, scores, Scale(0.5, 1.0), mask=scores > 0.5)
    line = ["." * 9, "." * 9, "..eeeee..", "..eccce..", "..ec#ce.."]
    rows = [*line, *line[3::-1]]
    kinds = {".": (100, 100, 100), "e": (16, 16, 16), "c": (90, 240, 255)}
    kinds["#"] = (146, 20, 81)
    for row, letters in enumerate(rows):
        for column, letter in enumerate(letters):
            assert tuple(picture[row, column]) == kinds[letter], (row, column)


@pytest.mark.parametrize(
    ("pixel", "end", "expected"),
    [
        (None, None, (0.5, 1.0)),
        (0.3, 0.9, (0.3, 0.9)),
        # Calibrations without a scale, and thresholds of one's own above its end.
        (0.3, None, (0.3, 0.6)),
        (0.7, None, (0.7, 1.0)),
        (0.95, 0.9, (0.95, 1.0)),
        (0.0, None, (0.0, 1.0)),
    ],
)
def test_the_scale_of_a_threshold(pixel, end, expected):
    assert make_scale(pixel, end) == expected


def test_a_threshold_that_nothing_can_exceed_leaves_pictures_as_they_are():
    image = np.full((2, 2, 3), 7, np.uint8)
    scale = make_scale(1.0)
    laid = overlay(image, np.ones((2, 2), np.float32), scale)
    np.testing.assert_array_equal(laid, image)
    assert scale == (1.0, 1.0)
    assert tuple(colourise(np.ones((1, 1), np.float32), scale)[0, 0]) == (190,) * 3


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
    picture = outline(np.zeros((800, 800, 3), np.uint8), mask, GREEN)
    # Four pixels on each side, and two of the dark edge.
    assert (picture[400] == GREEN).all(-1).sum() == 8
    assert (picture[400] == 16).all(-1).sum() == 4


def test_large_pictures_are_painted_in_strips_without_a_seam(monkeypatch):
    image = np.random.default_rng(2).integers(0, 256, (50, 30, 3), np.uint8)
    scores = gradient(50, 30)
    scales = (None, Scale(0.4, 0.9))
    whole = [(overlay(image, scores, s), colourise(scores, s)) for s in scales]
    monkeypatch.setattr("kanoclip_jax.viz.heatmap._STRIP", 100)
    for scale, (laid, colours) in zip(scales, whole, strict=True):
        np.testing.assert_array_equal(overlay(image, scores, scale), laid)
        np.testing.assert_array_equal(colourise(scores, scale), colours)


def test_outline_is_a_dilation_by_a_square():
    mask = np.random.default_rng(3).random((500, 60)) > 0.999
    picture = outline(np.zeros((500, 60, 3), np.uint8), mask)
    grown = ndimage.binary_dilation(mask, np.ones((3, 3)), iterations=2)
    assert mask.any()
    line = (picture == GREEN).all(-1)
    np.testing.assert_array_equal(line, grown & ~mask)


def test_an_empty_mask_has_no_outline():
    image = np.random.default_rng(1).integers(0, 256, (6, 6, 3), np.uint8)
    np.testing.assert_array_equal(outline(image, np.zeros((6, 6), bool)), image)


def test_sizes_that_differ_are_refused():
    image = np.zeros((2, 3, 3), np.uint8)
    # A TypeError where the test runner checks the annotated shapes first.
    with pytest.raises((ValueError, TypeError)):
        overlay(image, np.zeros((3, 2), np.float32))
    with pytest.raises((ValueError, TypeError)):
        outline(image, np.zeros((3, 2), bool))
