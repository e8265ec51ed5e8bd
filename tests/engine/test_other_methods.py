"""Methods beside KAnoCLIP: rows, commands and checkpoints that change the method."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from kanoclip_jax import engine
from kanoclip_jax.configs import base, demo, methods, mvtec
from kanoclip_jax.engine import train
from kanoclip_jax.engine.prediction.detector import Detector
from kanoclip_jax.engine.settings import adopt, resolve, to_dict
from kanoclip_jax.errors import InputError
from kanoclip_jax.models import METHODS

BY_HAND = frozenset({"method"})


def report_of(workdir: Path) -> dict:
    return json.loads((workdir / "report.json").read_text())


@pytest.mark.parametrize(
    ("name", "section"), [("median", methods.MEDIAN), ("probe", methods.PROBE)]
)
def test_sections_hold_the_defaults_of_their_methods(name, section) -> None:
    fields = {f.name: f.default for f in dataclasses.fields(METHODS[name])}
    del fields["clip"]
    assert {k: v if v != "" else () for k, v in section.items()} == fields


def test_a_named_row_is_a_configuration() -> None:
    config = resolve(demo.get_config("median"))
    assert (config.method, set(config.model)) == ("median", {"taps", "sigma"})
    probe = resolve(demo.get_config("probe"))
    assert (probe.method, probe.train.epochs, probe.train.learning_rate) == (
        "probe",
        2,
        1e-3,
    )
    assert probe.train.dataset == "textures_train" and probe.model.taps == ()
    assert resolve(mvtec.get_config("median")).method == "median"
    table = demo.get_config("table")
    assert (table.rows, table.seeds, table.method) == (
        "median,none,adapter",
        3,
        "kanoclip",
    )
    with pytest.raises(ValueError, match="row 'media' is unknown.*median"):
        demo.get_config("media")


def test_a_method_named_by_hand_brings_its_row_but_for_what_was_set_by_hand() -> None:
    config = demo.get_config()
    config.method = "median"
    config.model.sigma = 8.0
    resolved = resolve(config, BY_HAND | {"model.sigma"})
    assert resolved.model.to_dict() == {"sigma": 8.0, "taps": ()}
    config.model.taps = "2,4"
    own = resolve(config, BY_HAND | {"model.taps"}).model.to_dict()
    assert own == {"sigma": 4.0, "taps": (2, 4)}
    # What belongs to no median is an error, as every key that cannot be meant.
    with pytest.raises(InputError, match=r"model\.knpl is unknown.*sigma, taps"):
        resolve(config, BY_HAND | {"model.knpl"})
    # The configured method named again changes nothing.
    again = demo.get_config()
    assert resolve(again, BY_HAND).model.bica_width == 64
    config.method = "medina"
    with pytest.raises(InputError, match="method 'medina' is unknown.*'median'"):
        resolve(config, BY_HAND)


def test_a_method_named_by_hand_is_what_its_row_is() -> None:
    by_row = to_dict(resolve(mvtec.get_config("april_gan"))) | {"row": ""}
    config = mvtec.get_config("clip")
    config.method = "april_gan"
    assert to_dict(resolve(config, BY_HAND)) | {"row": ""} == by_row
    config.train.epochs = 15
    assert resolve(config, BY_HAND | {"train.epochs"}).train.epochs == 15
    # Back again, and the full method by name.
    config.method = "kanoclip"
    assert "bica_width" not in resolve(config, BY_HAND).model
    by_name = to_dict(resolve(mvtec.get_config("kanoclip"))) | {"row": ""}
    assert by_name == to_dict(resolve(mvtec.get_config()))


def test_a_checkpoint_of_another_method_brings_its_settings() -> None:
    here, there = resolve(base.get_config()), demo.get_config("probe")
    there.model.sigma = 2.0
    saved = to_dict(resolve(there))
    merged = adopt(here, saved, frozenset())
    assert merged.method == "probe"
    assert merged.model.to_dict() == {**methods.PROBE, "sigma": 2.0, "taps": ()}
    merged = adopt(here, saved, frozenset({"model.sigma"}))
    assert merged.model.sigma == here.model.sigma and "knpl" not in merged.model
    # A method named by hand keeps its own.
    assert adopt(here, saved, BY_HAND).model == here.model


def test_the_median_needs_no_training_dataset(settings, tmp_path, capsys) -> None:
    config = settings(method="median", train__dataset="visa")
    assert engine.run("train", config, tmp_path / "run", BY_HAND) == 0
    assert "nothing to train" in capsys.readouterr().out
    report = report_of(tmp_path / "run")
    (result,) = report["datasets"].values()
    assert report["method"] == "median" and report["checkpoint"] is None
    assert 0 <= result["mean"]["pixel_aupro"] <= 1
    assert not (tmp_path / "run" / "checkpoints").exists()
    # Nothing was trained on, so nothing is refused, and `eval` says the same.
    target = config.eval.datasets
    config.train.dataset = target
    config.model.taps = ""
    assert engine.run("eval", config, tmp_path / "eval", BY_HAND) == 0
    again = report_of(tmp_path / "eval")["datasets"]
    assert again == report["datasets"]
    # Again: the report.
    assert engine.run("train", config, tmp_path / "own", BY_HAND) == 0
    assert engine.run("train", config, tmp_path / "own", BY_HAND) == 0
    assert f"{tmp_path / 'own'} has finished" in capsys.readouterr().out


def test_a_probe_trains_continues_and_predicts(
    settings, data_root, tmp_path, monkeypatch, capsys
) -> None:
    """No knowledge is gathered; the checkpoint alone says what it is of."""

    def refuse(*_: object) -> None:
        raise AssertionError("knowledge was gathered, or it was trained again")

    monkeypatch.setattr(train, "training_knowledge", refuse)
    config = settings(method="probe", train__epochs=1, train__learning_rate=1e-2)
    assert engine.run("train", config, tmp_path / "run", BY_HAND) == 0
    assert "training 1,120 parameters" in capsys.readouterr().out
    first = report_of(tmp_path / "run")
    monkeypatch.setattr(train.Run, "_train", refuse)
    assert engine.run("train", config, tmp_path / "run", BY_HAND) == 0
    plain = settings(checkpoint=first["checkpoint"])
    assert engine.run("eval", plain, tmp_path / "eval") == 0
    assert "method=probe" in capsys.readouterr().out
    again = report_of(tmp_path / "eval")
    assert (again["method"], again["datasets"]) == ("probe", first["datasets"])
    picture = next((data_root / "mine" / "cup").rglob("*.png"))
    (found,) = Detector.load(first["checkpoint"]).predict([picture], class_name="cup")
    assert 0 <= found.score <= 1 and np.ptp(found.anomaly_map) > 0
    plain.model.context_length = 5
    with pytest.raises(InputError, match=r"context_length is unknown"):
        engine.run("eval", plain, tmp_path / "odd", frozenset({"model.context_length"}))
    inspect = settings(checkpoint=first["checkpoint"], knowledge__action="inspect")
    with pytest.raises(InputError, match="method 'probe' learns from no knowledge"):
        engine.run("knowledge", inspect, tmp_path / "knowledge")


def test_rows_of_several_methods_are_one_table(settings, tmp_path, capsys) -> None:
    config = settings(rows="median,probe,none", seeds=2, train__epochs=1)
    config.row_settings.probe.train.epochs = 1
    config.row_settings.median.model.taps = "2,4"
    assert engine.run("train", config, tmp_path) == 0
    report = report_of(tmp_path)
    assert list(report["rows"]) == ["median", "probe", "none"]
    assert report["method"] == "kanoclip"
    own = {
        row: json.loads((tmp_path / row / "111" / "config.json").read_text())
        for row in report["rows"]
    }
    assert own["median"]["model"] == {"taps": [2, 4], "sigma": 4.0}
    assert own["probe"]["train"]["learning_rate"] == 1e-3
    assert own["none"]["method"] == "kanoclip" and own["none"]["model"]["sigma"] == 4.0
    # What learns nothing runs once, and says so.
    once = "nothing is trained for median, none: one run serves all seeds there\n"
    said = capsys.readouterr().out
    assert once in said and "112: run 3 of 4" in said
    runs = {row: list(content["runs"]) for row, content in report["rows"].items()}
    assert runs == {"median": ["111"], "probe": ["111", "112"], "none": ["111"]}
    page = re.sub(" +", " ", (tmp_path / "report.md").read_text())
    assert page.startswith("# untrained KAnoCLIP\n")
    assert "- trained on: `mvtec`, 1 epoch\n- seeds: 111, 112\n" in page
    assert "patch median, untrained KAnoCLIP: none: nothing is trained, so one" in page
    lines = {line.split(" |")[0]: line for line in page.splitlines()}
    assert "±" in lines["| linear probe"] and "±" not in lines["| patch median"]
    # Class by class there is a column for each row, and on the page a table.
    assert "| image / pixel AUROC | patch median | linear probe |" in page
    page = (tmp_path / "report.html").read_text()
    assert page.count("<details>") == 2
    assert "<summary>linear probe, class by class</summary>" in page


def test_a_row_of_another_method_has_no_other_keys(settings, tmp_path) -> None:
    config = settings(rows="odd")
    config.row_settings.odd = ConfigDict(
        {"method": "median", "model": {"bica_width": 8}}
    )
    with pytest.raises(InputError, match=r"model\.bica_width is unknown"):
        engine.run("train", config, tmp_path)


def test_seeds_of_one_method_keep_what_was_set(settings, tmp_path) -> None:
    """The row of a run without rows is the settings as given.

    A method that learns nothing runs once for all of them.
    """
    config = settings(method="median", seeds=2)
    config.model.sigma = 1.0
    assert engine.run("train", config, tmp_path, BY_HAND | {"model.sigma"}) == 0
    assert [path.name for path in (tmp_path / "median").iterdir()] == ["111"]
    run = tmp_path / "median" / "111" / "config.json"
    assert json.loads(run.read_text())["model"] == {"sigma": 1.0, "taps": []}
