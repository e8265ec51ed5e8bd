"""What the command says of itself, and how little it imports for that."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from absl.testing import flagsaver

import kanoclip_jax
from kanoclip_jax import engine
from kanoclip_jax.command import main, manual
from kanoclip_jax.command.described import settings
from kanoclip_jax.command.options import MODES, OPTIONS
from kanoclip_jax.command.overrides import keys
from kanoclip_jax.configs import base

ROOT = Path(__file__).parents[2]


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["kanoclip", *arguments]) == 0
    return capsys.readouterr().out


def test_without_arguments_ten_lines_say_what_to_type_first(capsys) -> None:
    words = said(capsys)
    assert len(words.splitlines()) <= 10
    assert "kanoclip predict PHOTOS --method=median" in words
    assert manual.called("/x/launch.py") == "python launch.py"
    assert manual.called("/x/kanoclip_jax/__main__.py") == "python -m kanoclip_jax"


def test_help_shows_the_real_defaults(capsys) -> None:
    words = said(capsys, "--help")
    assert words == said(capsys, "-h")
    config = base.get_config()
    for option in OPTIONS:
        value = config
        for part in option.key.split("."):
            value = value[part]
        shown = f"--{option.word}={value}" if value != "" else f"--{option.word} "
        assert re.search(
            rf"^  {re.escape(shown)}(.*\n){{0,3}}?.*\({re.escape(option.key)}[;)]",
            words,
            re.MULTILINE,
        )
    assert max(map(len, words.splitlines())) <= 88


def test_help_of_a_mode_is_its_own(capsys) -> None:
    words = said(capsys, "predict", "--help")
    assert words == said(capsys, "--mode=predict", "--help")
    assert words == said(capsys, "help", "predict")
    assert "--threshold" in words and "--rate" not in words


def test_every_setting_is_in_the_full_help_in_order(capsys) -> None:
    words = said(capsys, "--helpfull")
    found = re.findall(r"^  --config\.([\w.]+)=", words, re.MULTILINE)
    assert sorted(found) == sorted(keys(base.get_config()))
    assert found[:2] == ["method", "row"]
    meanings = {setting.key: setting.meaning for setting in settings()}
    assert meanings["model.sigma"] == "of the maps' Gaussian, in pixels"
    assert meanings["predict.highest"].endswith("0 is none")
    assert meanings["guide."].startswith("The second backbone")


def test_modes_are_the_engine_s() -> None:
    assert set(MODES) == set(engine.MODES)


def test_version_and_help_wait_for_no_jax() -> None:
    code = (
        "import sys; from kanoclip_jax.command import main;"
        "status = main(['kanoclip', '--version']) + main(['kanoclip', '--help']);"
        "print(sorted({'jax', 'numpy', 'transformers'} & set(sys.modules)));"
        "sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    first, *_, last = done.stdout.splitlines()
    assert first.startswith(f"kanoclip-jax {kanoclip_jax.__version__} (jax ")
    assert last == "[]"


def test_an_interrupt_before_the_engine_is_one_line(capsys, monkeypatch) -> None:
    def load(given: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kanoclip_jax.command.configurations.load", load)
    with flagsaver.flagsaver():
        assert main(["kanoclip", "--config=demo", "--mode=export"]) == 130
    said = capsys.readouterr().err
    assert said == "interrupted; the same command begins again\n"
