"""Watching a folder: partial writes, renames, deletions, and how it ends."""

import io
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kanoclip_jax import engine
from kanoclip_jax.engine.prediction.predictions import stamp
from kanoclip_jax.engine.prediction.watch import Arrivals, _drain
from kanoclip_jax.errors import InputError

ROOT = Path(__file__).parents[3]
OFF = {f"model__{part}": False for part in ("knpl", "vv", "cmci", "adapter")}


def picture(seed: int = 0) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (60, 40, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    return buffer.getvalue()


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)


def lines_of(workdir: Path) -> list[dict]:
    file = workdir / "predictions.jsonl"
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    return [json.loads(line) for line in text.splitlines()]


def names_of(workdir: Path) -> list[str]:
    return [Path(line["path"]).name for line in lines_of(workdir)]


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "photos").mkdir()
    return tmp_path / "photos"


class Watched(threading.Thread):
    """`--mode=watch` in a thread; it ends at its limit."""

    def __init__(self, config: object, workdir: Path) -> None:
        super().__init__(daemon=True)
        self._config, self._workdir = config, workdir
        self.status: int | None = None

    def run(self) -> None:
        self.status = engine.run("watch", self._config, self._workdir)


def test_pictures_are_scored_as_they_land(settings, folder, tmp_path, capsys):
    config = settings(
        predict__input=str(folder),
        watch__settle=0.2,
        watch__patience=1.5,
        watch__limit=7,
        **OFF,
    )
    # Among the pictures, whose overlays must not be watched themselves.
    workdir = folder
    (folder / "before.png").write_bytes(picture(1))
    watched = Watched(config, workdir)
    watched.start()
    wait_until(lambda: len(lines_of(workdir)) == 1)

    # In pieces, with a pause that outlasts the time to settle.
    half = len(picture(2)) // 2
    with (folder / "slow.png").open("wb") as file:
        file.write(picture(2)[:half])
        file.flush()
        time.sleep(0.6)
        file.write(picture(2)[half:])
    wait_until(lambda: len(lines_of(workdir)) == 2)

    # Renamed into place, from what is no picture by name.
    (folder / "new.part").write_bytes(picture(3))
    (folder / "new.part").rename(folder / "new.png")
    wait_until(lambda: len(lines_of(workdir)) == 3)

    # Gone before it was whole.
    (folder / "gone.png").write_bytes(picture(4)[:99])
    time.sleep(0.3)
    (folder / "gone.png").unlink()

    # A folder that comes with what it holds.
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "inner.png").write_bytes(picture(5))
    (tmp_path / "more").rename(folder / "more")
    wait_until(lambda: len(lines_of(workdir)) == 4)

    # Written over.
    (folder / "before.png").write_bytes(picture(6))
    wait_until(lambda: len(lines_of(workdir)) == 5)

    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden.png").write_bytes(picture(7))
    (folder / "broken.png").write_bytes(b"no picture")
    wait_until(lambda: len(lines_of(workdir)) == 6)
    (folder / "last.png").write_bytes(picture(8))
    watched.join(60)
    assert watched.status == 1
    assert names_of(workdir) == [
        *("before.png", "slow.png", "new.png", "inner.png"),
        *("before.png", "broken.png", "last.png"),
    ]
    lines = lines_of(workdir)
    assert [("error" in line) for line in lines].index(True) == 5
    assert lines[0]["score"] != lines[4]["score"]
    out = capsys.readouterr().out
    assert f"{lines[1]['score']:.4f}  {folder / 'slow.png'}" in out
    assert f"failed: {folder / 'broken.png'} cannot be decoded" in out
    table = (workdir / "predictions.csv").read_text().splitlines()
    assert len(table) == 1 + 6

    # Started again, it does only what is new, and what failed.
    config.watch.limit = 2
    (folder / "later.png").write_bytes(picture(9))
    assert engine.run("watch", config, workdir) == 1
    assert sorted(names_of(workdir)[-2:]) == ["broken.png", "later.png"]
    assert len(names_of(workdir)) == len(set(names_of(workdir))) == 7


@pytest.fixture
def arrivals() -> Arrivals:
    return Arrivals(settle=1.0, patience=5.0, done={})


def ready(arrivals: Arrivals, now: float) -> list[tuple[str, bool]]:
    return [(path.name, last) for path, _, last in arrivals.ready(now)]


def test_a_file_is_read_once_it_has_settled(arrivals, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"some")
    arrivals.notice(path, 0.0)
    assert ready(arrivals, 0.9) == []
    assert ready(arrivals, 1.0) == [("a.png", False)]
    path.write_bytes(b"some more")
    assert ready(arrivals, 2.0) == []
    assert ready(arrivals, 2.9) == []
    assert ready(arrivals, 3.1) == [("a.png", False)]


def test_what_cannot_be_decoded_has_a_last_chance(arrivals, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"some")
    arrivals.notice(path, 0.0)
    assert ready(arrivals, 1.0) == [("a.png", False)]
    arrivals.retry(path)
    assert ready(arrivals, 4.9) == []
    assert ready(arrivals, 5.0) == [("a.png", True)]
    arrivals.settle(path, stamp(path))
    arrivals.notice(path, 6.0)
    assert ready(arrivals, 99.0) == []
    path.write_bytes(b"other")
    arrivals.notice(path, 100.0)
    assert ready(arrivals, 101.0) == [("a.png", False)]


def test_what_is_gone_is_forgotten_and_a_dangling_link_is_not(arrivals, tmp_path):
    path, link = tmp_path / "a.png", tmp_path / "link.png"
    path.write_bytes(b"some")
    link.symlink_to(tmp_path / "nowhere")
    for found in (path, link):
        arrivals.notice(found, 0.0)
    path.unlink()
    assert ready(arrivals, 5.0) == [("link.png", True)]
    arrivals.settle(link, None)
    arrivals.notice(link, 6.0)
    assert ready(arrivals, 99.0) == []


def test_what_goes_wrong_in_the_observers_thread_ends_the_run(arrivals):
    changed = queue.SimpleQueue()
    changed.put(OSError("gone"))
    with pytest.raises(OSError, match="gone"):
        _drain(changed, arrivals)


def test_only_a_folder_can_be_watched(settings, tmp_path):
    (tmp_path / "a.png").write_bytes(picture())
    for given in ("", str(tmp_path / "a.png"), str(tmp_path / "nowhere")):
        with pytest.raises(InputError, match="is no folder"):
            engine.run("watch", settings(predict__input=given, **OFF), tmp_path)


@pytest.mark.slow
def test_ctrl_c_ends_it(folder, tmp_path):
    (folder / "a.png").write_bytes(picture())
    command = [
        *(sys.executable, "launch.py", "--config=configs/demo.py:none"),
        *("--mode=watch", f"--workdir={tmp_path}", "--config.clip.image_size=64"),
        f"--config.predict.input={folder}",
        f"--config.data.prepared={tmp_path / 'prepared'}",
    ]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_until(lambda: len(lines_of(tmp_path)) == 1)
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "watching" in out and os.fspath(folder / "a.png") in out
    assert error.strip().endswith("interrupted; the same command continues")
    assert (tmp_path / "predictions.csv").is_file()
