"""The prepared copy of MVTec AD and of the textures: content, atomicity, refusals."""

import hashlib
import os
import pickle
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import tensorflow_datasets as tfds

from data_pipelines import textures
from data_pipelines.builders import base
from data_pipelines.errors import DataError
from data_pipelines.sources import open_source


@pytest.fixture
def root(tmp_path, mvtec_class):
    for name, normal, anomalous in (("metal_nut", 2, 3), ("bottle", 1, 2)):
        mvtec_class(tmp_path / "root/mvtec", name, normal, anomalous)
    return tmp_path / "root"


@pytest.fixture
def open_mvtec(root, tmp_path):
    def opened(**options):
        return open_source(
            "mvtec", root=str(root), prepared=str(tmp_path / "prepared"), **options
        )

    return opened


def copies(tmp_path: Path) -> list[Path]:
    return [
        p for p in (tmp_path / "prepared").glob("*/*") if not p.name.startswith(".lock")
    ]


def test_records_are_the_files_as_on_disk(open_mvtec, image, mask):
    source = open_mvtec()
    assert source.classes == ("bottle", "metal_nut")
    assert source.prompt_names == {"bottle": "bottle", "metal_nut": "metal nut"}
    assert len(source.missing_classes) == 13 and "cable" in source.missing_classes
    assert source.has_masks and not source.skipped
    assert [(e.path, e.label) for e in source.index[:3]] == [
        ("bottle/test/good/000.png", 0),
        ("bottle/test/crack/000.png", 1),
        ("bottle/test/crack/001.png", 1),
    ]
    assert source[1] == {
        "image": image(100),
        "mask": mask(),
        "label": 1,
        "class_name": "bottle",
        "defect": "crack",
        "path": "bottle/test/crack/000.png",
    }
    assert source[0]["mask"] == b"" and source.mask(2) == mask()
    assert source.key(1) == hashlib.sha256(image(100)).hexdigest()
    assert pickle.loads(pickle.dumps(source))[4] == source[4]


def test_second_opening_reads_no_image(open_mvtec, monkeypatch):
    first = open_mvtec()
    monkeypatch.setattr(base, "read_checked", None)
    assert open_mvtec().index == first.index


def test_a_changed_file_is_prepared_anew(open_mvtec, root, tmp_path, put, image):
    open_mvtec()
    put(root / "mvtec/bottle/test/good/000.png", image(7))
    assert open_mvtec()[0]["image"] == image(7)
    assert len(copies(tmp_path)) == 2


def test_source_folder_is_never_written_to(open_mvtec, root):
    before = {p: p.stat().st_mtime_ns for p in root.rglob("*")}
    open_mvtec()
    assert {p: p.stat().st_mtime_ns for p in root.rglob("*")} == before


def test_many_shards_keep_the_order(open_mvtec, monkeypatch, tmp_path):
    monkeypatch.setattr(base, "_RECORDS_PER_SHARD", 3)
    source = open_mvtec()
    assert len(list((tmp_path / "prepared").rglob("*array_record*"))) == 3
    assert [source[i]["path"] for i in range(8)] == [e.path for e in source.index]


def test_shards_may_be_empty(open_mvtec, monkeypatch, root):
    monkeypatch.setattr(base, "_RECORDS_PER_SHARD", 1)
    damage(root, "empty")
    source = open_mvtec(skip_bad_files=True)
    assert [source[i]["path"] for i in range(7)] == [e.path for e in source.index]


def test_nothing_usable(open_mvtec, root, tmp_path):
    for path in root.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match="no usable image: 8 were skipped"):
        open_mvtec(skip_bad_files=True)
    assert copies(tmp_path) == []


def test_copy_is_an_ordinary_tfds_dataset(open_mvtec, tmp_path):
    open_mvtec()
    (home,) = copies(tmp_path)
    builder = tfds.builder_from_directory(home / "mvtec/1.0.0")
    assert builder.info.splits["test"].num_examples == 8
    assert "tensorflow" not in sys.modules


@pytest.mark.parametrize("suffix", [".JPG", ".png"])
def test_masks_are_paired_by_stem(open_mvtec, root, put, image, mask, suffix):
    folder = root / "mvtec/bottle"
    put(folder / f"test/cut/a10{suffix}", image(9))
    put(folder / f"test/cut/a9{suffix}", image(8))
    put(folder / "ground_truth/cut/a9.png", mask())
    put(folder / "ground_truth/cut/a10_mask.bmp", mask())
    put(folder / "ground_truth/cut/a1.png", b"an orphan is never opened")
    source = open_mvtec(classes=("bottle",))
    assert len(source) == 5 and all(source.mask(i) for i in (3, 4))


def damage(root: Path, how: str) -> str:
    image = root / "mvtec/bottle/test/crack/001.png"
    mask = root / "mvtec/bottle/ground_truth/crack/001_mask.png"
    if how == "no mask":
        mask.unlink()
    elif how == "empty":
        image.write_bytes(b"")
    elif how == "truncated":
        image.write_bytes(image.read_bytes()[:50])
    elif how == "truncated mask":
        mask.write_bytes(mask.read_bytes()[:50])
    else:
        image.write_bytes(b"<html>not found</html>")
    return "001_mask.png" if how == "truncated mask" else "001.png"


