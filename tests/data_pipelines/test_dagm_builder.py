"""DAGM 2007: all ten classes in the original layout, and its table of labels."""

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


@pytest.fixture
def open_dagm(tmp_path, root):
    def opened(**options) -> Source:
        prepared = str(tmp_path / "prepared")
        return open_source("dagm", root=str(root), prepared=prepared, **options)

    return opened


def count(source: Source) -> dict[str, tuple[int, int]]:
    found = Counter((entry.class_name, entry.label) for entry in source.index)
    return {name: (found[name, 0], found[name, 1]) for name in source.classes}


def test_complete(root, open_dagm):
    trees.write_dagm(root, *CATALOG["dagm"].classes)
    source = open_dagm(strict=True)
    assert count(source) == CATALOG["dagm"].counts
    labels = [entry.label for entry in source.index]
    assert (labels.count(0), labels.count(1)) == (6996, 1054)
    assert source.differences == source.strays == source.missing_classes == ()
    assert set(source.prompt_names.values()) == {"textured surface"}


def test_records(root, open_dagm):
    test = trees.write_dagm(root, "Class1") / "Class1/Test"
    source = open_dagm()
    assert count(source) == {"Class1": (504, 71)}
    assert len(source.missing_classes) == 9
    assert source.index[0].path == "Class1/Test/0577.PNG"
    assert source[504] == {
        "image": (test / "0576.PNG").read_bytes(),
        "mask": (test / "Label/0576_label.PNG").read_bytes(),
        "label": 1,
        "class_name": "Class1",
        "defect": "defect",
        "path": "Class1/Test/0576.PNG",
    }
    assert [bool(source.mask(i)) for i in (0, 503, 504, 574)] == [0, 0, 1, 1]


def test_without_its_table_goes_by_the_masks(root, open_dagm):
    label = trees.write_dagm(root, "Class1") / "Class1/Test/Label"
    (label / "Labels.txt").unlink()
    assert count(open_dagm()) == {"Class1": (504, 71)}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("lost", r"0576\.PNG is defective according to Label/Labels.txt but no mask"),
        ("added", r"0577\.PNG is free of defects .*has the mask 0577_label\.PNG"),
    ],
)
def test_tables_and_masks_must_agree(root, open_dagm, change, said):
    label = trees.write_dagm(root, "Class1") / "Class1/Test/Label"
    if change == "lost":
        (label / "0576_label.PNG").unlink()
    else:
        trees.put(label / "0577_label.PNG", trees.mask(trees.SIZE, "PNG"))
    with pytest.raises(DataError, match=said):
        open_dagm()
    source = open_dagm(skip_bad_files=True)
    assert len(source) == 574 and len(source.skipped) == 1


def test_an_edited_table_is_prepared_anew(root, open_dagm):
    test = trees.write_dagm(root, "Class1") / "Class1/Test"
    open_dagm()
    table = test / "Label/Labels.txt"
    table.write_text(table.read_text().replace("\t1\t0576", "\t0\t0576"))
    with pytest.raises(DataError, match=r"0576\.PNG is free of defects"):
        open_dagm()


def test_images_without_a_folder_of_masks_are_not_normal(root, open_dagm):
    label = trees.write_dagm(root, "Class1") / "Class1/Test/Label"
    label.rename(label.parents[1] / "Label")
    with pytest.raises(DataError, match="Class1/Test has no folder Label"):
        open_dagm()


def test_strays(root, open_dagm):
    top = trees.write_dagm(root, "Class1")
    (top / "Class11").mkdir()
    trees.put(top / "Class1/Test/Label/2000_label.PNG", b"")
    (top / "Class1/Test/masks").mkdir()
    assert open_dagm().strays == (
        "Class11",
        "Class1/Test/masks",
        "Class1/Test/Label/2000_label.PNG",
    )


def test_class_folders_may_be_doubled_as_in_the_archives(root, open_dagm):
    top = trees.write_dagm(root, "Class1", "Class2")
    for name in ("Class1", "Class2"):
        (top / name).rename(top / "inner")
        (top / name).mkdir()
        (top / "inner").rename(top / name / name)
    source = open_dagm()
    assert count(source) == {"Class1": (504, 71), "Class2": (491, 84)}
    assert source.strays == () and source.index[0].path == "Class1/Class1/Test/0577.PNG"
