"""The command line: every bad input is one line on stderr and exit status 2."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from absl.testing import flagsaver

import launch as launcher
from kanoclip_jax.command.refusals import refuse
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
def refused_here(capfd, monkeypatch) -> Iterator[Callable[..., str]]:
    """As `refused` in this process, for what needs no process of its own."""
    handlers = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.chdir(ROOT)

    def refused(*arguments: str) -> str:
        with flagsaver.flagsaver():
            status = launcher.main(["launch.py", *arguments])
        error = capfd.readouterr().err.strip()
        assert status == 2, error
        assert error.startswith("error: ") and "\n" not in error, error
        return error

    yield refused
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the demo's pictures are drawn, once."""
    return tmp_path_factory.mktemp("prepared")


@pytest.fixture
def demo(tmp_path: Path, drawn: Path) -> tuple[str, ...]:
    return (
        "--config=configs/demo.py",
        f"--workdir={tmp_path / 'run'}",
        f"--config.data.prepared={drawn}",
    )


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--mode=train",), "--config is missing"),
        (("--config=configs/nothing.py",), "configs/nothing.py"),
        (("--config=configs/demo.py", "--frobnicate=1"), "frobnicate"),
        (("--config=configs/demo.py", "--mode=fly"), "predict"),
        (("--config=configs/demo.py", "--config.train.epoch=3"), "epochs"),
        (("--config=configs/demo.py", "--config.train.epochs=many"), "many"),
        (("--config=configs/demo.py", "surplus"), "'surplus' is no mode"),
        (("--config=configs/ablation.py:all",), "none, knpl, vv, cmci, adapter"),
    ],
)
def test_flags_that_cannot_be_meant(refused_here, flags, words):
    assert words in refused_here(*flags)


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("train.epochs=0", "must be positive"),
        ("clip.dtype=float8", "auto, float32, bfloat16"),
        ("clip.image_size=161", "160 and 168"),
        ("eval.datasets=textures_evil", "textures_eval"),
        ("eval.datasets=textures_train", "not zero-shot"),
        ("train.classes=weeve", "weeve"),
        ("train.dataset=mvtec", "--config.data.root"),
        ("method=kanoklip", "did you mean 'kanoclip'"),
        ("model.taps=six", "model.taps"),
        ("model.temperature=nan", "must be positive"),
        ("model.windows=2", "--config.model.windows is no setting"),
        ("model.sigm=2", "Did you mean --config.model.sigma?"),
        ("predict.threshold=1.5", "a number from 0 to 1"),
        ("train.adam_betas=0.5", "a pair of numbers from 0 to below 1"),
        ("train.learning_rate=nan", "must not be negative"),
        ("predict.pixel_threshold=high", "a number from 0 to 1"),
    ],
)
def test_settings_that_cannot_be_meant(refused_here, demo, flag, words):
    assert words in refused_here(*demo, f"--config.{flag}")


def test_a_model_that_is_nowhere_is_named(demo):
    flag = "--config.clip.name=nobody/no-such-clip"
    assert "--config.clip.name=demo" in refused(*demo, flag)


def test_nothing_is_written_before_settings_are_good(refused_here, demo, tmp_path):
    refused_here(*demo, "--config.eval.datasets=textures_evil")
    assert not (tmp_path / "run").exists()


def test_debug_shows_the_traceback(demo):
    status, error = launch(*demo, "--config.train.epochs=0", "--debug")
    assert status == 2
    assert "Traceback" in error


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (InputError("missing: pip install -e '.[export]'"), "-e '.[export]'"),
        (InputError("'modle' is no setting"), "error: 'modle' is no setting"),
    ],
)
def test_quotes_at_the_end_of_a_message_stay(
    error: Exception, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refuse(error, debug=False) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.endswith(f"{shown}\n")
