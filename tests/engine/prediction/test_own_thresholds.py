"""Thresholds that the command line gives: over the calibrated ones, and aloud."""

import json

import numpy as np
import pytest
from PIL import Image

from kanoclip_jax import engine
from kanoclip_jax.configs import base
from kanoclip_jax.engine.export.run import _thresholds
from kanoclip_jax.engine.prediction.calibration import Calibration
from kanoclip_jax.engine.prediction.own import Own, describe, read_own
from kanoclip_jax.errors import InputError
from kanoclip_jax.verdict import Thresholds

CALIBRATED = Thresholds(0.6, 0.4)


@pytest.mark.parametrize(
    ("own", "alone", "over"),
    [
        (Own(), None, (0.6, 0.4)),
        (Own(image=0.5), (0.5, 0.5), (0.5, 0.4)),
        (Own(pixel=0.3), (0.3, 0.3), (0.6, 0.3)),
        (Own(0.0, 1.0), (0.0, 1.0), (0.0, 1.0)),
    ],
)
def test_what_is_given_takes_the_calibrated_one_s_place(own, alone, over) -> None:
    assert own.over(None) == alone
    assert own.over(CALIBRATED) == over


def test_what_holds_is_said() -> None:
    said = describe(CALIBRATED, CALIBRATED, Own(), "cup")
    assert said == (
        "anomalous is a score above 0.600000; outlined are pixels above 0.400000 "
        "(calibrated for 'cup')"
    )
    own = Own(image=0.5)
    said = describe(own.over(CALIBRATED), CALIBRATED, own, "cup")
    assert said == (
        "anomalous is a score above 0.500000 (given; 0.600000 is calibrated for 'cup'); "
        "outlined are pixels above 0.400000 (calibrated for 'cup')"
    )
    said = describe(own.over(None), None, own, "cup")
    assert said.count("0.500000 (given)") == 2


@pytest.mark.parametrize("given", ["1.5", "-0.1", "nan", "half"])
def test_only_shares_are_thresholds(given: str) -> None:
    config = base.get_config()
    assert read_own(config) == Own()
    config.predict.pixel_threshold = given
    with pytest.raises(InputError, match="pixel_threshold is .* from 0 to 1"):
        read_own(config)


def test_an_export_takes_them_along() -> None:
    config = base.get_config()
    found = {"threshold": 0.6}, {"threshold": 0.4}
    calibrations = {"cup": Calibration("cup", {}, *found, {})}
    assert _thresholds(("cup", "nut"), calibrations, config) == {"cup": (0.6, 0.4)}
    config.predict.threshold = "0.5"
    own = _thresholds(("cup", "nut"), calibrations, config)
    assert own == {"cup": (0.5, 0.4), "nut": (0.5, 0.5)}


def test_predictions_are_labelled_by_them(settings, tmp_path, capsys) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 36, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "one.png")
    parts = ("knpl", "vv", "cmci", "adapter")
    config = settings(
        predict__input=str(tmp_path / "one.png"),
        predict__threshold="0",
        predict__pixel_threshold="1",
        predict__overlays=False,
        **{f"model__{part}": False for part in parts},
    )
    assert engine.run("predict", config, tmp_path / "out") == 0
    assert "a score above 0.000000 (given)" in capsys.readouterr().out
    line = json.loads((tmp_path / "out" / "predictions.jsonl").read_text())
    assert (line["label"], line["regions"]) == ("anomalous", [])
    assert line["thresholds"] == {"image": 0.0, "pixel": 1.0}
