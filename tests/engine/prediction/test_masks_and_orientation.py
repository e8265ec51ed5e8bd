"""One rule for pictures and masks in every mode: what is evaluated is what is predicted."""

import functools
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from kanoclip_jax import Detector, engine
from kanoclip_jax.engine.prediction.calibration import read_calibrations
from kanoclip_jax.engine.prediction.identity import misfits
from kanoclip_jax.errors import InputError


@pytest.fixture
def own(quick, quick_checkpoint, tmp_path):
    """Of a checkpoint of one's own, to store thresholds beside."""
    folder = shutil.copytree(quick_checkpoint, tmp_path / "run" / "checkpoints")
    return functools.partial(quick, checkpoint=str(folder))


def write(path, pixels, orientation=1):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, exif=exif)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures stored upside down; their masks are drawn as people see them."""
    base = tmp_path_factory.mktemp("brass ring")
    rng = np.random.default_rng(0)
    for kind in ("good", "bad"):
        for i in range(3):
            pixels = rng.integers(0, 256, (36, 36, 3), np.uint8)
            write(base / kind / f"{i}.png", pixels, 3)
            mask = np.zeros((36, 36), np.uint8)
            mask[2:18, 2:14] = 255
            write(base / "masks" / "bad" / f"{i}.png", mask)
    return base


@pytest.fixture(scope="module")
def blank(tmp_path_factory):
    """The same without an orientation, and with masks that mark nothing."""
    base = tmp_path_factory.mktemp("blank")
    rng = np.random.default_rng(1)
    for kind in ("good", "bad"):
        for i in range(3):
            write(base / kind / f"{i}.png", rng.integers(0, 256, (36, 36, 3), np.uint8))
    for i in range(3):
        write(base / "masks" / "bad" / f"{i}.png", np.zeros((36, 36), np.uint8))
    return base


def test_evaluation_calibration_and_prediction_see_the_same(
    own, folder, tmp_path, capsys
):
    common = {"data__mask_orientation": "upright", "predict__class_name": "ring"}
    config = own(calibrate__input=str(folder), calibrate__target_rate=0.3, **common)
    assert engine.run("calibrate", config, tmp_path) == 0
    (made,) = read_calibrations(tmp_path / "run/checkpoints/calibration.json")
    scores = [
        found.score
        for found in Detector.from_config(config).predict(
            sorted((folder / "good").iterdir()), "ring"
        )
    ]
    assert min(abs(np.array(scores) - made.image["threshold"])) < 1e-3
    assert made.identity["data.orientation"] == "upright"

    config = own(
        data__orientation="stored",
        predict__input=str(folder / "good"),
        predict__calibration=str(tmp_path / "run/checkpoints/calibration.json"),
        **common,
    )
    with pytest.raises(InputError, match=r"made with another data\.orientation"):
        engine.run("predict", config, tmp_path / "out")
    # What is older than the setting was made upright, or of pictures without it.
    older = {k: v for k, v in made.identity.items() if k != "data.orientation"}
    assert misfits(older, made.identity) == []
    left = {**made.identity, "data.orientation": "stored"}
    assert misfits(older, left) == misfits(left, made.identity) == ["data.orientation"]


def test_a_detector_leaves_pictures_where_it_is_told_to(own, tmp_path):
    pixels = np.random.default_rng(2).integers(0, 256, (20, 30, 3), np.uint8)
    write(tmp_path / "0.png", pixels, 6)
    config = own(data__orientation="stored")
    detector = Detector.from_config(config)
    kept = detector.predict(tmp_path / "0.png")
    same = detector.predict(pixels)
    assert kept.anomaly_map.shape == (20, 30) and kept.score == same.score
    opened = detector.predict(Image.open(tmp_path / "0.png"))
    assert opened.score == same.score


def test_masks_that_mark_nothing_are_no_ground_for_a_threshold(own, blank, tmp_path):
    config = own(
        calibrate__input=str(blank),
        calibrate__criterion="f1",
        predict__class_name="ring",
    )
    with pytest.raises(InputError, match="no best F1 of pixels.*mask_values"):
        engine.run("calibrate", config, tmp_path)
    assert not (tmp_path / "run/checkpoints/calibration.json").exists()


def test_empty_pixel_columns_have_a_reason(own, blank, tmp_path, capsys):
    config = own(eval__datasets=f"folder:{blank}")
    assert engine.run("eval", config, tmp_path) == 0
    words = "the masks of its 3 anomalous pictures mark no pixel, or all"
    assert words in capsys.readouterr().out
    report = json.loads((tmp_path / "report.json").read_text())
    (result,) = report["datasets"].values()
    assert result["mean"]["pixel_auroc"] is None
    assert any(words in note for note in result["notes"])
