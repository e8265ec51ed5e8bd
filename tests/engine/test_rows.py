"""Rows that the command line defines, and what of the command line a row overrules."""

import json

import pytest

from kanoclip_jax import engine
from kanoclip_jax.configs import base, industrial
from kanoclip_jax.engine.settings import resolve
from kanoclip_jax.engine.suite import _changed, _rows, _say_what_rows_overrule
from kanoclip_jax.errors import InputError


def of(rows: str):
    config = base.get_config()
    config.rows = rows
    resolved = resolve(config)
    return {
        name: _changed(resolved, name, changes, {"rows": ()})
        for name, changes in _rows(resolved).items()
    }


def test_a_row_changes_what_stands_behind_its_name() -> None:
    found = of(
        "adapter,soft:model.sigma=8;train.epochs=2;train.accumulate=4,"
        "small:method=winclip;model.windows=2;clip.activation=gelu"
    )
    assert list(found) == ["adapter", "soft", "small"]
    taps = of("none:model.taps=[1,2];train.adam_betas=[0.6, 0.999],knpl")
    assert list(taps) == ["none", "knpl"] and taps["none"].model.taps == (1, 2)
    assert taps["none"].train.adam_betas == (0.6, 0.999)
    assert found["adapter"].model.sigma == 4.0
    soft = found["soft"]
    assert (soft.model.sigma, soft.train.epochs, soft.train.accumulate) == (8.0, 2, "4")
    assert soft.method == "kanoclip" and soft.model.bica_width == 256
    assert found["small"].model.to_dict() == {"windows": (2,)}
    assert found["small"].clip.activation == "gelu"


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("x:train.epochs=two", "train.epochs is 'two'; a value of type int"),
        ("x:train.epochs=2.5", "a value of type int is expected"),
        ("x:train.learning_rate=fast", "type float is expected"),
        ("x:train.epoch=2", "train.epoch, which is no setting of a row"),
        ("x:train=2", "train, which is no setting of a row"),
        ("x:row=y", "row, which is no setting of a row"),
        ("x:seed=2", "seed, which is no setting of a row"),
        ("x:train.dataset=visa", "train.dataset, which is no setting of a row"),
        ("x:model.sigma", "is not understood"),
        ("v1.2:model.sigma=8", "needs a name of its own"),
        ("none,none:model.sigma=8", "needs a name of its own"),
        ("x:model.knpl=3", "a value of type bool"),
        ("x:method=clip;model.bica_width=8", "bica_width is unknown"),
        ("x:method=klip", "method 'klip' is unknown"),
    ],
)
def test_what_a_row_cannot_mean(rows: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        of(rows)


def test_a_row_brings_its_method_s_optimiser() -> None:
    found = of("crane,adapter")
    assert found["crane"].train.adam_betas == (0.6, 0.999)
    assert (found["crane"].train.epochs, found["crane"].train.full_epochs) == (5, 0)
    assert found["adapter"].train.adam_betas == (0.5, 0.999)
    assert resolve(base.get_config("crane_plus")).train.adam_betas == (0.6, 0.999)


def test_the_configured_method_s_row_is_the_settings_as_given() -> None:
    config = industrial.get_config("april_gan")
    config.train.epochs, config.model.temperature = 15, 0.07
    resolved = resolve(config)
    (changes,) = _rows(resolved).values()
    found = _changed(resolved, "april_gan", changes, {"rows": ()})
    assert (found.train.epochs, found.model.temperature) == (15, 0.07)


def test_what_rows_overrule_is_said(capsys) -> None:
    config = industrial.get_config("methods")
    config.train.epochs = 1
    _say_what_rows_overrule(resolve(config), frozenset({"train.epochs"}))
    said = capsys.readouterr().out.splitlines()
    rows = [line.split()[1] for line in said]
    learn = ["april_gan", "anomalyclip", "adaclip", "mvfa", "crane", "crane_plus"]
    assert rows == learn
    assert "--config.row_settings.anomalyclip.train.epochs=" in said[1]


def test_rows_that_learn_nothing_need_no_training_dataset(settings, tmp_path) -> None:
    config = settings(rows="clip,median", data__root=str(tmp_path / "nowhere"))
    config.row_settings.median.model.taps = "2,4"
    assert engine.run("train", config, tmp_path / "run") == 0
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert [row["title"] for row in report["rows"].values()] == ["CLIP", "patch median"]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("crane_plus", "row crane_plus: .*no DINOv2.*leave the row"),
        ("crane", "row crane: the image's feature, 48 wide, is no token"),
    ],
)
def test_what_a_row_cannot_run_with_is_said_before_the_first_runs(
    row, words, settings, tmp_path
) -> None:
    config = settings(rows=f"median,{row}", guide__name=str(tmp_path))
    with pytest.raises(InputError, match=words):
        engine.run("train", config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
