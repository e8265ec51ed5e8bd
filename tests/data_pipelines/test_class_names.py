"""What prompts call a class: its display name, or the dataset's own id."""

import pickle

import pytest

from data_pipelines.errors import DataError
from data_pipelines.sources import open_source


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
