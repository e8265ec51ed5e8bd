"""What prompts call a class: its display name, or the dataset's own id."""

import pickle

import pytest

from data_pipelines.errors import DataError
from data_pipelines.sources import open_source, refuse_unknown_classes


def test_names_of_a_catalogue_dataset(tmp_path, mvtec_class, open_dataset):
    for name in ("grid", "metal_nut"):
        mvtec_class(tmp_path / "root/mvtec", name, 1, 1)
    display = {"grid": "metal grid", "metal_nut": "metal nut"}
    raw = {"grid": "grid", "metal_nut": "metal_nut"}
    for options, names in (
        ({}, display),
        ({"class_names": "display"}, display),
        ({"class_names": "raw"}, raw),
        ({"class_names": "raw", "classes": ("grid",)}, {"grid": "grid"}),
    ):
        source = open_dataset("mvtec", **options)
        assert source.prompt_names == names
        assert source.classes == tuple(names)
        # Reading processes get a copy.
        assert pickle.loads(pickle.dumps(source)).prompt_names == names


def test_names_of_a_folder(tmp_path, mvtec_class):
    mvtec_class(tmp_path, "brass_ring", 1, 1)
    for class_names, name in (("display", "brass ring"), ("raw", "brass_ring")):
        source = open_source(
            f"folder:{tmp_path}", root="", prepared="", class_names=class_names
        )
        assert source.prompt_names == {"brass_ring": name}
        assert pickle.loads(pickle.dumps(source)).prompt_names == source.prompt_names


@pytest.mark.parametrize("dataset", ["mvtec", "folder:/nowhere"])
def test_another_kind_is_refused_before_anything_is_read(dataset):
    with pytest.raises(DataError, match="class_names is 'Raw'; allowed are display an"):
        open_source(dataset, root="", prepared="", class_names="Raw")


def named(folder, **options):
    source = open_source(f"folder:{folder}", root="", prepared="", **options)
    return source.prompt_names, source.description


def test_a_folder_says_what_its_classes_are_called(tmp_path, mvtec_class):
    for name in ("pcb_01", "pcb_02", "pcb_03"):
        mvtec_class(tmp_path, name, 1, 1)
    file = tmp_path / "class_names.json"
    file.write_text('{"pcb_01": " printed circuit board", "pcb_02": "motor driver"}')
    given = {"pcb_02": "fan control", "cable_7": "of another folder"}
    names, said = named(tmp_path, folder_class_names=given)
    assert names == {
        "pcb_01": "printed circuit board",
        "pcb_02": "fan control",
        "pcb_03": "pcb 03",
    }
    assert said[0].startswith("pcb_01 (in prompts: printed circuit board): normal: ")
    assert said[2].startswith("pcb_03: normal: ")
    # Its classes keep their ids, and those that are left out are no error.
    assert named(tmp_path, classes=("pcb_02",))[0] == {"pcb_02": "motor driver"}
    raw = {name: name for name in names}
    assert named(tmp_path, class_names="raw")[0] == raw
    with pytest.raises(
        DataError, match="'raw', so classes are called as their folders"
    ):
        named(tmp_path, class_names="raw", folder_class_names=given)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"pcb_10": "board"}', "names 'pcb_10', which is no class here; .*'pcb_01'"),
        ('{"pcb_01": 3}', "pcb_01 = 3; allowed is a text: class_names.json says what"),
        ('["pcb_01"]', "allowed is an object: .*or call the file otherwise"),
        ('{"pcb_01": " "}', "pcb_01 is to be called ' ' in prompts; allowed are words"),
        ('{"pcb_01": "a\\nb"}', r"called 'a\\nb' in prompts"),
    ],
)
def test_names_that_are_none_are_refused(tmp_path, mvtec_class, content, words):
    mvtec_class(tmp_path, "pcb_01", 1, 1)
    (tmp_path / "class_names.json").write_text(content)
    with pytest.raises(DataError, match=words):
        named(tmp_path)


def test_a_name_is_of_a_class_of_some_folder(tmp_path, mvtec_class):
    mvtec_class(tmp_path / "boards", "pcb_01", 1, 1)
    mvtec_class(tmp_path / "cables", "cable_7", 1, 1)
    folders = [f"folder:{tmp_path / name}" for name in ("boards", "cables", "none")]
    names = {"cable_7": "power cord", "pcb_01": "printed circuit board"}
    refuse_unknown_classes(names, ["mvtec", *folders])
    with pytest.raises(
        DataError, match="has 'cable_7', which is no class .*allowed are pcb_01"
    ):
        refuse_unknown_classes(names, folders[:1])
    with pytest.raises(DataError, match="there is none"):
        refuse_unknown_classes(names, ["mvtec"])
