"""Windows: where they lie, that they join without a seam, and what they cost."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kanoclip_jax.engine.prediction.tiles import (
    Joined,
    Shrinkage,
    Window,
    cut,
    plan,
    read_setting,
)

SIDES = st.integers(1, 900)


@pytest.mark.parametrize(
    ("given", "kept"),
    [("never", "never"), ("auto", "auto"), (0, "never"), ("64", "64")],
)
def test_settings_that_are_understood(given, kept):
    assert read_setting(given) == kept


@pytest.mark.parametrize("given", ["", "always", "-64", "6.5", 3, True, "٦٤"])
def test_settings_that_are_not(given):
    with pytest.raises(ValueError, match="allowed: never, auto, or the side"):
        read_setting(given)


def test_plans_by_hand():
    # A line scan: as long as it is wide, and a quarter of each overlaps.
    strip = plan(100, 8000, 128, "auto")
    assert (strip.rows, strip.columns, strip.count) == (100, 100, 107)
    assert strip.lefts[:3] == (0, 75, 149) and strip.lefts[-1] == 7900
    square = plan(4000, 4000, 128, "auto")
    assert (square.rows, square.columns, square.count) == (128, 128, 42**2)
    # None shorter than a quarter of what was asked for.
    assert plan(3, 600, 128, "auto")[4:] == (3, 32)
    assert plan(300, 300, 128, "200").tops == (0, 100)


@pytest.mark.parametrize("size", [(256, 256), (100, 256), (1, 1), (128, 90)])
def test_what_is_shrunk_little_is_scored_whole(size):
    assert list(plan(*size, 128, "auto")) == [Window(0, 0, size[1], size[0])]
    assert list(plan(*size, 128, "256")) == [Window(0, 0, size[1], size[0])]
    assert list(plan(*size, 8, "never")) == [Window(0, 0, size[1], size[0])]


@settings(max_examples=60, deadline=None)
@given(SIDES, SIDES, st.sampled_from(["auto", "8", "50", "333"]))
def test_windows_cover_the_picture_and_overlap(height, width, setting):
    found = plan(height, width, 64, setting)
    covered = np.zeros((height, width), bool)
    for left, top, right, bottom in found:
        assert 0 <= left < right <= width and 0 <= top < bottom <= height
        covered[top:bottom, left:right] = True
    assert covered.all()
    for starts, side in ((found.tops, found.rows), (found.lefts, found.columns)):
        steps = np.diff(starts)
        assert (steps > 0).all()
        assert (steps <= max(0.75 * side, 1) + 1).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 2**32))
def test_a_map_in_windows_joins_to_itself(height, width, seed):
    whole = np.random.default_rng(seed).random((height, width), np.float32)
    windows = plan(height, width, 32, "40")
    joined = Joined(windows)
    for number, (left, top, right, bottom) in enumerate(windows):
        assert joined.left == windows.count - number
        part = whole[top:bottom, left:right]
        assert part.shape == joined.size
        joined.add(number, part, float(part.max()))
    assert joined.left == 0
    assert joined.score == whole.max()
    assert joined.anomaly_map.dtype == np.float32
    np.testing.assert_allclose(joined.anomaly_map, whole, atol=1e-6)
    assert joined.anomaly_map.max() <= 1


def test_there_is_no_step_where_a_window_ends():
    """Two windows that disagree: between them the map goes over smoothly."""
    windows = plan(64, 112, 64, "64")
    assert windows.count == 2
    joined = Joined(windows)
    joined.add(0, np.zeros((64, 64), np.float32), 0.0)
    joined.add(1, np.ones((64, 64), np.float32), 1.0)
    row = joined.anomaly_map[30]
    assert row[0] == 0 and row[-1] == 1
    assert (np.diff(row) >= 0).all() and np.diff(row).max() < 0.13


def test_a_cut_is_a_crop_as_the_models_square():
    pixels = np.random.default_rng(0).integers(0, 256, (90, 70, 3), np.uint8)
    picture = Image.fromarray(pixels)
    same = cut(picture, Window(10, 20, 42, 52), 32)
    assert np.array_equal(same, pixels[20:52, 10:42])
    whole = cut(picture, Window(0, 0, 70, 90), 32)
    resized = picture.resize((32, 32), Image.Resampling.BICUBIC)
    assert np.array_equal(whole, np.asarray(resized))


def test_what_is_shrunk_beyond_use_is_said():
    shrinkage = Shrinkage(128, 8, "never")
    assert shrinkage.add(256, 512) == 32
    assert shrinkage.said() is None
    assert shrinkage.add(100, 8000) == 500
    shrinkage.add(1000, 1000)
    assert shrinkage.said() == (
        "pictures are shrunk up to 62 times along one side (8000x100 px): what is smaller "
        "than 500 px along it is not seen; --config.predict.tiles=auto scores them in "
        "windows"
    )
    assert Shrinkage(128, 8, "auto").add(100, 8000) == 6.25
    large = Shrinkage(128, 8, "1024")
    assert large.add(4000, 4000) == 64
    assert "a smaller --config.predict.tiles shrinks less" in large.said()
