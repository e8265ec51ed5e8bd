"""Calibration: chosen on one folder, kept beside the checkpoint, used by prediction."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_pipelines.errors import DataError
from kanoclip_jax import Detector, engine
from kanoclip_jax.engine import restore
from kanoclip_jax.engine.prediction.calibrate import image_threshold
from kanoclip_jax.engine.prediction.calibration import (
    Calibration,
    find_calibrations,
    read_calibrations,
    save_calibration,
)
from kanoclip_jax.engine.prediction.windows_sample import Sample
from kanoclip_jax.errors import InputError
from kanoclip_jax.metrics.histograms import PixelHistogram
from kanoclip_jax.metrics.thresholds import at_best_f1
from kanoclip_jax.verdict import Thresholds, is_above, margin

OFF = {f"model__{part}": False for part in ("knpl", "vv", "cmci", "adapter")}


@pytest.fixture
def copied(quick_checkpoint, tmp_path) -> Path:
    """A checkpoint of one's own, to store thresholds beside."""
    return Path(shutil.copytree(quick_checkpoint, tmp_path / "run" / "checkpoints"))


@pytest.fixture(scope="module")
def normals(tmp_path_factory) -> list[Path]:
    """19 pictures that nothing tells apart from more of them, in a flat folder."""
    folder = tmp_path_factory.mktemp("normals")
    rng = np.random.default_rng(0)
    paths = [folder / f"{i:02}.png" for i in range(19)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (40, 36, 3), np.uint8)).save(path)
    return paths


def calibrate(settings, folder: Path, workdir: Path, **overrides: object) -> None:
    config = settings(
        calibrate__input=str(folder),
        predict__class_name="metal_nut",
        predict__batch_size=4,
        **overrides,
    )
    assert engine.run("calibrate", config, workdir) == 0


