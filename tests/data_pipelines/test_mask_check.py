"""One look at all masks of a dataset: empty, inverted, on normal pictures, unused."""

import io
import logging

import numpy as np
import pytest
from PIL import Image

from data_pipelines.errors import DataError
from data_pipelines.sources import MaskSettings, open_source

BLANK = np.zeros((16, 16), np.uint8)
SPOT = BLANK.copy()
SPOT[4:8, 4:8] = 255
LARGE = BLANK.copy()
LARGE[:9] = 255
SOFT = np.add.outer(np.arange(16), np.arange(16)).astype(np.uint8) * 8


def encode(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path, put, image):
    """A folder with a mask for each of its anomalous pictures, and maybe others."""

    def write(masks, others=()):
        put(tmp_path / "good/0.png", image(1, (16, 16)))
        for i, mask in enumerate(masks):
            put(tmp_path / f"bad/{i}.png", image(2 + i, (16, 16)))
            put(tmp_path / f"ground_truth/bad/{i}_mask.png", encode(mask))
        for name, mask in dict(others).items():
            put(tmp_path / "ground_truth" / name, encode(mask))
        return tmp_path

    return write


def open_at(path, **options):
    return open_source(f"folder:{path}", root="", prepared="", **options)


CASES = {
    "empty": (
        [SPOT, BLANK, BLANK, BLANK, BLANK],
        {},
        (
            "4 of 5 masks of anomalous pictures are empty (bad/1.png, bad/2.png, bad/3.png "
            "and 1 more)"
        ),
    ),
    "large": (
        [LARGE, SPOT],
        {},
        (
            "1 of 2 masks mark more than half of the picture or all of its corners "
            "(bad/0.png)"
        ),
    ),
    "inverted": (
        [255 - SPOT, 255 - SPOT],
        {},
        (
            "2 of 2 masks mark more than half of the picture or all of its corners "
            "(bad/0.png, bad/1.png)"
        ),
    ),
    "normal": (
        [SPOT],
        {"good/0.png": SPOT},
        (
            "1 normal pictures have a mask that marks something, and count as normal all "
            "the same (good/0.png)"
        ),
    ),
    "unused": (
        [SPOT],
        {"bad/7_mask.png": SPOT, "bad/8.png": SPOT},
        "2 masks belong to no picture (7_mask.png, 8.png)",
    ),
    "of two sorts": (
        [SOFT, BLANK + np.arange(16, dtype=np.uint8) // 6],
        {},
        "some masks were read as class ids and others as soft ones",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_odd_is_counted_and_named_once(folder, caplog, name):
    masks, others, words = CASES[name]
    path = folder(masks, others)
    with caplog.at_level(logging.WARNING):
        open_at(path)
        open_at(path)
    assert caplog.text.count(words) == 1
    with pytest.raises(DataError, match="data.strict=False") as caught:
        open_at(path, strict=True)
    assert words in str(caught.value)


def test_what_is_not_odd_is_no_word(folder, caplog):
    path = folder([SPOT, SPOT // 255], {"good/0.png": BLANK})
    with caplog.at_level(logging.WARNING):
        open_at(path, strict=True)
    assert not caplog.records


def test_one_folder_of_masks_may_hold_those_of_normal_pictures(
    tmp_path, put, image, caplog
):
    for name, mask in (("n0", BLANK), ("n1", SPOT), ("a0", SPOT)):
        kind = "good" if name[0] == "n" else "bad"
        put(tmp_path / kind / f"{name}.png", image(1, (16, 16)))
        put(tmp_path / "masks" / f"{name}_mask.png", encode(mask))
    with caplog.at_level(logging.WARNING):
        open_at(tmp_path)
    assert "1 normal pictures have a mask that marks something" in caplog.text
    assert "good/n1.png" in caplog.text and "no picture" not in caplog.text


def test_how_masks_were_read_is_said(folder, caplog):
    path = folder([SOFT, SPOT])
    with caplog.at_level(logging.WARNING):
        open_at(path)
    assert "masks were read 1 above half, 1 by two values" in caplog.text


def test_unreadable_masks_are_found_before_anything_is_computed(folder):
    scaled = BLANK.copy()
    scaled[:8], scaled[8:12] = 85, 170
    path = folder([SPOT, scaled])
    with pytest.raises(DataError, match=r"1_mask\.png holds 3 values"):
        open_at(path)
    source = open_at(path, skip_bad_files=True)
    assert len(source) == 2 and "1_mask.png" in source.skipped[0]
    assert len(open_at(path, masks=MaskSettings(values="ids"))) == 3


@pytest.mark.parametrize(
    ("mask", "words"),
    [(BLANK, "are empty"), (255 - SPOT, "mark more than half")],
)
def test_a_catalogue_copy_of_odd_masks_is_no_published_one(
    tmp_path, put, image, open_dataset, mask, words
):
    home = tmp_path / "root/mpdd/tubes"
    put(home / "test/good/0.png", image(1, (16, 16)))
    for i, one in enumerate((mask, mask, SPOT)):
        put(home / f"test/bent/{i}.png", image(2 + i, (16, 16)))
        put(home / f"ground_truth/bent/{i}_mask.png", encode(one))
    (line,) = (d for d in open_dataset("mpdd").differences if "masks" in d)
    assert f"2 of 3 masks of class tubes {words}" in line
    with pytest.raises(DataError, match="differences from the published"):
        open_dataset("mpdd", strict=True)
