"""Pictures that are not of 8 bits score as those that they were made from."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from data_pipelines.errors import DataError
from data_pipelines.pictures import Reading
from data_pipelines.pipeline import eval_stream, predict_stream, train_stream
from data_pipelines.sources import open_source
from kanoclip_jax import Detector, engine
from kanoclip_jax.engine.build import open_dataset
from kanoclip_jax.engine.prediction import predict
from kanoclip_jax.engine.prediction.identity import misfits
from kanoclip_jax.engine.settings import resolve
from kanoclip_jax.errors import InputError

# How each kind is written, and the setting that says what it means.
KINDS = {
    "12bit": ("12bit", lambda g: np.round(g * 4095).astype(np.uint16)),
    "float": ("0,1", lambda g: g.astype(np.float32)),
    "units": ("-1000,1000", lambda g: np.round(g * 2000 - 1000).astype(np.int16)),
}


@pytest.fixture(scope="module")
def shades() -> list[np.ndarray]:
    """Pictures in 0..1 with a bright disc each."""
    y, x = np.mgrid[:60, :60]
    discs = [(y - 20) ** 2 + (x - 15 - 8 * i) ** 2 < 60 for i in range(3)]
    return [np.where(disc, 0.98, 0.3 + 0.3 * np.sin(x / 9) ** 2) for disc in discs]


@pytest.fixture(scope="module")
def folders(shades, tmp_path_factory) -> dict[str, Path]:
    """The same pictures in 8 bits and in each kind, as good/ and bad/."""
    root = tmp_path_factory.mktemp("kinds")
    for i, shade in enumerate(shades):
        name = f"{'bad' if i else 'good'}/{i}"
        for kind in ("8bit", *KINDS):
            (root / kind / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.round(shade * 255).astype(np.uint8)).save(
            root / "8bit" / f"{name}.png"
        )
        for kind, (_, write) in KINDS.items():
            tifffile.imwrite(root / kind / f"{name}.tif", write(shade))
    return {kind: root / kind for kind in ("8bit", *KINDS)}


@pytest.fixture(scope="module")
def detector(quick, quick_checkpoint) -> Detector:
    """One model for all tests: a range changes what it is given, not what it is."""
    config = quick(checkpoint=str(quick_checkpoint))
    return Detector.from_config(config, silent=True)


@pytest.fixture
def run(quick, detector, monkeypatch):
    """Predicts a folder under a range, without loading the model anew."""

    def predict_folder(folder: Path, value_range: str, workdir: Path) -> list[dict]:
        config = quick(data__value_range=value_range)
        config.predict.input, config.predict.highest = str(folder), 2
        config.predict.maps = False
        changed = copy.copy(detector)
        changed.reading = Reading(value_range)
        changed.identity = detector.identity | changed.reading.identity()
        monkeypatch.setattr(
            predict, "open_detector", lambda config, *_: (changed, config)
        )
        status = engine.run("predict", config, workdir)
        text = (workdir / "predictions.jsonl").read_text(encoding="utf-8")
        lines = [json.loads(line) for line in text.splitlines()]
        assert status == int(any("error" in line for line in lines))
        return sorted(lines, key=lambda line: line["path"])

    return predict_folder


@pytest.mark.parametrize("kind", KINDS)
def test_every_reader_gives_the_pixels_of_8_bits(folders, kind):
    reading = Reading(KINDS[kind][0])
    sizes = {"image_size": 24, "batch_size": 3, "workers": 0}

    def read(name: str) -> list[np.ndarray]:
        given = f"folder:{folders[name]}"
        source = open_source(given, root="", prepared="", reading=reading)
        files = sorted(folders[name].rglob("*.*"))
        streams = (
            eval_stream(source, **sizes),
            train_stream(source, **sizes, epochs=1, seed=0),
            predict_stream(files, **sizes, reading=reading),
        )
        batches = [next(stream) for stream in streams]
        for batch in batches:
            assert batch["is_real"].all() and not batch["warning"].any()
        return [batch["image"].astype(int) for batch in batches]

    for ours, expected in zip(read(kind), read("8bit"), strict=True):
        assert np.abs(ours - expected).max() <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_8_bits(run, detector, shades, folders, tmp_path, kind):
    value_range, write = KINDS[kind]
    scores = {}
    for name in ("8bit", kind):
        lines = run(folders[name], value_range, tmp_path / name)
        assert not any("warning" in line for line in lines)
        scores[name] = [line["score"] for line in lines]
    assert scores[kind] == pytest.approx(scores["8bit"], abs=0.002)
    changed = copy.copy(detector)
    changed.reading = Reading(value_range)
    # In the order of bad/1, bad/2 and good/0.
    arrays = changed.predict([write(shades[i]) for i in (1, 2, 0)])
    found = [one.score for one in arrays]
    assert found == pytest.approx(scores["8bit"], abs=0.002)
    with pytest.raises(InputError, match=r"another data\.value_range"):
        run(folders[kind], "auto", tmp_path / kind)


def test_without_the_setting_dark_ones_are_said_and_others_refused(
    run, quick, folders, tmp_path, capsys
):
    dark = run(folders["12bit"], "auto", tmp_path / "dark")
    assert all("nearly black" in line["warning"] for line in dark)
    assert "3 of 3 pictures of this run are nearly black" in capsys.readouterr().out
    table = (tmp_path / "dark" / "predictions.csv").read_text("utf-8")
    assert table.splitlines()[0].endswith(",warning") and "nearly black" in table
    refused = run(folders["float"], "auto", tmp_path / "float")
    assert all("--config.data.value_range" in line["error"] for line in refused)
    assert not any("skip_bad_files" in line["error"] for line in refused)
    config = resolve(quick())
    open_dataset(config, f"folder:{folders['12bit']}", ())
    said = capsys.readouterr().out
    assert "3 of 3 pictures of" in said and "looked at are nearly black" in said
    with pytest.raises(DataError, match=r"int16.*data\.value_range"):
        open_dataset(config, f"folder:{folders['units']}", ())
    with pytest.raises(DataError, match="data.value_range is 'twelve'"):
        resolve(quick(data__value_range="twelve"))


def test_what_was_made_before_the_setting_stays_usable(detector):
    now = detector.identity
    assert now["data.value_range"] == "auto"
    before = {key: value for key, value in now.items() if key != "data.value_range"}
    assert misfits(before, now) == []
    changed = now | {"data.value_range": "12bit"}
    assert misfits(before, changed) == misfits(now, changed) == ["data.value_range"]


def test_a_detector_says_it_once_and_keeps_it(detector, shades):
    dark = np.round(shades[0] * 4095).astype(np.uint16)
    aloud = copy.copy(detector)
    aloud.silent = False
    with pytest.warns(UserWarning, match="nearly black") as said:
        found = aloud.predict([dark, dark, np.zeros_like(dark)])
    assert len(said) == 1
    assert ["nearly black" in one.warning for one in found] == [True, True, False]


def test_a_checkpoint_is_loaded_with_the_range_of_the_pictures(quick_checkpoint):
    detector = Detector.load(quick_checkpoint, value_range=(0, 1), max_pixels=9)
    assert detector.identity["data.value_range"] == "0,1"
    assert detector.reading == Reading("0,1", max_pixels=9)
    with pytest.raises(DataError, match="allowed are auto"):
        Detector.load(quick_checkpoint, value_range="twelve")
