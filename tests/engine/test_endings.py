"""How runs end: on signals, in forked children, and where another run is at work."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from data_pipelines.locks import hold
from kanoclip_jax import engine
from kanoclip_jax.engine import endings, forks, train
from kanoclip_jax.engine.build import load_method, open_dataset
from kanoclip_jax.engine.checkpoint import Checkpoints, find_steps
from kanoclip_jax.engine.settings import resolve
from kanoclip_jax.engine.workdir import Workdir
from kanoclip_jax.engine.writer import MetricWriter
from kanoclip_jax.errors import InputError

ROOT = Path(__file__).parents[2]


class SignalStack(ctypes.Structure):
    """Linux's `stack_t`."""

    _fields_ = (
        ("sp", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("size", ctypes.c_size_t),
    )


def forget_signal_stack():
    """Let handlers run on the ordinary stack.

    Where OpenVINO's models of earlier tests were not deleted last first, it leaves the
    stack of one that is gone, on which a handler ends the process.
    """
    if sys.platform == "linux":
        disabled = SignalStack(None, 2, 0)
        assert ctypes.CDLL(None).sigaltstack(ctypes.byref(disabled), None) == 0


@pytest.fixture
def signals():
    """Handlers as the command line has them, for one test."""
    forget_signal_stack()
    former = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    endings.install()
    yield
    endings._asked = 0
    for number, handler in former.items():
        signal.signal(number, handler)


def say(number: int) -> None:
    os.kill(os.getpid(), number)
    # The handler runs before the next line of Python.
    time.sleep(0.01)


@pytest.mark.parametrize(
    ("number", "status", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_a_signal_has_its_status_and_says_how_to_go_on(signals, number, status, word):
    with pytest.raises(KeyboardInterrupt) as caught:
        say(number)
    for mode, again in (("train", "continues"), ("export", "begins again")):
        assert endings.describe(caught.value, mode) == (
            status,
            f"{word}; the same command {again}",
        )
    assert endings.describe(KeyboardInterrupt(), "watch")[0] == 130
    # From now on the kernel ends the process.
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_signal_waits_where_it_would_cost_something(signals):
    after = []
    with pytest.raises(endings.Interrupted), endings.patiently():
        say(signal.SIGTERM)
        after.append(endings.asked())
    assert after == [signal.SIGTERM]


def test_a_job_in_the_background_ignores_what_it_ignored():
    former = signal.signal(signal.SIGINT, signal.SIG_IGN)
    terminated = signal.getsignal(signal.SIGTERM)
    try:
        endings.install()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, former)
        signal.signal(signal.SIGTERM, terminated)


@pytest.mark.parametrize(("number", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_is_not_lost_in_a_callback_of_an_import(number, status):
    """Raised there, it would be printed and forgotten."""
    script = f"""
import os, signal, weakref
from kanoclip_jax.engine import endings
endings.install()
with endings.starting("predict"):
    thing = type("Thing", (), {{}})()
    heard = weakref.ref(thing, lambda _: os.kill(os.getpid(), signal.{number}))
    del thing
    print("went on")
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (status, "")
    word = {130: "interrupted", 143: "terminated"}[status]
    assert done.stderr == f"{word}; the same command continues\n"


def test_leaving_does_not_wait_for_threads_that_hang():
    script = (
        "import threading; from kanoclip_jax.engine import endings; "
        "threading.Thread(target=threading.Event().wait).start(); "
        "print('said'); endings.leave(2, orderly=False, alone=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, b"said\n")


def test_a_terminated_training_saves_its_step_and_goes_on(
    quick, tmp_path, monkeypatch, signals, capsys
):
    config = quick(train__checkpoint_every=100)
    original = MetricWriter.write

    def write(self, step, values):
        original(self, step, values)
        if step == 5:
            say(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(MetricWriter, "write", write)
        with pytest.raises(endings.Interrupted) as caught:
            engine.run("train", config, tmp_path / "ended")
    assert caught.value.status == 143
    assert "step 5 of 11 is saved" in capsys.readouterr().out
    assert find_steps(tmp_path / "ended" / "checkpoints")[0].name == "5"
    endings.install()
    run = train.Run(
        *(config := resolve(config), Workdir(tmp_path / "ended")),
        *(load_method(config), open_dataset(config, "mvtec", ())),
    )
    assert int(run.train().step) == 11
    assert "continuing from step 5 of 11" in capsys.readouterr().out
    lines = (tmp_path / "ended" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, 12))


@pytest.mark.parametrize("when", ["at once", "later"])
def test_a_checkpoint_that_cannot_be_saved_ends_the_run(
    quick, tmp_path, monkeypatch, when
):
    """In whatever thread it failed; Orbax says so at some later call."""

    def fail(self, *_):
        raise ValueError("RESOURCE_EXHAUSTED: No space left on device")

    name = "save" if when == "at once" else "check"
    monkeypatch.setattr(Checkpoints, name, fail)
    with pytest.raises(InputError, match=r"could not be saved \(No space left on dev"):
        engine.run("train", quick(), tmp_path)


@pytest.mark.parametrize(
    "mode", ["train", "eval", "predict", "watch", "knowledge", "export", "save"]
)
def test_a_folder_that_is_written_to_is_left_alone(quick, tmp_path, mode):
    config = quick(predict__input=str(tmp_path), knowledge__provider="bundled")
    with hold(tmp_path / "run", "train", remedy=""):
        before = sorted((tmp_path / "run").iterdir())
        with pytest.raises(InputError, match="is held by --mode=train .*--workdir"):
            engine.run(mode, config, tmp_path / "run")
        assert sorted((tmp_path / "run").iterdir()) == before


def test_a_child_that_was_forked_after_loading_is_refused(
    monkeypatch, quick_checkpoint
):
    """It would wait for threads that only its parent has."""
    from kanoclip_jax import Detector

    detector = Detector.load(quick_checkpoint)
    read, write = os.pipe()
    with pytest.warns(RuntimeWarning, match="fork"):
        child = os.fork()
    if not child:
        said = b"nothing"
        try:
            for use in (
                lambda: detector.predict(np.zeros((8, 8), np.uint8)),
                lambda: Detector.load(quick_checkpoint),
            ):
                try:
                    use()
                except InputError as error:
                    said = str(error).encode()
                else:
                    said = b"it ran"
                    break
        finally:
            os.write(write, said)
            os._exit(0)
    os.waitpid(child, 0)
    said = os.read(read, 1000).decode()
    assert said.startswith(f"process {child} was forked from {os.getpid()}")
    assert "get_context('spawn')" in said
    forks.refuse()
