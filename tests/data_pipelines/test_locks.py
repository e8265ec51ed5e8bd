"""One writer a folder: who holds it is said, and a killed one holds nothing."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import filelock
import pytest

from data_pipelines.errors import DataError
from data_pipelines.locks import Holder, hold, holder_of

ROOT = Path(__file__).parents[2]
REMEDY = "pass another folder"
HOLDING = """
import sys
from pathlib import Path
from data_pipelines.locks import hold
with hold(Path(sys.argv[1]), "train", remedy=""):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path: Path) -> subprocess.Popen:
    """Another process that holds the folder."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDING, tmp_path],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_one_is_told_who_holds_it_until_it_is_killed(tmp_path, other):
    with pytest.raises(DataError) as caught, hold(tmp_path, "predict", remedy=REMEDY):
        pass
    assert re.fullmatch(
        rf"{tmp_path} is held by --mode=train \(process {other.pid} on \S+, since "
        rf"\d{{4}}-\d\d-\d\dT[\d:]{{8}}\S*\); wait until it has ended, or "
        rf"{REMEDY}",
        str(caught.value),
    )
    assert holder_of(tmp_path).pid == other.pid
    other.send_signal(signal.SIGKILL)
    other.wait()
    # What the killed one said of itself is still there, and is not believed.
    assert json.loads((tmp_path / ".lock.json").read_text())["pid"] == other.pid
    assert holder_of(tmp_path) is None
    with hold(tmp_path, "predict", remedy=REMEDY):
        assert holder_of(tmp_path)[:2] == ("predict", os.getpid())
    assert not (tmp_path / ".lock.json").exists()


def test_a_second_one_may_wait_aloud(tmp_path, caplog):
    held, let_go, order = threading.Event(), threading.Event(), []

    def first() -> None:
        with hold(tmp_path, "prepare", remedy=REMEDY):
            held.set()
            let_go.wait(10)
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    held.wait(10)
    threading.Timer(0.2, let_go.set).start()
    with hold(tmp_path, "prepare", remedy=REMEDY, wait=True):
        order.append("second")
    thread.join()
    assert order == ["first", "second"]
    assert f"waiting for --mode=prepare (process {os.getpid()}" in caplog.text


def test_files_of_one_folder_may_have_locks_of_their_own(tmp_path):
    with (
        hold(tmp_path, "train", remedy=REMEDY),
        hold(tmp_path, "calibrate", remedy=REMEDY, name=".file.lock"),
    ):
        assert holder_of(tmp_path).mode == "train"
        assert holder_of(tmp_path, ".file.lock").mode == "calibrate"


def test_a_folder_that_nothing_was_written_to_goes(tmp_path):
    folder = tmp_path / "runs" / "demo"
    with pytest.raises(KeyError), hold(folder, "train", remedy=REMEDY):
        assert folder.is_dir()
        raise KeyError
    assert not folder.parent.exists()
    with hold(folder, "train", remedy=REMEDY):
        (folder / "config.json").touch()
    assert sorted(file.name for file in folder.iterdir()) == [".lock", "config.json"]
    # One that was there stays, whatever is in it.
    (tmp_path / "empty").mkdir()
    with hold(tmp_path / "empty", "train", remedy=REMEDY):
        pass
    assert (tmp_path / "empty").is_dir()


def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch, caplog):
    def fail(*_, **__):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(filelock.FileLock, "acquire", fail)
    with hold(tmp_path, "train", remedy=REMEDY):
        pass
    assert "file system without locks" in caplog.text


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(DataError, match=f"cannot be written to .*; {REMEDY}"),
        hold(tmp_path / "file" / "run", "train", remedy=REMEDY),
    ):
        pass


def test_a_holder_reads_as_a_sentence():
    assert str(Holder("train", 7, "lab", "2026-01-02T03:04:05+00:00")) == (
        "--mode=train (process 7 on lab, since 2026-01-02T03:04:05+00:00)"
    )
