"""Prediction on odd folders: every good picture is done, every bad one is named."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kanoclip_jax import engine
from kanoclip_jax.engine.prediction.inputs import find_inputs
from kanoclip_jax.errors import InputError

OFF = {f"model__{part}": False for part in ("knpl", "vv", "cmci", "adapter")}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "deep").mkdir(parents=True)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (30, 50, 3), np.uint8)).save(folder / "a.png")
    Image.fromarray(rng.integers(0, 255, (170, 20), np.uint8)).save(
        folder / "deep" / "ünï.JPG"
    )
    (folder / "broken.png").write_bytes(b"\x89PNG no more")
    (folder / "notes.txt").write_text("not a picture")
    return folder


def lines_of(workdir: Path) -> dict[str, dict]:
    text = (workdir / "predictions.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    return {Path(line["path"]).name: line for line in lines}


def test_a_folder_with_a_bad_file(settings, pictures, tmp_path, capsys):
    config = settings(predict__input=str(pictures), predict__class_name="cup", **OFF)
    workdir = tmp_path / "out"
    assert engine.run("predict", config, workdir) == 1
    lines = lines_of(workdir)
    assert set(lines) == {"a.png", "ünï.JPG", "broken.png"}
    assert "cannot be decoded" in lines["broken.png"]["error"]
    assert "score" not in lines["broken.png"]
    for name, shape in (("a.png", (30, 50)), ("ünï.JPG", (170, 20))):
        line = lines[name]
        assert line["class_name"] == "cup"
        assert 0 <= line["score"] <= 1
        anomaly_map = np.load(workdir / line["map"])
        assert anomaly_map.dtype == np.float16
        assert anomaly_map.shape == shape
        x, y, width, height = line["box"]
        assert 0 <= x < x + width <= shape[1] and 0 <= y < y + height <= shape[0]
        peak = np.unravel_index(anomaly_map.argmax(), shape)
        assert y <= peak[0] < y + height and x <= peak[1] < x + width
        assert (line["height"], line["width"]) == shape
    # Patches are 8 px of 32: each is so many pixels of the longer side.
    assert lines["a.png"]["smallest_px"] == 12.5
    assert lines["ünï.JPG"]["smallest_px"] == 42.5
    said = "shrunk up to 5 times along one side (20x170 px): what is smaller than 42 px"
    assert said in capsys.readouterr().out
    overlays = sorted(path.name for path in (workdir / "overlays").iterdir())
    assert overlays == ["a.png.png", "deep__ünï.JPG.png"]
    assert Image.open(workdir / "overlays" / "a.png.png").size == (50, 30)


def test_one_image_alone(settings, pictures, tmp_path):
    config = settings(
        predict__input=str(pictures / "a.png"),
        predict__maps=False,
        predict__overlays=False,
        **OFF,
    )
    assert engine.run("predict", config, tmp_path / "out") == 0
    assert lines_of(tmp_path / "out")["a.png"]["map"] is None
    assert sorted(os.listdir(tmp_path / "out")) == [
        ".lock",
        "highest.png",
        "predictions.csv",
        "predictions.jsonl",
        "predictions.settings.json",
    ]


def test_a_second_run_does_what_is_left(settings, pictures, tmp_path, capsys):
    config = settings(predict__input=str(pictures), **OFF)
    assert engine.run("predict", config, tmp_path / "out") == 1
    first = lines_of(tmp_path / "out")
    capsys.readouterr()
    (pictures / "broken.png").write_bytes((pictures / "a.png").read_bytes())
    (pictures / "more.png").write_bytes((pictures / "a.png").read_bytes())
    assert engine.run("predict", config, tmp_path / "out") == 0
    assert "2 predicted, 0 failed, 2 done before" in capsys.readouterr().out
    second = lines_of(tmp_path / "out")
    assert set(second) == set(first) | {"more.png"}
    assert second["a.png"] == first["a.png"]
    assert second["broken.png"]["score"] == first["a.png"]["score"]
    config.predict.class_name = "mug"
    with pytest.raises(InputError, match="with another class_name"):
        engine.run("predict", config, tmp_path / "out")


def test_results_among_the_pictures_are_no_inputs(settings, pictures):
    config = settings(predict__input=str(pictures), **OFF)
    for _ in range(2):
        assert engine.run("predict", config, pictures) == 1
        assert len(lines_of(pictures)) == 3


def test_inputs_by_glob_list_and_folder(pictures, tmp_path):
    assert find_inputs(str(pictures / "*.png")) == [
        pictures / "a.png",
        pictures / "broken.png",
    ]
    listing = tmp_path / "list.txt"
    listing.write_text("pictures/deep/ünï.JPG\n\npictures/a.png\n", encoding="utf-8")
    assert [path.name for path in find_inputs(str(listing))] == ["ünï.JPG", "a.png"]
    (pictures / "loop").symlink_to(pictures)
    (pictures / ".hidden.png").touch()
    assert len(find_inputs(str(pictures))) == 3
    for pattern in ("**/*.*", "**"):
        found = find_inputs(str(pictures / pattern))
        assert [path.name for path in found if path.suffix != ".txt"] == [
            ".hidden.png",
            "a.png",
            "broken.png",
            "ünï.JPG",
        ]
    (pictures / "odd[1].png").touch()
    assert find_inputs(f"{pictures}/odd[1].png") == [pictures / "odd[1].png"]


@pytest.mark.parametrize("given", ["", "nowhere", "*.nothing", "a" * 5000, "**x/*"])
def test_no_picture_is_an_error(given):
    with pytest.raises(InputError, match="predict.input"):
        find_inputs(given)


def test_prediction_needs_something_trained(settings, pictures, tmp_path):
    config = settings(predict__input=str(pictures))
    with pytest.raises(InputError, match="holds no checkpoints"):
        engine.run("predict", config, tmp_path / "out")
