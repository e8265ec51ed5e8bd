"""MPDD and BTAD: complete trees in the original layouts, and their oddities."""

from collections import Counter
from pathlib import Path

import industrial_trees as trees
import pytest

from data_pipelines.catalog import CATALOG
from data_pipelines.errors import DataError
from data_pipelines.sources import Source, open_source


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "root"


def count(source: Source) -> dict[str, tuple[int, int]]:
    found = Counter((entry.class_name, entry.label) for entry in source.index)
    return {name: (found[name, 0], found[name, 1]) for name in source.classes}


def masks_fit(source: Source) -> bool:
    return all(bool(source.mask(i)) == e.label for i, e in enumerate(source.index))


def test_complete_mpdd(root, open_dataset):
    trees.write_mpdd(root)
    source = open_dataset("mpdd", strict=True)
    assert count(source) == CATALOG["mpdd"].counts
    assert len(source) == 458 and masks_fit(source)
    assert source.prompt_names["bracket_black"] == "bracket black"
    assert source.strays == source.differences == source.missing_classes == ()


def test_complete_btad_below_its_archives_top_folder(root, open_dataset):
    top = trees.write_btad(root)
    (top / "01/test/ko/Thumbs.db").write_bytes(b"")
    trees.put(top / "03/pred/0000.bmp", b"somebody's prediction")
    source = open_dataset("btad", strict=True)
    assert count(source) == {"01": (21, 49), "02": (30, 200), "03": (400, 41)}
    assert masks_fit(source) and source.strays == ()
    first = {e.class_name: e.path for e in reversed(source.index) if e.label}
    assert first == {
        "01": "01/test/ko/0000.bmp",
        "02": "02/test/ko/0000.png",
        "03": "03/test/ko/0000.bmp",
    }
    formats = {"01": b"\x89PNG", "02": b"\x89PNG", "03": b"BM"}
    for i, entry in enumerate(source.index):
        assert source.mask(i).startswith(
            formats[entry.class_name] if entry.label else b""
        )


def test_complete_dtd_synthetic(root, open_dataset, caplog):
    top = trees.write_dtd(root, 357, 947)
    source = open_dataset("dtd_synthetic", strict=True)
    assert len(source.classes) == 12 and masks_fit(source)
    assert sum(normal for normal, _ in count(source).values()) == 357
    assert {entry.defect for entry in source.index} == {"good", "bad"}
    assert source.prompt_names["Woven_104"] == "woven texture"
    assert source.strays == () and not caplog.records
    for name in ("test/bad/000.png", "ground_truth/bad/000_mask.png"):
        (top / "Mesh_114" / name).unlink()
    trees.put(top / "Mesh_114/test/worse/0.png", trees.picture(trees.SIZE, "PNG"))
    source = open_dataset("dtd_synthetic")
    assert source.strays == ("Mesh_114/test/worse",)
    (difference,) = source.differences
    assert (
        "357 normal and 946 anomalous images, published are 357 and 947" in difference
    )


def test_an_unknown_folder_of_btad_is_named_and_not_anomalous(
    root, open_dataset, caplog
):
    top = trees.write_btad(root)
    trees.put(top / "02/test/unsure/0000.png", trees.picture(trees.SIZE, "PNG"))
    trees.put(top / "02/test/0001.png", trees.picture(trees.SIZE, "PNG"))
    trees.put(top / "02/ground_truth/ko/0999.png", trees.mask(trees.SIZE, "PNG"))
    source = open_dataset("btad", classes=("02",), strict=True)
    assert count(source) == {"02": (30, 200)}
    assert source.strays == (
        "02/test/0001.png",
        "02/test/unsure",
        "02/ground_truth/ko/0999.png",
    )
    assert "btad: left out what is not part of its layout: 02/test/0001" in caplog.text


def test_an_unknown_kind_without_masks_is_refused(root, open_dataset):
    folder = trees.write_mpdd(root) / "tubes/test/masks"
    trees.put(folder / "0.png", trees.picture(trees.SIZE, "PNG"))
    with pytest.raises(DataError, match=r"tubes/test/masks/0\.png .*no mask.*'masks'"):
        open_dataset("mpdd", classes=("tubes",))


@pytest.mark.parametrize(
    ("dataset", "told"),
    [
        ("mpdd", "github.com/stepanje/MPDD"),
        ("btad", "{01,02,03}/test/{ok,ko}/"),
        ("dagm", "Class{1..10}/Test/"),
        ("dtd_synthetic", "{Woven_001,…}/{test/{good,bad}"),
        ("sdd", "kos{01..50}/Part"),
        ("sdd_thirds", "kos{01..50}/Part"),
        ("sdd_anomalyclip", "electrical commutators/"),
    ],
)
def test_absent(open_dataset, dataset, told):
    card = CATALOG[dataset]
    with pytest.raises(DataError) as caught:
        open_dataset(dataset)
    message = str(caught.value)
    assert "\n" not in message and told in message
    for fact in (card.title, card.licence, card.size, card.homepage):
        assert fact in message
    assert f"expected ROOT/{dataset}/" in message
    assert message.endswith("set the root with --config.data.root=DIR")


def test_real_mpdd(shared, tmp_path):
    source = open_source("mpdd", root=str(shared), prepared=str(tmp_path))
    assert count(source) == {"metal_plate": (60, 71)} and masks_fit(source)
    assert source.missing_classes == (
        "bracket_black",
        "bracket_brown",
        "bracket_white",
        "connector",
        "tubes",
    )
    (difference,) = source.differences
    assert "60 normal and 71 anomalous images, published are 26 and 71" in difference
    assert source.strays == ()
