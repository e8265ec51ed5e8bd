"""Where a dataset begins, which masks belong to which images, and what is left over."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipelines.errors import DataError
from data_pipelines.layouts import (
    find_folder,
    find_start,
    find_strays,
    naming_unreadable,
    pair_masks,
)
from data_pipelines.sources import open_source


def starts(folder: Path) -> bool:
    return (folder / "yes").is_dir()


@pytest.mark.parametrize("top", ["", "set", "set/set", "a/b/c"])
def test_extra_top_folders_are_descended(tmp_path, top):
    (tmp_path / top / "yes").mkdir(parents=True)
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / ".cache").mkdir()
    (tmp_path / "readme.txt").write_text("")
    assert find_start(tmp_path, starts) == tmp_path / top


@pytest.mark.parametrize("made", ["set/no", "a/b/c/d/yes", "set"])
def test_without_the_expected_content_nothing_is_descended(tmp_path, made):
    (tmp_path / made).mkdir(parents=True)
    assert find_start(tmp_path, starts) == tmp_path


def test_two_folders_are_not_chosen_between(tmp_path):
    (tmp_path / "set/yes").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    assert find_start(tmp_path, starts) == tmp_path


def test_a_loop_of_links_ends(tmp_path):
    (tmp_path / "set").symlink_to(tmp_path)
    assert find_start(tmp_path, starts) == tmp_path


def test_folders_are_found_in_any_case(tmp_path):
    (tmp_path / "Ungood").mkdir()
    (tmp_path / "label").write_text("a file")
    assert find_folder(tmp_path, "bad", "ungood") == tmp_path / "Ungood"
    assert find_folder(tmp_path, "label") is None


def test_strays_are_neither_known_nor_clutter_nor_documents(tmp_path):
    names = ("a.png", "b.png", "c.npy", "Thumbs.db", ".DS_Store", "license.TXT")
    for name in names:
        (tmp_path / name).write_text("")
    for name in ("pred", "PRED", "__MACOSX", "new"):
        (tmp_path / name).mkdir(exist_ok=True)
    known = [tmp_path / "a.png"]
    assert find_strays(tmp_path, [tmp_path], known) == ("b.png", "c.npy", "new")


STEMS = st.text("ab1._", min_size=1, max_size=5).filter(
    lambda stem: not stem.endswith(".") and not stem.startswith(".")
)
ENDINGS = st.lists(
    st.sampled_from(("", "_mask", "_label", "_gt")), min_size=1, unique=True
)


@given(st.sets(STEMS, max_size=6), st.sets(STEMS, max_size=6), ENDINGS, st.randoms())
def test_pairs_are_those_of_the_names_in_any_order(images, masked, endings, random):
    files = [Path("i", f"{stem}.JPG") for stem in sorted(images)]
    masks = [Path("m", f"{stem}{endings[0]}.bmp") for stem in sorted(masked)]
    shuffled = random.sample(files, len(files)), random.sample(masks, len(masks))
    try:
        expected = pair_masks(files, masks, endings)
    except DataError:
        with pytest.raises(DataError):
            pair_masks(*shuffled, endings)
        return
    pairs = pair_masks(*shuffled, endings)
    assert pairs == expected and set(pairs) == set(files)
    used = [mask for mask in pairs.values() if mask]
    assert len(used) == len(set(used)) and set(used) <= set(masks)
    for image, mask in pairs.items():
        assert mask is None or mask.stem in {image.stem + e for e in endings}
        if image.stem in masked:
            assert mask.stem == image.stem + endings[0]


@given(st.sets(STEMS, min_size=1, max_size=6), st.sampled_from(("_mask", "_label")))
def test_one_ending_pairs_exactly(stems, ending):
    images = [Path(f"{stem}.png") for stem in stems]
    masks = [Path(f"{stem}{ending}.png") for stem in stems]
    pairs = pair_masks(images, masks, (ending,))
    assert {i.stem + ending for i in pairs} == {m.stem for m in pairs.values()}
    assert all(m.stem == i.stem + ending for i, m in pairs.items())
    without = pair_masks(images, masks[1:], (ending,))
    assert [i for i, mask in without.items() if mask is None] == images[:1]


@given(st.sets(STEMS, min_size=1, max_size=4), st.data())
def test_two_masks_of_one_name_are_refused(stems, data):
    twice = data.draw(st.sampled_from(sorted(stems)))
    masks = [Path(f"{stem}.png") for stem in sorted(stems)] + [Path(f"{twice}.bmp")]
    with pytest.raises(DataError, match="two masks share a stem"):
        pair_masks([Path(f"{stem}.jpg") for stem in sorted(stems)], masks)


def test_an_unreadable_path_is_named(tmp_path):
    refusal = PermissionError(13, "Permission denied", str(tmp_path / "closed"))
    said = pytest.raises(DataError, match="closed cannot be read .*Permission denied")
    with said, naming_unreadable(tmp_path):
        raise refusal


@pytest.mark.parametrize("dataset", ["mvtec", "folder:"])
def test_an_unreadable_folder_is_one_line(tmp_path, monkeypatch, mvtec_class, dataset):
    mvtec_class(tmp_path / "mvtec", "bottle", 1, 1)
    closed = tmp_path / "mvtec/bottle/test/crack"
    listed = Path.iterdir

    def refuse(path: Path):
        if path == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", refuse)
    if dataset == "folder:":
        dataset += str(tmp_path / "mvtec")
    with pytest.raises(DataError, match="test/crack cannot be read") as caught:
        open_source(dataset, root=str(tmp_path), prepared=str(tmp_path / "p"))
    assert "\n" not in str(caught.value)
