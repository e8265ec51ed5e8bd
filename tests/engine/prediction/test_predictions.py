"""The log of predictions: whole lines, continued after a kill, never mixed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_pipelines.names import printable
from kanoclip_jax import engine
from kanoclip_jax.configs import demo
from kanoclip_jax.engine.prediction.predictions import Predictions, stamp
from kanoclip_jax.engine.workdir import Workdir
from kanoclip_jax.errors import InputError

ROOT = Path(__file__).parents[3]
SETTINGS = {"class_name": "cup", "maps": True, "parameters": "12ab"}
KEYS = ("path", "class_name", "score", "map", "box", "overlay", "label", "regions")


def write_pictures(folder: Path, count: int, side: int = 24) -> list[Path]:
    folder.mkdir()
    rng = np.random.default_rng(0)
    paths = [folder / f"{i:03}.png" for i in range(count)]
    for path in paths:
        noise = rng.integers(0, 256, (side, side, 3), np.uint8)
        Image.fromarray(noise).save(path, compress_level=0)
    return paths


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    return write_pictures(tmp_path / "pictures", 4)


@pytest.fixture
def workdir(tmp_path: Path) -> Workdir:
    return Workdir(tmp_path / "out")


def record(log: Predictions, paths: list[Path], **content: object) -> None:
    for path in paths:
        log.append(path, {"score": 0.5, **content}, stamp(path))


def texts(workdir: Workdir) -> list[str]:
    return (workdir.path / "predictions.jsonl").read_text("utf-8").splitlines()


def test_what_is_done_is_not_done_again(workdir, pictures):
    log = Predictions(workdir.path, SETTINGS)
    assert list(log.begin(pictures)) == pictures
    record(log, pictures[:3])
    log.close()
    before = texts(workdir)
    log = Predictions(workdir.path, SETTINGS)
    assert list(log.begin(pictures)) == pictures[3:]
    log.close()
    assert texts(workdir) == before


def test_what_changed_or_failed_is_done_anew(workdir, pictures):
    log = Predictions(workdir.path, SETTINGS)
    record(log, pictures[:2])
    log.append(pictures[2], {"error": "truncated"}, stamp(pictures[2]))
    log.append(pictures[3], {"error": "of another run"}, stamp(pictures[3]))
    log.close()
    os.utime(pictures[0], (1, 1))
    log = Predictions(workdir.path, SETTINGS)
    assert list(log.begin(pictures[:3])) == [pictures[0], pictures[2]]
    assert [json.loads(text)["path"] for text in texts(workdir)] == [
        str(pictures[1]),
        str(pictures[3]),
    ]
    record(log, pictures[:1])
    log.close()
    assert len(texts(workdir)) == 3


def test_the_latest_of_several_lines_counts(workdir, pictures):
    log = Predictions(workdir.path, SETTINGS)
    record(log, pictures[:2])
    record(log, pictures[:1], score=0.25)
    assert [line["score"] for line in log.highest(5)] == [0.5, 0.25]
    # Once, though an older line has the same score, as where it was labelled again.
    record(log, pictures[:1], score=0.25)
    assert [line["score"] for line in log.highest(5)] == [0.5, 0.25]
    log.write_table()
    table = (workdir.path / "predictions.csv").read_text().splitlines()
    assert len(table) == 3 and table[2].startswith(f"{pictures[0]},,0.25,")
    log.close()
    log = Predictions(workdir.path, SETTINGS)
    assert log.begin(pictures[:2]) == {}
    assert len(texts(workdir)) == 2
    log.close()


@pytest.mark.parametrize("cut", [1, 20])
def test_a_line_that_a_kill_left_unfinished_is_cut(workdir, pictures, cut):
    log = Predictions(workdir.path, SETTINGS)
    record(log, pictures)
    log.close()
    file = workdir.path / "predictions.jsonl"
    file.write_bytes(file.read_bytes()[:-cut])
    log = Predictions(workdir.path, SETTINGS)
    assert len(texts(workdir)) == 3
    assert list(log.begin(pictures)) == pictures[3:]
    log.close()


def test_other_settings_are_refused_by_name(workdir, pictures):
    log = Predictions(workdir.path, SETTINGS)
    record(log, pictures)
    log.close()
    for other in ({"class_name": "mug"}, {"parameters": "34cd"}):
        with pytest.raises(InputError, match=f"with another {min(other)}"):
            Predictions(workdir.path, SETTINGS | other)
    # Thresholds are no longer the folder's, but each line's.
    settings = workdir.path / "predictions.settings.json"
    settings.write_text(json.dumps(SETTINGS | {"thresholds": None, "min_area": 3}))
    # What an older version did not know does not matter.
    Predictions(workdir.path, SETTINGS | {"new": 1}).close()
    (workdir.path / "predictions.settings.json").unlink()
    with pytest.raises(InputError, match=r"predictions\.settings\.json cannot be read"):
        Predictions(workdir.path, SETTINGS)
    (workdir.path / "predictions.jsonl").unlink()
    Predictions(workdir.path, SETTINGS | {"class_name": "mug"}).close()


def test_a_strangers_line_is_named(workdir):
    Predictions(workdir.path, SETTINGS).close()
    (workdir.path / "predictions.jsonl").write_text('{"path": "a", "score": 0}\nmine\n')
    log = Predictions(workdir.path, SETTINGS)
    with pytest.raises(InputError, match=r"predictions\.jsonl:2 .*it is no prediction"):
        log.begin([])


def test_names_that_are_not_utf8_survive(workdir, tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\n.png"))
    path.write_bytes(b"x")
    log = Predictions(workdir.path, SETTINGS)
    record(log, [path])
    log.write_table()
    log.close()
    (line,) = texts(workdir)
    assert json.loads(line)["path"] == str(path)
    log = Predictions(workdir.path, SETTINGS)
    assert log.begin([path]) == {}
    log.close()
    assert printable(path).endswith(r"/\udcff\n.png")


def test_a_full_disk_is_said(workdir, monkeypatch):
    log = Predictions(workdir.path, SETTINGS)
    with open("/dev/full", "ab", buffering=0) as full:
        monkeypatch.setattr(log, "_file", full)
        with pytest.raises(InputError, match="No space left"):
            record(log, [Path("a.png")])


def complete_lines(workdir: Path) -> list[dict]:
    file = workdir / "predictions.jsonl"
    data = file.read_bytes() if file.exists() else b""
    assert data.endswith(b"\n") or not data
    return [json.loads(line) for line in data.splitlines()]


@pytest.mark.slow
def test_a_killed_run_is_finished_by_the_next(tmp_path):
    paths = write_pictures(tmp_path / "pictures", 30, side=500)
    (tmp_path / "pictures" / "bad.png").write_bytes(b"no picture")
    workdir = tmp_path / "out"
    flags = {
        "predict.input": tmp_path / "pictures",
        "predict.batch_size": 2,
        "clip.image_size": 64,
        "data.prepared": tmp_path / "prepared",
    }
    command = [
        *(sys.executable, "launch.py", "--config=configs/demo.py:none"),
        *("--mode=predict", f"--workdir={workdir}"),
        *(f"--config.{key}={value}" for key, value in flags.items()),
    ]
    before = 0
    for more in (1, 6):
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
        while len(complete_lines(workdir)) < before + more:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        before = len(complete_lines(workdir))
    assert 7 <= before < 30
    config = demo.get_config("none")
    for key, value in flags.items():
        section, name = key.split(".")
        config[section][name] = value if isinstance(value, int) else str(value)
    assert engine.run("predict", config, workdir) == 1
    lines = complete_lines(workdir)
    assert len(lines) == 31
    good = {line["path"]: line for line in lines if "score" in line}
    assert good.keys() == {str(path) for path in paths}
    for line in good.values():
        assert set(KEYS) <= line.keys()
        assert np.load(workdir / line["map"]).shape == (500, 500)
        Image.open(workdir / line["overlay"]).load()
