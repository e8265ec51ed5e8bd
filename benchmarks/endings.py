"""Ends every mode at random moments and lets the same command go on: are results equal?

    python benchmarks/endings.py                           every mode, three rounds each
    python benchmarks/endings.py --modes=train,predict --rounds=20 --seed=7

A round begins anew, ends its command by SIGKILL or SIGTERM once or twice, each at a
random moment of what the command takes, and then lets it come to its end. What it left
is compared with what an undisturbed command leaves: figures, files and folders. A
command that was terminated must say so (143), unless it had ended before (0), or had not
got as far as listening (-15).
"""

import argparse
import collections
import csv
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from data_pipelines.sources import open_source

_SIDE = 64
_KILLS = 2
# A watch never ends by itself.
_ENDS = {"watch": (143,), "predict": (0,)}


class World:
    """Two classes of a dataset, and a folder of pictures, in a temporary folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        rng = np.random.default_rng(0)
        for name in ("bottle", "grid"):
            base = folder / "root" / "mvtec" / name
            for i in range(12):
                self._write(base / "test" / "good" / f"{i:03}.png", rng)
                mask = base / "ground_truth" / "bent" / f"{i:03}_mask.png"
                self._write(base / "test" / "bent" / f"{i:03}.png", rng, mask)
        for i in range(24):
            self._write(folder / "pictures" / f"{i:03}.png", rng)
        for i in range(12):
            self._write(folder / "mine" / "cup" / "good" / f"{i:03}.png", rng)
            self._write(folder / "mine" / "cup" / "bad" / f"{i:03}.png", rng)

    def command(self, mode: str, workdir: Path, prepared: Path) -> list[str]:
        """A mode's command line."""
        flags = {
            "data.root": self.folder / "root",
            "data.prepared": prepared,
            "clip.image_size": _SIDE,
            "train.dataset": "mvtec",
            "train.classes": "bottle,grid",
            "train.epochs": 3,
            "train.batch_size": 4,
            "train.checkpoint_every": 4,
            "train.log_every": 1,
            "eval.datasets": f"folder:{self.folder / 'mine'}",
            "predict.input": self.folder / "pictures",
            "predict.batch_size": 2,
            "calibrate.input": self.folder / "pictures",
            "knowledge.provider": "template",
            "export.formats": "stablehlo",
        }
        if mode not in ("train", "prepare", "knowledge"):
            flags["checkpoint"] = self.folder / "trained" / "checkpoints"
        if mode == "prepare":
            flags["eval.datasets"] = "mvtec"
        return [
            *(sys.executable, str(ROOT / "launch.py"), f"--mode={mode}"),
            *(f"--config={ROOT / 'configs' / 'demo.py'}:probe", f"--workdir={workdir}"),
            *(f"--config.{key}={value}" for key, value in flags.items()),
        ]

    def _write(self, path: Path, rng: np.random.Generator, mask: str = "") -> None:
        pixels = rng.integers(60, 120, (_SIDE, _SIDE, 3), np.uint8)
        if mask:
            marked = np.zeros((_SIDE, _SIDE), np.uint8)
            marked[20:30, 20:40] = 255
            pixels[marked > 0] = 250
            mask.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(marked).save(mask)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)


class Ending(NamedTuple):
    """How one command ended.

    Attributes:
        sent: the signal, 0 where it came to its own end.
        status: its exit status.
        said: its last line on stderr.
    """

    sent: int
    status: int
    said: str


def run(
    command: list[str], seconds: float | None, sent: int, enough: Callable
) -> Ending:
    """Start a command; end it by a signal after some seconds, or when it is enough."""
    started = time.monotonic()
    with (
        tempfile.TemporaryFile("w+") as out,
        subprocess.Popen(
            command, cwd=ROOT, stdout=out, stderr=subprocess.PIPE, text=True
        ) as process,
    ):
        used = 0
        while process.poll() is None and not used:
            time.sleep(0.02)
            over = seconds is not None and time.monotonic() - started > seconds
            if over or (seconds is None and enough() and "watching" in told(out)):
                used = sent if over else signal.SIGTERM
                process.send_signal(used)
        error = process.communicate(timeout=600)[1]
    lines = [line for line in error.strip().splitlines() if line]
    return Ending(used, process.returncode, lines[-1] if lines else "")


def told(out: TextIO) -> str:
    """What was printed so far."""
    return os.pread(out.fileno(), 2**20, 0).decode()


