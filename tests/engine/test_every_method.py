"""Every method in every mode: trained, evaluated again, calibrated, predicted, exported."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny_dino

from kanoclip_jax import engine
from kanoclip_jax.configs import base, methods
from kanoclip_jax.engine.build import load_method
from kanoclip_jax.engine.checkpoint import Checkpoints
from kanoclip_jax.engine.prediction.detector import Detector
from kanoclip_jax.engine.restore import load_trained
from kanoclip_jax.engine.settings import resolve, to_dict
from kanoclip_jax.engine.step import TrainState
from kanoclip_jax.errors import InputError

# Of the tiny CLIP of the tests.
TAPS = {"april_gan", "median", "probe"}
NAMES = sorted(set(methods.ROWS))


def report_of(workdir: Path) -> dict:
    return json.loads((workdir / "report.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_mode(
    name, settings, data_root, even_directory, guide_directory, tmp_path, capsys
) -> None:
    row = base.get_config(name)
    config = settings(train__epochs=1)
    config.method, config.model = name, row.model
    if "taps" in config.model:
        config.model.taps = "1,2,3,4" if name == "april_gan" else "2,4"
    if "deep_prompt_depth" in config.model:
        config.model.deep_prompt_depth = 3
    if name.startswith("crane"):
        config.clip.name = str(even_directory)
        config.guide.name = str(guide_directory)
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
    config.export.formats = "onnx"

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


def test_a_checkpoint_names_its_guide(
    settings, even_directory, guide_directory, tmp_path
) -> None:
    """It is found again where it was, and no other takes its place."""
    config = settings(method="crane_plus")
    config.model = base.get_config("crane_plus").model
    config.clip.name, config.guide.name = str(even_directory), str(guide_directory)
    config = resolve(config)
    method = load_method(config)
    params = jax.jit(method.init)(jax.random.key(0), {})
    meta = {"config": to_dict(config), **method.backbone_identity(), "dataset": "mvtec"}
    checkpoints = Checkpoints(tmp_path / "run")
    checkpoints.save(TrainState(params, {"count": np.zeros(())}, np.int32(7)), meta)
    checkpoints.close()

    there = settings(checkpoint=str(tmp_path / "run"))
    trained = load_trained(resolve(there), None)
    assert trained.method.guide.name == str(guide_directory)
    assert trained.identity()["guide.fingerprint"] == method.guide.fingerprint
    there.guide.name = str(tiny_dino.write_directory(tmp_path / "moved"))
    by_hand = frozenset({"guide.name"})
    again = load_trained(resolve(there), None, by_hand)
    assert again.method.guide.name == there.guide.name
    assert again.identity() == trained.identity()
    other = tiny_dino.draw_weights(seed=4)
    other = tiny_dino.write_directory(tmp_path / "other", weights=other)
    there.guide.name = str(other)
    with pytest.raises(InputError, match=r"the GUIDE .*name the former.*guide\.name"):
        load_trained(resolve(there), None, by_hand)
    with pytest.raises(InputError, match=r"the GUIDE .*name the former.*guide\.name"):
        Detector.load(tmp_path / "run", guide=str(other))
