"""A user's own folder: which layouts are told apart, and what is refused."""

import hashlib
import pickle
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipelines.errors import DataError
from data_pipelines.layouts import pair_masks
from data_pipelines.sources import open_source


def open_at(path, **options):
    return open_source(f"folder:{path}", root="", prepared="", **options)


def count(source):
    return Counter((entry.class_name, entry.defect) for entry in source.index)


def test_good_and_bad_are_one_class_named_like_the_folder(tmp_path, put, image):
    base = tmp_path / "brass_ring"
    put(base / "Good/a.PNG", image(1))
    put(base / "bad/b.jpeg", image(2, kind="JPEG"))
    put(base / "bad/.hidden.png", b"")
    put(base / "bad/Thumbs.db", b"")
    put(base / "notes.txt", b"")
    source = open_at(base)
    assert source.classes == ("brass_ring",)
    assert source.prompt_names == {"brass_ring": "brass ring"}
    assert [(e.path, e.defect, e.label) for e in source.index] == [
        ("Good/a.PNG", "good", 0),
        ("bad/b.jpeg", "bad", 1),
    ]
    assert not source.has_masks and source.labelled
    assert source[0]["image"] == image(1) and source[0]["mask"] == b""
    assert source.key(0) == hashlib.sha256(image(1)).hexdigest()
    assert pickle.loads(pickle.dumps(source))[1] == source[1]


def test_own_name_for_normal(tmp_path, put, image):
    put(tmp_path / "gut/a.png", image(1))
    put(tmp_path / "no/b.png", image(2))
    source = open_at(tmp_path, normal_folders=("gut",))
    assert [e.label for e in source.index] == [0, 1]


@pytest.mark.parametrize("masks", ["ground_truth", "Masks"])
@pytest.mark.parametrize("flat", [False, True])
def test_mask_siblings(tmp_path, put, image, mask, masks, flat):
    put(tmp_path / "ok/x.png", image(1))
    put(tmp_path / "dent/y.jpg", image(2, kind="JPEG"))
    put(tmp_path / "dent/z.jpg", image(3, kind="JPEG"))
    folder = tmp_path / masks if flat else tmp_path / masks / "dent"
    put(folder / "z.png", mask())
    put(folder / "y_mask.png", mask())
    source = open_at(tmp_path)
    assert source.has_masks
    assert [bool(source[i]["mask"]) for i in range(3)] == [False, True, True]
    assert source.mask(1) == mask()


def test_mvtec_layout_directly_and_per_class(tmp_path, mvtec_class):
    mvtec_class(tmp_path, "gear_wheel", 2, 1)
    mvtec_class(tmp_path, "axle", 1, 2)
    one = open_at(tmp_path / "gear_wheel")
    assert one.classes == ("gear_wheel",) and len(one) == 3 and one.has_masks
    many = open_at(tmp_path)
    assert many.classes == ("axle", "gear_wheel")
    assert count(many) == {
        ("axle", "good"): 1,
        ("axle", "crack"): 2,
        ("gear_wheel", "good"): 2,
        ("gear_wheel", "crack"): 1,
    }
    assert open_at(tmp_path, classes=("axle",)).classes == ("axle",)
    with pytest.raises(DataError, match="no class 'axel'; the nearest is 'axle'"):
        open_at(tmp_path, classes=("axel",))


def test_good_and_bad_per_class(tmp_path, put, image):
    for name in ("cup", "lid"):
        put(tmp_path / name / "good/0.png", image(0))
        put(tmp_path / name / "bad/0.png", image(1))
    assert open_at(tmp_path).classes == ("cup", "lid")


def test_symlinked_folders_are_not_followed(tmp_path, put, image):
    put(tmp_path / "a/good/0.png", image(0))
    put(tmp_path / "elsewhere/1.png", image(0))
    (tmp_path / "a/bad").symlink_to(tmp_path / "elsewhere")
    assert len(open_at(tmp_path / "a")) == 1


def test_kinds_and_classes_may_not_be_mixed(tmp_path, put, image):
    put(tmp_path / "good/0.png", image(0))
    put(tmp_path / "cup/good/0.png", image(0))
    with pytest.raises(DataError, match="mixes.*good.*cup.*ground_truth or masks"):
        open_at(tmp_path)


