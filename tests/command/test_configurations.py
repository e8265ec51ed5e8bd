"""Configurations by name and file, settings of the command line, and whose they are."""

from pathlib import Path

import pytest
from ml_collections import ConfigDict

from kanoclip_jax.command import configurations
from kanoclip_jax.command.arguments import Flag
from kanoclip_jax.command.overrides import override
from kanoclip_jax.configs import base, demo
from kanoclip_jax.errors import InputError

MINE = """
from kanoclip_jax.configs import mvtec

def get_config(row=""):
    config = mvtec.get_config(row)
    config.seed = 7
    return config
"""


@pytest.mark.parametrize("given", ["demo:none", "configs/demo.py:none", "demo.py:none"])
def test_packaged_ones_have_names(given, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert configurations.load(given).to_dict() == demo.get_config("none").to_dict()


def test_a_file_that_is_there_comes_first(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "mvtec.py").write_text(MINE)
    (tmp_path / "demo").mkdir()
    found = configurations.load("configs/mvtec.py:median")
    assert (found.seed, found.method) == (7, "median")
    assert configurations.load("demo").clip.name == "demo"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("mvtek", "Did you mean mvtec?"),
        ("elsewhere/mvtec.py", "neither a .py file nor a configuration's name"),
        ("methods", "neither a .py file nor a configuration's name"),
        ("mvtec:foo", "row 'foo' is unknown; allowed: none, knpl"),
        ("mvtec:medain", "Did you mean median?"),
        ("broken.py", "ZeroDivisionError"),
        ("empty.py", "get_config"),
        ("wrong.py", "returns a dict; a ConfigDict is expected"),
    ],
)
def test_what_is_none_is_named_in_a_line(given, words, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken.py").write_text("1 / 0")
    Path("empty.py").write_text("")
    Path("wrong.py").write_text("def get_config(): return {}")
    with pytest.raises(InputError) as refused:
        configurations.load(given)
    said = str(refused.value)
    assert words in said and "\n" not in said and "Traceback" not in said


def flags(*given: str) -> list[Flag]:
    return [Flag(*f"config.{text}".split("=", 1)) for text in given]


def test_settings_are_set_by_their_type() -> None:
    config = base.get_config()
    given = flags("train.epochs=3", "predict.maps=false", "train.adam_betas=(0.1,0.2)")
    found = override(config, [*given, Flag("noconfig.predict.overlays")])
    assert (config.train.epochs, config.predict.maps) == (3, False)
    assert (config.train.adam_betas, config.predict.overlays) == ((0.1, 0.2), False)
    assert {"train.epochs", "predict.maps", "predict.overlays"} <= found


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("train.epoch=3", "Did you mean --config.train.epochs?"),
        ("trian.epochs=3", "Did you mean --config.train.epochs?"),
        ("epochs=3", "Did you mean --config.train.epochs?"),
        ("nothing=3", "--config.nothing is no setting of this configuration. `kano"),
        ("eval.threshold=1", "predict.threshold and predict.pixel_threshold are"),
        (
            "train.epochs=many",
            "a whole number is expected, as in --config.train.epochs=4",
        ),
        ("train.epochs", "lacks its value"),
        ("seed[0]=3", "'int'> does not support integer indexing"),
        ("predict.class_name", "lacks its value: a value is expected, as in"),
        ("predict.maps=maybe", "true or false is expected"),
        ("predict=a", "predict is a section; set one of batch_size"),
    ],
)
def test_settings_that_are_none_are_named_in_a_line(given: str, words: str) -> None:
    with pytest.raises(InputError) as refused:
        override(base.get_config(), flags(given))
    assert words in str(refused.value) and "\n" not in str(refused.value)


def test_an_empty_default_is_no_example() -> None:
    with pytest.raises(
        InputError, match="threshold lacks its value: a value is exp.*d$"
    ):
        override(base.get_config(), flags("predict.threshold"))


def test_a_checkpoint_brings_what_it_recorded(monkeypatch) -> None:
    """But for what belongs to the machine, or to another command."""
    saved = base.get_config("probe")
    saved.update({"seed": 5, "seeds": 3, "rows": "probe"})
    saved.data.update({"value_range": "12bit", "prepared": "/gone", "workers": 9})
    saved.predict.update({"class_name": "screw", "tiles": "auto"})
    saved.knowledge.update({"weighting": "balanced", "provider": "openai"})
    saved.knowledge.base_url = "https://example.org/v1"
    saved.eval.classes = "screw"
    saved = saved.to_dict()
    # As JSON has them, and without what is younger than the checkpoint.
    saved["eval"]["datasets"], saved["model"]["taps"] = ["visa", "mpdd"], [6, 12]
    del saved["data"]["orientation"], saved["guide"]
    monkeypatch.setattr(
        "kanoclip_jax.engine.restore.saved_settings", lambda _: ConfigDict(saved)
    )
    found = configurations.recorded("anywhere")
    plain = base.get_config("probe").to_dict()
    plain["seed"], plain["data"]["value_range"] = 5, "12bit"
    plain["predict"]["tiles"] = "auto"
    plain["eval"]["datasets"], plain["model"]["taps"] = "visa,mpdd", "6,12"
    plain["eval"]["classes"], plain["knowledge"]["weighting"] = "screw", "balanced"
    assert found.to_dict() == plain
    # Of other datasets all classes are evaluated.
    plain["eval"]["classes"] = ""
    found = configurations.recorded("anywhere", {"eval.datasets"})
    assert found.to_dict() == plain
