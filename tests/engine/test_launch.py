"""The command line: every bad input is one line on stderr and exit status 2."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import launch as launcher
from kanoclip_jax.errors import InputError

ROOT = Path(__file__).parents[2]


def launch(*flags: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, ROOT / "launch.py", *flags],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", **(env or {})},
        timeout=120,
        check=False,
    )
    return done.returncode, done.stderr.strip()


def refused(*flags: str) -> str:
    status, error = launch(*flags)
    assert status == 2, error
    assert error.startswith("error: ") and "\n" not in error, error
    return error


@pytest.fixture
def demo(tmp_path: Path) -> tuple[str, ...]:
    return (
        "--config=configs/demo.py",
        f"--workdir={tmp_path / 'run'}",
        f"--config.data.prepared={tmp_path / 'prepared'}",
    )


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), "--config is missing"),
        (("--config=configs/nothing.py",), "configs/nothing.py"),
        (("--config=configs/demo.py", "--frobnicate=1"), "frobnicate"),
        (("--config=configs/demo.py", "--mode=fly"), "predict"),
        (("--config=configs/demo.py", "--config.train.epoch=3"), "epochs"),
        (("--config=configs/demo.py", "--config.train.epochs=many"), "many"),
        (("--config=configs/demo.py", "surplus"), "'surplus' is not understood"),
        (("--config=configs/ablation.py:all",), "none, knpl, vv, cmci, adapter"),
    ],
)
def test_flags_that_cannot_be_meant(flags, words):
    assert words in refused(*flags)


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("train.epochs=0", "must be positive"),
        ("clip.dtype=float8", "auto, float32, bfloat16"),
        ("clip.image_size=161", "160 and 168"),
        ("clip.name=nobody/no-such-clip", "--config.clip.name=demo"),
        ("eval.datasets=textures_evil", "textures_eval"),
        ("eval.datasets=textures_train", "not zero-shot"),
        ("train.classes=weeve", "weeve"),
        ("train.dataset=mvtec", "--config.data.root"),
        ("method=kanoklip", "did you mean 'kanoclip'"),
        ("model.taps=six", "model.taps"),
        ("model.temperature=nan", "must be positive"),
        ("model.windows=2", "--config.model.windows is no setting"),
        ("model.sigm=2", 'Did you mean "sigma"'),
    ],
)
def test_settings_that_cannot_be_meant(demo, flag, words):
    assert words in refused(*demo, f"--config.{flag}")


def test_nothing_is_written_before_settings_are_good(demo, tmp_path):
    refused(*demo, "--config.eval.datasets=textures_evil")
    assert not (tmp_path / "run").exists()


def test_debug_shows_the_traceback(demo):
    status, error = launch(*demo, "--config.train.epochs=0", "--debug")
    assert status == 2
    assert "Traceback" in error


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (InputError("missing: pip install -e '.[export]'"), "-e '.[export]'"),
        (KeyError("'modle' is no setting"), "error: 'modle' is no setting"),
    ],
)
def test_quotes_at_the_end_of_a_message_stay(
    error: Exception, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert launcher._refuse(error, debug=False) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.endswith(f"{shown}\n")
