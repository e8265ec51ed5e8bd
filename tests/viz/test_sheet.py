"""The layout of contact sheets."""

import numpy as np
import pytest

from kanoclip_jax.viz import Panel, compare, contact_sheet

RED = np.full((10, 10, 3), (255, 0, 0), np.uint8)
BLUE = np.full((10, 10, 3), (0, 0, 255), np.uint8)


def test_tiles_without_captions_stand_on_a_grid():
    sheet = contact_sheet([[Panel(RED), Panel(BLUE)], [Panel(BLUE)]], tile=20, gap=4)
    assert sheet.shape == (2 * 20 + 3 * 4, 2 * 20 + 3 * 4, 3)
    assert sheet.dtype == np.uint8
    np.testing.assert_array_equal(sheet[4:24, 4:24], np.tile(RED, (2, 2, 1)))
    np.testing.assert_array_equal(sheet[4:24, 28:48], np.tile(BLUE, (2, 2, 1)))
    np.testing.assert_array_equal(sheet[28:48, 4:24], np.tile(BLUE, (2, 2, 1)))
    assert (sheet[28:48, 28:48] == 255).all()
    assert (sheet[:, :4] == 255).all() and (sheet[:4] == 255).all()


def test_a_long_picture_keeps_its_shape_and_is_centred():
    wide = np.zeros((10, 40, 3), np.uint8)
    sheet = contact_sheet([[Panel(wide)]], tile=40, gap=0)
    dark = np.flatnonzero((sheet == 0).all((1, 2)))
    np.testing.assert_array_equal(dark, np.arange(15, 25))


def test_a_caption_adds_a_line_under_its_row():
    plain = contact_sheet([[Panel(RED)]], tile=64, gap=0)
    captioned = contact_sheet([[Panel(RED, "crack")]], tile=64, gap=0)
    assert plain.shape == (64, 64, 3)
    assert captioned.shape[0] > 64
    assert (captioned[64:].min(-1) < 100).any()
    np.testing.assert_array_equal(captioned[:64], plain)


def test_a_long_caption_stays_within_its_tile():
    panels = [Panel(RED, "m" * 200), Panel(RED)]
    sheet = contact_sheet([panels], tile=64, gap=8)
    text = (sheet[8 + 64 :] < 200).any((0, 2))
    assert text.any()
    assert not text[8 + 64 + 2 :].any()


def test_nothing_to_show_is_refused():
    with pytest.raises(ValueError, match="at least one panel"):
        contact_sheet([])
    with pytest.raises(ValueError, match="at least one panel"):
        contact_sheet([[]])
    with pytest.raises(ValueError, match="tile is 0"):
        contact_sheet([[Panel(RED)]], tile=0)


def test_a_comparison_is_input_truth_and_finding():
    mask = np.zeros((10, 10), bool)
    mask[4:6, 4:6] = True
    found = mask.astype(np.float32)
    panels = compare(BLUE, mask, found, score=0.876, caption="hole")
    assert [panel.caption for panel in panels] == ["hole", "ground truth", "score 0.88"]
    np.testing.assert_array_equal(panels[0].image, BLUE)
    changed = (panels[1].image != BLUE).any(-1)
    assert changed.sum() == 4 * 4 - 2 * 2 and not changed[mask].any()
    np.testing.assert_array_equal((panels[2].image != BLUE).any(-1), mask)