def lines_of(workdir: Path) -> int:
    """How many predictions there are."""
    file = workdir / "predictions.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def result(mode: str, workdir: Path, prepared: Path) -> Any:
    """What a command leaves, without times and places."""
    if mode == "prepare":
        # A record's fields have no order.
        index = [digest(p) for p in prepared.glob("mvtec/*/index.json")]
        left = [p.name for p in prepared.glob("mvtec/*") if p.name[0] != "."]
        root = str(prepared.parent.parent / "root")
        source = open_source(
            "mvtec", root=root, prepared=str(prepared), classes=("bottle", "grid")
        )
        return index, left, [str(source[i]) for i in range(len(source))]
    if mode == "train":
        report = json.loads((workdir / "report.json").read_text())
        steps = sorted(p.name for p in (workdir / "checkpoints").iterdir())
        metrics = (workdir / "metrics.jsonl").read_text()
        return report["datasets"], [s for s in steps if s.isdigit()], metrics
    if mode == "eval":
        return json.loads((workdir / "report.json").read_text())["datasets"]
    if mode == "calibrate":
        found = json.loads((workdir / "calibration.json").read_text())["calibrations"]
        return [{k: v for k, v in one.items() if k != "facts"} for one in found]
    if mode == "knowledge":
        return [digest(p) for p in sorted((workdir / "knowledge").glob("*.jsonl"))]
    if mode == "export":
        manifest = json.loads((workdir / "export" / "manifest.json").read_text())
        return manifest, sorted(p.name for p in workdir.rglob("*") if p.name[0] != ".")
    with (workdir / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = sorted(map(tuple, csv.reader(file)))
    files = sorted(p for f in ("maps", "overlays") for p in (workdir / f).iterdir())
    return rows, [(p.name, digest(p)) for p in files if p.name[0] != "."]


def digest(path: Path) -> str:
    """Of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def try_mode(
    mode: str, world: World, rounds: int, rng: random.Random
) -> Mapping[str, Any]:
    """End a mode's command at random moments; returns what was seen."""
    folder = world.folder / "tries"
    seen: collections.Counter[str] = collections.Counter()
    complaints: list[str] = []

    def begin(name: str) -> tuple[list[str], Path, Path, Callable]:
        workdir, prepared = folder / name, world.folder / "prepared"
        if mode == "prepare":
            prepared = folder / f"{name}-prepared"
        if mode == "calibrate":
            # Each with a place of its own, where it stores its thresholds.
            shutil.copytree(
                world.folder / "trained/checkpoints", workdir / "checkpoints"
            )
        command = world.command(mode, workdir, prepared)
        if mode == "calibrate":
            command.append(f"--config.checkpoint={workdir / 'checkpoints'}")
        many = len(list((world.folder / "pictures").iterdir()))
        return (
            command,
            workdir / "checkpoints" if mode == "calibrate" else workdir,
            prepared,
            lambda: mode == "watch" and lines_of(workdir) >= many,
        )

    command, place, prepared, enough = begin("whole")
    started = time.monotonic()
    whole = run(command, None, 0, enough)
    took = time.monotonic() - started
    assert whole.status in _ENDS.get(mode, (0,)), whole
    expected = result(mode, place, prepared)
    for number in range(rounds):
        command, place, prepared, enough = begin(str(number))
        for _ in range(rng.randint(1, _KILLS)):
            sent = rng.choice((signal.SIGKILL, signal.SIGTERM))
            ending = run(command, rng.uniform(0.1, 0.9) * took, sent, enough)
            seen[
                f"{signal.Signals(ending.sent).name if ending.sent else 'own end'}"
            ] += 1
            fine = {0: (0,), signal.SIGKILL: (-9, 0), signal.SIGTERM: (143, 0, -15)}
            if ending.status not in fine[ending.sent]:
                complaints.append(f"round {number}: {ending}")
            if ending.status == 143 and not re.match("terminated; ", ending.said):
                complaints.append(f"round {number}: said {ending.said!r}")
        last = run(command, None, 0, enough)
        if last.status not in _ENDS.get(mode, (0,)):
            complaints.append(f"round {number}: the last command: {last}")
        elif result(mode, place, prepared) != expected:
            complaints.append(f"round {number}: another result")
        else:
            seen["equal"] += 1
        shutil.rmtree(folder / str(number), ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    return {"mode": mode, "seconds": round(took, 1), **seen, "complaints": complaints}


def main() -> None:
    """Print a line for each mode."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--modes", default="prepare,train,eval,calibrate,predict,watch,knowledge,export"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        world = World(Path(temporary))
        trained = world.command(
            "train", world.folder / "trained", world.folder / "prepared"
        )
        first = run(trained, None, 0, lambda: False)
        assert first.status == 0, first
        for mode in options.modes.split(","):
            rng = random.Random(f"{mode} {options.seed}")
            print(json.dumps(try_mode(mode, world, options.rounds, rng)), flush=True)


if __name__ == "__main__":
    main()
