"""The layout of contact sheets."""

import numpy as np
import pytest
from PIL import ImageDraw

from kanoclip_jax.viz import Bar, Heading, Panel, Scale, compare, contact_sheet

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


def test_of_a_path_the_end_is_kept(monkeypatch):
    drawn = []
    monkeypatch.setattr(
        ImageDraw.ImageDraw, "text", lambda _, place, text, *a, **k: drawn.append(text)
    )
    panel = Panel(RED, "a/very/long/path/to/scratch/003.png\nno mask", is_path=True)
    contact_sheet([[panel]], tile=96)
    path, second = drawn
    assert path.startswith("…") and path.endswith("/003.png") and second == "no mask"


def test_a_heading_carries_the_colour_bar():
    bar = Bar(Scale(0.31, 0.97), 0.31)
    assert (bar.begin, bar.end) == ("threshold 0.31", "0.97")
    plain = contact_sheet([[Panel(RED)] * 4], tile=128, gap=4)
    sheet = contact_sheet(
        [[Panel(RED)] * 4], tile=128, gap=4, headings={0: Heading("cup", bar)}
    )
    added = len(sheet) - len(plain)
    assert added == 2 * 11 + 4 and sheet.shape[1] == plain.shape[1]
    np.testing.assert_array_equal(sheet[4 + added :], plain[4:])
    head = sheet[: 4 + added]
    # The two ends of the ramp, over a light ground and over a dark one.
    for colour in ((245, 223, 132), (165, 144, 53), (173, 46, 107), (138, 11, 72)):
        assert (np.abs(head.astype(int) - colour).max(-1) <= 8).any(), colour
    # The tick is where colour begins: left of it are the grounds alone.
    inside = (head == 232).all(-1).any(0)
    tick = np.flatnonzero(inside)[-1] + 1
    assert inside.sum() >= 15
    colours = np.ptp(head.astype(int), axis=-1)
    assert not colours[:, : tick - 1].any() and colours[:, tick + 3].any()


def test_a_line_under_all_rows_moves_none_of_them():
    plain = contact_sheet([[Panel(RED)] * 4], tile=64, gap=4)
    sheet = contact_sheet([[Panel(RED)] * 4], tile=64, gap=4, foot="2 of 3 classes")
    np.testing.assert_array_equal(sheet[: len(plain)], plain)
    line = sheet[len(plain) :]
    assert len(line) == 11 + 5 + 4 and (line < 100).any() and (line[-4:] == 255).all()


def test_the_bar_of_the_absolute_scale_has_its_threshold_inside():
    assert Bar(None, 0.25).end == "1, threshold 0.25" and Bar(None, None).end == "1"
    assert Bar(None, 0.25).begin == "0"
    headings = {0: Heading("cup", Bar(None, 0.25))}
    sheet = contact_sheet([[Panel(RED)] * 4], tile=128, headings=headings)
    assert (np.abs(sheet.astype(int) - (248, 250, 178)).max(-1) <= 3).any()


def test_a_comparison_is_truth_and_finding():
    image = np.full((12, 12, 3), (0, 0, 255), np.uint8)
    mask = np.zeros((12, 12), bool)
    mask[5:7, 5:7] = True
    found = mask * np.float32(0.9)
    truth, laid = compare(
        image, mask, found, Scale(0.5, 1.0), ("bad/0.png", "score 0.9")
    )
    assert (truth.caption, truth.is_path, laid.caption) == (
        "bad/0.png",
        True,
        "score 0.9",
    )
    for panel, line in ((truth, (0, 255, 128)), (laid, (90, 240, 255))):
        ring = (panel.image == line).all(-1)
        assert ring.sum() == 4 * 4 - 2 * 2 and not ring[mask].any()
        far = np.ones((12, 12), bool)
        far[3:9, 3:9] = False
        np.testing.assert_array_equal(panel.image[far], image[far])
    np.testing.assert_array_equal(truth.image[mask], image[mask])
    assert (laid.image[mask] != image[mask]).any(-1).all()
    (plain, absolute) = compare(image, mask & False, found, None, ("", ""))
    np.testing.assert_array_equal(plain.image, image)
    np.testing.assert_array_equal((absolute.image != image).any(-1), mask)