def test_flat_folder_has_no_labels(tmp_path, put, image):
    put(tmp_path / "0.png", image(0))
    with pytest.raises(DataError, match="without labels.*good or ok or normal or no"):
        open_at(tmp_path)
    source = open_at(tmp_path, labelled=False)
    assert not source.labelled
    assert (source.index[0].label, source.index[0].defect) == (-1, "")


def test_classes_of_loose_images_are_not_taken_for_anomalies(tmp_path, put, image):
    put(tmp_path / "cup/0.png", image(0))
    put(tmp_path / "lid/0.png", image(0))
    with pytest.raises(DataError, match="neither normal images nor masks.*cup, lid"):
        open_at(tmp_path)


@pytest.mark.parametrize("name", ["", "nowhere"])
def test_nothing_there(tmp_path, name):
    with pytest.raises(DataError, match="no images|not a folder"):
        open_at(tmp_path / name)


def test_missing_mask(tmp_path, mvtec_class):
    folder = mvtec_class(tmp_path, "nut", 1, 2)
    (folder / "ground_truth/crack/001_mask.png").unlink()
    with pytest.raises(DataError, match=r"crack/001\.png .*no mask.*skip_bad_files"):
        open_at(folder)
    source = open_at(folder, skip_bad_files=True)
    assert len(source) == 2 and len(source.skipped) == 1
    assert "crack/001.png" in source.skipped[0]


def test_mask_of_another_size(tmp_path, mvtec_class, put, mask):
    folder = mvtec_class(tmp_path, "nut", 1, 1)
    put(folder / "ground_truth/crack/000_mask.png", mask((4, 6)))
    with pytest.raises(DataError, match=r"000_mask\.png is 4x6 px.*000\.png is 6x4"):
        open_at(folder)


def test_damaged_files_by_header_and_by_decoding(tmp_path, put, image):
    put(tmp_path / "good/0.png", image(0))
    put(tmp_path / "bad/1.png", image(1))
    put(tmp_path / "bad/2.png", image(2)[:50])
    assert len(open_at(tmp_path)) == 3
    assert len(open_at(tmp_path, skip_bad_files=True)) == 2
    put(tmp_path / "bad/3.png", b"")
    with pytest.raises(DataError, match=r"bad/3\.png"):
        open_at(tmp_path)
    assert len(open_at(tmp_path, skip_bad_files=True).skipped) == 2


STEMS = st.lists(
    st.text("ab01_.", min_size=1, max_size=4).filter(
        lambda stem: not stem.endswith((".", "_mask"))
    ),
    unique=True,
    max_size=6,
)


@given(STEMS, st.data())
def test_pairing_ignores_order_and_finds_every_stem(stems, data):
    images = [Path(f"{stem}.JPG") for stem in data.draw(st.permutations(stems))]
    masked = data.draw(st.sets(st.sampled_from(stems))) if stems else set()
    masks = [
        Path(f"{stem}_mask.png") for stem in data.draw(st.permutations(list(masked)))
    ]
    pairs = pair_masks(images, masks)
    assert {image.stem for image, mask in pairs.items() if mask} == masked
    assert all(m is None or m.stem == f"{i.stem}_mask" for i, m in pairs.items())


def test_ambiguous_masks_are_refused():
    with pytest.raises(DataError, match="two images"):
        pair_masks([Path("a/0.png"), Path("b/0.png")], [Path("m/0.png")])
    with pytest.raises(DataError, match="two masks"):
        pair_masks([Path("0.png")], [Path("m/0.png"), Path("m/0.bmp")])


def test_real_brain_mri(shared):
    source = open_at(shared / "brainmri_kaggle")
    assert count(source) == {
        ("brainmri_kaggle", "good"): 98,
        ("brainmri_kaggle", "yes"): 155,
    }
    assert not source.has_masks


def test_real_mpdd(shared):
    source = open_at(shared / "mpdd")
    assert count(source) == {("metal_plate", "good"): 60, ("metal_plate", "defect"): 71}
    assert source.has_masks and source.prompt_names == {"metal_plate": "metal plate"}
    assert all(bool(source.mask(i)) == e.label for i, e in enumerate(source.index))