@pytest.mark.parametrize(
    "how", ["no mask", "empty", "truncated", "truncated mask", "not an image"]
)
def test_bad_files_stop_or_are_counted(open_mvtec, root, tmp_path, how):
    name = damage(root, how)
    with pytest.raises(DataError, match=rf"{name} .*config\.data\.skip_bad_files=True"):
        open_mvtec()
    assert copies(tmp_path) == []
    source = open_mvtec(skip_bad_files=True)
    assert len(source) == 7 and len(source.skipped) == 1 and name in source.skipped[0]
    assert [source[i]["path"] for i in range(7)] == [e.path for e in source.index]


def test_mask_of_another_size(open_mvtec, root, put, mask):
    put(root / "mvtec/bottle/ground_truth/crack/000_mask.png", mask((4, 6)))
    with pytest.raises(DataError, match=r"000_mask\.png is 4x6 px"):
        open_mvtec()


def test_interruption_leaves_nothing_and_is_made_good(
    open_mvtec, tmp_path, monkeypatch
):
    read, calls = base.read_checked, []

    def interrupted(*args, **kwargs):
        calls.append(args)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return read(*args, **kwargs)

    monkeypatch.setattr(base, "read_checked", interrupted)
    with pytest.raises(KeyboardInterrupt):
        open_mvtec()
    assert copies(tmp_path) == []
    assert len(open_mvtec()) == 8


def test_killed_process_is_made_good(open_mvtec, root, tmp_path):
    script = (
        "import os, signal\n"
        "from data_pipelines.builders import base\n"
        "from data_pipelines.sources import open_source\n"
        "def die(*args, **kwargs): os.kill(os.getpid(), signal.SIGKILL)\n"
        "base.read_checked = die\n"
        f"open_source('mvtec', root={str(root)!r}, prepared={str(tmp_path / 'prepared')!r})"
    )
    killed = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parents[2], check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert [p.suffix for p in copies(tmp_path)] == [".partial"]
    assert len(open_mvtec()) == 8
    assert [p.suffix for p in copies(tmp_path)] == [""]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_unwritable_prepared_folder(open_mvtec, tmp_path):
    (tmp_path / "prepared").mkdir(mode=0o555)
    with pytest.raises(DataError, match=r"--config\.data\.prepared=DIR"):
        open_mvtec()


def test_prepared_is_a_file(open_mvtec, tmp_path):
    (tmp_path / "prepared").write_text("")
    with pytest.raises(DataError, match=r"--config\.data\.prepared=DIR"):
        open_mvtec()


@pytest.mark.parametrize("where", ["", "absent", "."])
def test_root_without_the_dataset(tmp_path, where):
    target = str(tmp_path / where) if where else ""
    with pytest.raises(
        DataError, match=r"mvtec/<class>/test/.*--config\.data\.root=DIR"
    ) as caught:
        open_source("mvtec", root=target, prepared=str(tmp_path))
    assert "\n" not in str(caught.value)


def test_folder_without_any_class(tmp_path, put, image):
    put(tmp_path / "mvtec/botle/test/good/0.png", image(0))
    with pytest.raises(DataError, match="none of the classes bottle"):
        open_source("mvtec", root=str(tmp_path), prepared=str(tmp_path / "p"))


def test_classes(open_mvtec):
    assert open_mvtec(classes=("metal_nut",)).classes == ("metal_nut",)
    with pytest.raises(DataError, match="'metal-nut'; the nearest is 'metal_nut'"):
        open_mvtec(classes=("metal-nut",))
    with pytest.raises(DataError, match="lacks the class 'cable'"):
        open_mvtec(classes=("bottle", "cable"))


def test_textures_need_no_root(tmp_path, monkeypatch):
    generate, count = textures.generate, textures.count
    few = {"normal_per_class": 1, "anomalous_per_class": 2}
    monkeypatch.setattr(textures, "count", lambda part: count(part, **few))
    monkeypatch.setattr(
        textures, "generate", lambda part: generate(part, size=16, **few)
    )
    name = next(iter(textures.EVAL_CLASSES))
    source = open_source(
        "textures_eval", root="", prepared=str(tmp_path), classes=(name,)
    )
    assert [e.label for e in source.index] == [0, 1, 1]
    assert source.prompt_names == {name: textures.EVAL_CLASSES[name]}
    assert [bool(source.mask(i)) for i in range(3)] == [False, True, True]


def test_real_subset(shared, tmp_path):
    source = open_source("mvtec", root=str(shared), prepared=str(tmp_path))
    counts = Counter((e.class_name, e.label) for e in source.index)
    assert {name: (counts[name, 0], counts[name, 1]) for name in source.classes} == {
        "bottle": (60, 63),
        "capsule": (8, 8),
        "carpet": (0, 17),
        "grid": (28, 11),
        "hazelnut": (30, 8),
        "leather": (8, 11),
        "metal_nut": (8, 8),
        "pill": (60, 141),
        "screw": (60, 97),
        "transistor": (40, 20),
    }
    assert source.missing_classes == ("cable", "tile", "toothbrush", "wood", "zipper")
