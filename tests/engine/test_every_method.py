"""Every method in every mode: trained, evaluated again, calibrated, predicted, exported."""

import json
from pathlib import Path

import pytest

from configs import base, methods
from kanoclip_jax import engine

# Of the tiny CLIP of the tests.
TAPS = {"april_gan", "median", "probe"}
NAMES = sorted(set(methods.ROWS))


def report_of(workdir: Path) -> dict:
    return json.loads((workdir / "report.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_mode(name, settings, data_root, tmp_path, capsys) -> None:
    row = base.get_config(name)
    config = settings(train__epochs=1)
    config.method, config.model = name, row.model
    if "taps" in config.model:
        config.model.taps = "1,2,3,4" if name == "april_gan" else "2,4"
    if name == "anomalyclip":
        config.model.deep_prompt_depth = 3
    config.clip.activation = row.clip.activation
    config.clip.position_grid = row.clip.position_grid
    config.clip.input_range = row.clip.input_range
    if name == "mvfa":
        config.clip.image_size = 36  # As published, no multiple of the patch.
    cup = data_root / "mine" / "cup" / "test"
    config.calibrate.input = str(cup / "good")
    config.calibrate.target_rate = 0.2
    config.predict.input = str(cup)
    config.predict.class_name = config.export.class_names = "cup"
    config.export.formats = "onnx,stablehlo"

    assert engine.run("train", config, tmp_path / "run") == 0
    report = report_of(tmp_path / "run")
    assert report["method"] == name
    learns = report["checkpoint"] is not None
    assert learns == (report["parameters"] > 0)

    # Where there is a checkpoint it says the rest, to a command of another method.
    other = config
    if learns:
        other = settings(checkpoint=report["checkpoint"])
        for section in ("calibrate", "predict", "export"):
            other[section] = config[section]
    assert engine.run("eval", other, tmp_path / "eval") == 0
    assert report_of(tmp_path / "eval")["datasets"] == report["datasets"]

    workdir = tmp_path / "use"
    assert engine.run("calibrate", other, workdir) == 0
    assert engine.run("predict", other, workdir) == 0
    lines = (workdir / "predictions.csv").read_text().splitlines()
    assert len(lines) == 12
    assert {line.split(",")[3] for line in lines[1:]} <= {"normal", "anomalous"}

    # What does not say what JAX says is not kept, and the status is then another.
    assert engine.run("export", other, workdir) == 0
    manifest = json.loads((workdir / "export" / "manifest.json").read_text())
    assert (workdir / "export" / "model.onnx").is_file()
    assert manifest["identity"]["method"] == name
