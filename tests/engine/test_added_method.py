"""`docs/adding-a-method.md` is followed to the letter, through the command line."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "adding-a-method.md").read_text()


def block(kind: str) -> str:
    """The page's one block of a kind of code."""
    (found,) = re.findall(rf"```{kind}\n(.*?)```", PAGE, flags=re.DOTALL)
    return found


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """What installing the page's package would leave."""
    folder = tmp_path / "site"
    facts = folder / "toy-1.0.dist-info"
    facts.mkdir(parents=True)
    code = next(
        code
        for code in re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
        if code.startswith("# toy.py")
    )
    (folder / "toy.py").write_text(code)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    section, line = block("toml").strip().splitlines()
    group = re.fullmatch(r'\[project\.entry-points\."(.+)"\]', section)[1]
    entry = line.replace('"', "")
    (facts / "entry_points.txt").write_text(f"[{group}]\n{entry}\n")
    return folder


@pytest.mark.slow
def test_the_page_s_method_does_what_every_method_does(
    package: Path, tiny_directory: Path, data_root: Path, tmp_path: Path
) -> None:
    pictures = data_root / "mine"

    def launch(mode: str, folder: str, **settings: object) -> str:
        given = {
            "clip.name": tiny_directory,
            "data.root": data_root,
            "data.prepared": tmp_path / "prepared",
            "eval.datasets": f"folder:{pictures}",
        } | settings
        done = subprocess.run(
            [
                sys.executable,
                ROOT / "launch.py",
                "--config=configs/base.py",
                f"--mode={mode}",
                f"--workdir={tmp_path / folder}",
                *(f"--config.{key}={value}" for key, value in given.items()),
            ],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{package}{os.pathsep}{ROOT}"},
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    def report(folder: str) -> dict:
        return json.loads((tmp_path / folder / "report.json").read_text())

    training = {
        "method": "toy",
        "model.temperature": 0.1,
        "clip.image_size": 64,
        "train.epochs": 2,
        "train.learning_rate": 0.01,
        "train.batch_size": 4,
        "train.checkpoint_every": 3,
    }
    assert "training 96 parameters" in launch("train", "run", **training)
    trained = report("run")
    newest = Path(trained["checkpoint"])
    assert (trained["method"], trained["title"]) == ("toy", "two vectors")

    # As a run that was stopped before its last steps were kept.
    shutil.rmtree(newest)
    (tmp_path / "run" / "report.json").unlink()
    assert "continuing from step" in launch("train", "run", **training)
    assert report("run")["datasets"] == trained["datasets"]

    # A checkpoint brings its method and settings.
    ours = {"checkpoint": newest}
    launch("eval", "again", **ours)
    assert report("again")["datasets"] == trained["datasets"]

    launch("predict", "shown", **ours, **{"predict.input": pictures / "cup"})
    lines = (tmp_path / "shown" / "predictions.csv").read_text().splitlines()
    found = [path for path in (pictures / "cup").rglob("*.png") if "good" in path.parts]
    assert found and len(lines) > len(found)

    export = {"export.formats": "onnx", "export.class_names": "cup"}
    assert "onnx" in launch("export", "handed_on", **ours, **export)
    assert list((tmp_path / "handed_on" / "export").rglob("*.onnx"))
