"""What predict and watch read: list files of all sorts, and what a folder lacks of them."""

import codecs
import os
from pathlib import Path

import pytest

from data_pipelines.pictures.formats import IMAGE_SUFFIXES
from data_pipelines.suffixes import UNREAD_SUFFIXES
from kanoclip_jax.engine.prediction.inputs import describe_inputs, find_inputs
from kanoclip_jax.errors import InputError

NAMES = ("a.png", "b c.png", "ünï.jpg", "#1.png", "'q'.png")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_bytes(b"")
    return folder


def listed(folder: Path, data: bytes | str) -> list[str]:
    listing = folder.parent / "list.txt"
    text = data.encode() if isinstance(data, str) else data
    listing.write_bytes(text)
    return [
        path.relative_to(folder).as_posix()
        for path in find_inputs(str(listing), key="predict.input")
    ]


TEXT = "photos/a.png\r\nphotos/b c.png\r\n\r\nphotos/ünï.jpg\r\n"


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        TEXT.encode("utf-8-sig"),
        codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        TEXT.encode("utf-16-le"),
        TEXT.encode("utf-16-be"),
        codecs.BOM_UTF32_LE + TEXT.encode("utf-32-le"),
    ],
)
def test_d12_lists_of_any_unicode(photos, data):
    assert listed(photos, data) == ["a.png", "b c.png", "ünï.jpg"]


def test_d12_quotes_and_comments(photos):
    text = "# what was seen\n\"photos/a.png\"\n 'photos/b c.png' \n#photos/ünï.jpg\n"
    assert listed(photos, text) == ["a.png", "b c.png"]
    # What is there is what it says.
    (photos.parent / "#1.png").write_bytes(b"")
    assert find_inputs(str(photos.parent / "list.txt")) == [
        photos / "a.png",
        photos / "b c.png",
    ]
    (photos.parent / "list.txt").write_text("#1.png\nphotos/'q'.png\n")
    assert [path.name for path in find_inputs(str(photos.parent / "list.txt"))] == [
        *("#1.png", "'q'.png"),
    ]


def test_d11_one_picture_in_many_ways_comes_once(photos, monkeypatch):
    monkeypatch.chdir("/")
    whole = photos / "a.png"
    text = f"photos/a.png\r\n  photos/a.png  \r\n{whole}\r\nphotos/../photos/a.png\r\n"
    assert listed(photos, text) == ["a.png"]


@pytest.mark.skipif(os.sep != "/", reason="backslashes part folders there")
def test_d12_backslashes_are_refused(photos):
    with pytest.raises(InputError, match=r"list\.txt:2 has backslashes.*with /"):
        listed(photos, "photos/a.png\nphotos\\b c.png\n")
    (photos / "x\\y.png").write_bytes(b"")
    assert listed(photos, "photos/x\\y.png\n") == ["x\\y.png"]


@pytest.mark.parametrize(
    "line", ["a.png 0", "a.png,1,cat", "a.png\tgood", '"b c.png" 1']
)
def test_d12_labels_are_refused(photos, line):
    listing = photos / "list.txt"
    listing.write_text(f"#1.png\n{line}\n")
    with pytest.raises(InputError, match=r"list\.txt:2 has '.*' after the path"):
        find_inputs(str(listing))


def test_what_is_not_there_is_left_to_its_line(photos):
    assert listed(photos, "photos/gone.png\nphotos/b d.png\n") == [
        "gone.png",
        "b d.png",
    ]


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"\xff\xfe\x00"])
def test_a_list_that_is_no_text(photos, data):
    with pytest.raises(InputError, match="is no text; predict.input takes a list"):
        listed(photos, data)


def test_a_list_of_comments_names_no_picture(photos):
    with pytest.raises(InputError, match="names no picture"):
        listed(photos, "# a.png\n\n")


def test_a22_every_suffix_is_listed_or_counted(tmp_path):
    suffixes = sorted(IMAGE_SUFFIXES | UNREAD_SUFFIXES)
    for suffix in suffixes:
        (tmp_path / f"x{suffix}").write_bytes(b"")
    for name in ("notes.md", "data.npy", "Thumbs.db", ".hidden.png", "LICENSE"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "loop").symlink_to(tmp_path)
    found = find_inputs(str(tmp_path))
    assert {path.suffix for path in found} == IMAGE_SUFFIXES
    (line,) = describe_inputs(str(tmp_path), found)
    start, _, left = line.partition("; not used: ")
    assert start == f"{tmp_path}: {len(IMAGE_SUFFIXES)} pictures"
    assert left.startswith(f"{len(UNREAD_SUFFIXES)} of formats that are not read, ")
    assert all(f"{suffix} 1" in left for suffix in UNREAD_SUFFIXES)
    assert "1 that are no pictures by their names (data.npy)" in left
    assert left.endswith("1 that are links to folders (loop)")


def test_a22_a_folder_of_nothing_that_is_read(tmp_path):
    (tmp_path / "slice.raw").write_bytes(b"")
    with pytest.raises(InputError, match=r"It holds 1 of formats .* \.raw 1 .slice"):
        find_inputs(str(tmp_path))


def test_masks_among_the_pictures_are_said(tmp_path):
    for name in ("test/bad/0.png", "ground_truth/bad/0.png", "1.png", "1_mask.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = find_inputs(str(tmp_path))
    assert describe_inputs(str(tmp_path), found) == [
        f"{tmp_path}: 4 pictures",
        (
            "2 of them called like masks are scored as pictures "
            "(1_mask.png, ground_truth/bad/0.png)"
        ),
    ]


def test_one_picture_and_a_glob_are_counted(photos):
    for given, count in ((photos / "a.png", "1 picture"), (photos / "*", "5 pictures")):
        found = find_inputs(str(given))
        assert describe_inputs(str(given), found) == [f"{given}: {count}"]


def test_own_results_are_not_spoken_of(photos):
    (photos / "maps").mkdir()
    (photos / "maps/a.png.npy").write_bytes(b"")
    own = [photos / "maps"]
    assert describe_inputs(str(photos), find_inputs(str(photos), own), own) == [
        f"{photos}: 5 pictures"
    ]