def lines_of(workdir: Path) -> dict[str, dict]:
    text = (workdir / "predictions.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    return {Path(line["path"]).name: line for line in lines}


def test_thresholds_from_calibration_to_labels(
    quick, copied, normals, tmp_path, capsys
):
    calibrate(
        quick,
        normals[0].parent,
        tmp_path / "out",
        checkpoint=str(copied),
        calibrate__target_rate=0.1,
    )
    out = capsys.readouterr().out
    assert "from 19 normal and 0 anomalous pictures" in out
    assert "warning" not in out
    (found,) = read_calibrations(copied / "calibration.json")
    assert found.class_name == "metal nut"
    assert found.facts["needed"] == 9 and found.facts["normal"] == 19
    assert found.image["expected_rate"] == pytest.approx(0.1)
    assert found.image["rate"] == pytest.approx(1 / 19)

    # The second highest of 19 scores; ⌊0.1 · 20⌋ = 2 ranks lie above it.
    plain = Detector.load(copied, calibration="never", batch_size=4)
    scores = [p.score for p in plain.predict(normals, "metal nut")]
    chosen = sorted(scores)[-2]
    assert found.thresholds.image == chosen + margin(chosen)
    low, high = found.image["interval"]
    assert low <= found.thresholds.image <= high

    detector = Detector.load(copied, batch_size=4)
    assert detector.thresholds("metal nut") == found.thresholds
    assert detector.thresholds("cup") is None
    labels = [p.label for p in detector.predict(normals, "metal_nut")]
    assert labels.count("anomalous") == 1
    assert labels[int(np.argmax(scores))] == "anomalous"
    maps = np.stack([p.anomaly_map for p in detector.predict(normals, "metal nut")])
    assert (maps > found.thresholds.pixel).mean() == pytest.approx(0.1, abs=0.03)
    scale = detector.scale("metal_nut", found.thresholds)
    assert scale == (found.thresholds.pixel, found.saturates)
    # As far above the threshold as the median pixel is below it, or as the highest.
    above = max(maps.max(), 2 * scale.begin - np.median(maps))
    assert scale.end == pytest.approx(above, rel=0.05)
    assert f"colour begins at {scale.begin:.6f} and is full at" in out
    assert detector.scale("cup", None) == (0.5, 1.0)

    config = quick(
        checkpoint=str(copied),
        predict__input=str(normals[0].parent),
        predict__class_name="metal nut",
        predict__batch_size=4,
        predict__min_area=5,
    )
    assert engine.run("predict", config, tmp_path / "photos") == 0
    assert "anomalous is a score above" in capsys.readouterr().out
    lines = lines_of(tmp_path / "photos")
    assert [lines[path.name]["label"] for path in normals] == labels
    for line in lines.values():
        areas = [region["area"] for region in line["regions"]]
        heights = [region["score"] for region in line["regions"]]
        assert all(area >= 5 for area in areas)
        assert heights == sorted(heights, reverse=True)
        assert all(score > found.thresholds.pixel for score in heights)
    assert any(line["regions"] for line in lines.values())
    quietest = lines[normals[int(np.argmin(scores))].name]
    photo, laid = (
        np.asarray(Image.open(path))
        for path in (quietest["path"], tmp_path / "photos" / quietest["overlay"])
    )
    below = maps[int(np.argmin(scores))] <= scale.begin
    np.testing.assert_array_equal((laid == photo).all(-1), below)


def test_too_few_normals_are_said(settings, normals, tmp_path, capsys):
    calibrate(settings, normals[0].parent, tmp_path, calibrate__target_rate=0.01, **OFF)
    out = capsys.readouterr().out
    assert "warning: a rate of 0.01 needs 99 normal pictures" in out
    assert "5.0% through on average" in out
    # Nothing was trained, so there is no checkpoint to lie beside.
    assert f"stored: {tmp_path / 'calibration.json'}" in out


def test_the_best_f1_of_images_and_pixels(quick, copied, data_root, tmp_path, capsys):
    folder = data_root / "mine" / "cup"
    shared = {"checkpoint": str(copied)}
    calibrate(quick, folder, tmp_path, calibrate__criterion="f1", **shared)
    assert "by the best F1" in capsys.readouterr().out
    (found,) = read_calibrations(copied / "calibration.json")
    assert found.facts["normal"] == 6 and found.facts["anomalous"] == 5
    config = quick(eval__datasets=f"folder:{folder}", predict__batch_size=4, **shared)
    # The class is called otherwise in prompts, as an evaluation does.
    config.predict.class_name = "cup"
    config.calibrate.update({"input": str(folder), "criterion": "f1"})
    assert engine.run("calibrate", config, tmp_path) == 0
    assert engine.run("eval", config, tmp_path / "eval") == 0
    report = json.loads((tmp_path / "eval" / "report.json").read_text())
    row = report["datasets"][f"folder:{folder}"]["classes"]["cup"]
    nut, cup = read_calibrations(copied / "calibration.json")
    assert (nut.class_name, cup.class_name) == ("metal nut", "cup")
    assert cup.image["f1"] == pytest.approx(row["image_f1max"])
    assert cup.pixel["f1"] == pytest.approx(row["pixel_f1max"])
    assert cup.pixel["criterion"] == "f1"


def test_pixels_without_masks_go_by_the_rate(quick, copied, data_root, tmp_path):
    for kind in ("good", "spot"):
        shutil.copytree(data_root / "mine/cup/test" / kind, tmp_path / "cup" / kind)
    calibrate(
        quick,
        tmp_path / "cup",
        tmp_path / "out",
        calibrate__criterion="f1",
        checkpoint=str(copied),
    )
    (found,) = read_calibrations(copied / "calibration.json")
    assert found.image["criterion"] == "f1" and found.image["recall"] > 0
    assert found.pixel["criterion"] == "rate" and found.pixel["f1"] is None


@pytest.mark.parametrize(
    ("inner", "overrides", "words"),
    [
        (None, {}, "calibrate.input is empty"),
        ("mine", {}, "holds 2 classes; calibrate one at a time"),
        ("mine/cup/test/good", {"calibrate__criterion": "f1"}, "no best F1"),
        ("mine/cup/test/spot", {"calibrate__target_rate": 1.0}, "between 0 and 1"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(
    quick, data_root, tmp_path, inner, overrides, words
):
    folder = "" if inner is None else str(data_root / inner)
    config = quick(calibrate__input=folder, **overrides)
    with pytest.raises(InputError, match=words):
        engine.run("calibrate", config, tmp_path)


@pytest.mark.parametrize("criterion", ["rate", "f1"])
def test_twenty_times_one_picture_are_normal_in_every_batch(quick, criterion):
    """Scores that batches of 8 and of 16 gave; an anomalous picture lies far above."""
    few, many = np.float32(0.390132874), np.float32(0.390132904)
    labels = np.repeat([0, 1], [20, 1])
    sample = Sample(
        np.array([few] * 20 + [0.5]), labels, PixelHistogram(), None, labels, None, 0.5
    )
    config = quick(calibrate__target_rate=0.05, calibrate__criterion=criterion)
    found = image_threshold(config, sample, "float32")
    assert found["rate"] == 0
    assert not is_above(np.array([few, many] * 10), found["threshold"]).any()
    assert is_above(0.5, found["threshold"])


def test_no_threshold_divides_what_arithmetic_alone_tells_apart():
    """Of one picture, once as normal and once as anomalous, beside clear ones."""
    scores = np.array([0.2, 0.39013287, 0.3901329, 0.39013293, 0.7, 0.8])
    labels = np.array([0, 0, 1, 1, 1, 1])
    plain = at_best_f1(scores, labels)
    assert 0.39013287 < plain < 0.3901329
    assert at_best_f1(scores, labels, margin) == pytest.approx(0.295, abs=1e-3)


def test_thresholds_belong_to_how_pictures_are_cut(copied, stored):
    with pytest.raises(InputError, match=r"made with another predict\.tiles"):
        Detector.load(copied, calibration=stored, tiles="auto")
    tiled = Detector.load(copied, calibration="never", tiles="64")
    plain = Detector.load(copied, calibration="never")
    assert tiled.identity == {**plain.identity, "predict.tiles": "64"}
    entry = {"threshold": 0.25}
    calibration = Calibration("metal nut", tiled.identity, entry, entry, facts={})
    assert save_calibration(calibration, (copied,)) == stored
    assert Detector.load(copied, tiles=64).thresholds("metal nut") == (0.25, 0.25)
    # What was there before windows were is of whole pictures.
    assert Detector.load(copied).thresholds("metal nut") == (0.5, 0.5)
    with pytest.raises(InputError, match="allowed: never, auto"):
        Detector.load(copied, tiles="sometimes")


@pytest.mark.filterwarnings("ignore:a picture is nearly black")
def test_calibration_and_prediction_in_windows(quick, copied, tmp_path, capsys):
    folder = tmp_path / "strips"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(3):
        pixels = rng.integers(0, 256, (20, 30 + 90 * i, 3), np.uint8)
        # The first is of 12 bits in 16.
        deep = pixels[..., 0].astype(np.uint16) * 16
        Image.fromarray(pixels if i else deep).save(folder / f"{i}.png")
    (folder / "bad.png").write_bytes(b"no picture")
    shared = {"checkpoint": str(copied), "predict__tiles": "auto"}
    with pytest.raises(DataError, match="bad.png"):
        calibrate(quick, folder, tmp_path / "out", **shared)
    good = Path(shutil.copytree(folder, tmp_path / "good"))
    (good / "bad.png").unlink()
    capsys.readouterr()
    calibrate(quick, good, tmp_path / "out", **shared)
    assert "1 of 3 pictures of folder:" in capsys.readouterr().out
    (found,) = read_calibrations(copied / "calibration.json")
    assert found.identity["predict.tiles"] == "auto"
    detector = Detector.load(copied, batch_size=4, tiles="auto")
    alone = {p.name: detector.predict(p, "metal nut") for p in good.iterdir()}
    highest = max(one.score for one in alone.values())
    assert found.thresholds.image == pytest.approx(highest + margin(highest))
    assert {one.label for one in alone.values()} == {"normal"}
    assert found.saturates >= max(one.anomaly_map.max() for one in alone.values())
    config = quick(
        predict__input=str(folder),
        predict__class_name="metal nut",
        predict__batch_size=4,
        **shared,
    )
    assert engine.run("predict", config, tmp_path / "out") == 1
    lines = lines_of(tmp_path / "out")
    assert "cannot be decoded" in lines["bad.png"]["error"]
    for name, one in alone.items():
        assert lines[name]["score"] == pytest.approx(one.score, abs=1e-6)
        assert lines[name]["label"] == "normal"
        assert lines[name]["smallest_px"] == round(one.smallest, 1)
    config.predict.tiles = "never"
    with pytest.raises(InputError, match=r"made with another .*predict\.tiles"):
        engine.run("predict", config, tmp_path / "out")


@pytest.fixture
def stored(copied) -> Path:
    """Thresholds beside the checkpoint, of the class `metal nut`."""
    identity = Detector.load(copied).identity
    entry = {"threshold": 0.5}
    calibration = Calibration("metal nut", identity, entry, entry, facts={})
    return save_calibration(calibration, (copied,))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("parameters", "0" * 64),
        ("clip.fingerprint", "0" * 64),
        ("clip.image_size", 48),
        ("clip.dtype", "bfloat16"),
        ("clip.activation", "gelu"),
        ("clip.input_range", "unit"),
        ("model.sigma", 2.0),
    ],
)
def test_thresholds_belong_to_what_they_were_chosen_with(
    stored, key, value, tmp_path, capsys
):
    (calibration,) = read_calibrations(stored)
    other = dict(calibration.identity) | {key: value}
    assert calibration.identity[key] != value
    folders = (tmp_path, stored.parent)
    assert find_calibrations("auto", folders, calibration.identity) == (calibration,)
    assert find_calibrations("auto", folders, other) == ()
    assert f"was made with another {key}; calibrate again" in capsys.readouterr().out
    with pytest.raises(InputError, match=f"was made with another {key}"):
        find_calibrations(str(stored), folders, other)


def test_thresholds_belong_to_a_class(quick, stored, normals, tmp_path, capsys):
    config = quick(
        checkpoint=str(stored.parent),
        predict__input=str(normals[0]),
        predict__class_name="cup",
        predict__overlays=False,
    )
    assert engine.run("predict", config, tmp_path) == 0
    assert (
        "no thresholds for 'cup': calibrated are metal nut" in capsys.readouterr().out
    )
    line = lines_of(tmp_path)["00.png"]
    assert line["label"] is None and line["regions"] == []


def test_a_checkpoint_from_before_a_setting_keeps_its_thresholds(
    copied, stored, monkeypatch
):
    meta = restore.read_meta(copied / "7")
    del meta["config"]["model"]["temperature"]
    monkeypatch.setattr(restore, "read_meta", lambda step: meta)
    detector = Detector.load(copied)
    assert detector.thresholds("metal nut") == (0.5, 0.5)
    # Nor had its calibration a scale then.
    assert "scale" not in (copied / "calibration.json").read_text()
    assert detector.scale("metal nut", Thresholds(0.5, 0.3)) == (0.3, 0.6)


def test_damaged_and_absent_files_are_named(copied, tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        Detector.load(copied, calibration=tmp_path / "absent.json")
    file = copied / "calibration.json"
    for content in ("{", "[]", '{"v": 2}', '{"v": 1, "calibrations": [{"a": 1}]}'):
        file.write_text(content)
        with pytest.raises(InputError, match=r"calibration\.json .*make it anew"):
            Detector.load(copied)
    assert Detector.load(copied, calibration="never").calibrated == ()


def test_beside_a_checkpoint_that_cannot_be_written_to(
    quick, copied, normals, tmp_path, monkeypatch, capsys
):
    from kanoclip_jax.engine.prediction import calibration

    write = calibration.write_atomically

    def refuse(path: Path, data: bytes) -> None:
        if path.parent == copied:
            raise PermissionError(13, os.strerror(13))
        write(path, data)

    monkeypatch.setattr(calibration, "write_atomically", refuse)
    calibrate(quick, normals[0].parent, tmp_path / "out", checkpoint=str(copied))
    assert "Permission denied), so the calibration lies in" in capsys.readouterr().out
    config = quick(
        checkpoint=str(copied),
        predict__input=str(normals[0]),
        predict__class_name="metal nut",
    )
    assert engine.run("predict", config, tmp_path / "out") == 0
    assert lines_of(tmp_path / "out")["00.png"]["label"] in ("normal", "anomalous")
