"""README and docs are followed to the letter: each block of commands or code is run.

They run one after another in a folder that is laid out as they assume, with a model of
the suite's smallest CLIP in place of a trained one. What cannot be run says why in a
comment above it, `<!-- not run: REASON -->`, and its flags and settings are read.
"""

import runpy
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from absl.testing import flagsaver
from command_blocks import ROOT, Block, arguments, blocks, commands
from PIL import Image

from kanoclip_jax import command, engine
from kanoclip_jax.engine import settings as engine_settings

ALL = list(blocks())
RUN = [block for block in ALL if not block.reason]
READ = [block for block in ALL if block.reason and block.kind == "bash"]
REASONS = {
    "installs packages",
    "needs datasets",
    "needs weights",
    "needs a model server",
    "needs other tools",
    "needs the servers",
    "needs an account of the hub",
    "a part of a file",
    "a test of its own follows this page",
    "minutes of training",
}
# Of `runs`, what blocks take from those before them.
KEPT = {"mvtec", "demo", "checkpoints", "export", "pretrained"}
# So that a command ends soon.
BRIEFLY = {"watch": ("--config.watch.limit=3",), "export": ("--formats=onnx",)}


@pytest.fixture(scope="module")
def world(
    quick_checkpoint: Path, data_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder as the pages assume it."""
    world = tmp_path_factory.mktemp("world")
    (world / "configs").symlink_to(ROOT / "configs")
    for run in ("mvtec", "demo"):
        shutil.copytree(quick_checkpoint, world / "runs" / run / "checkpoints")
    rng = np.random.default_rng(5)
    for folder in ("photos", "good"):
        (world / folder).mkdir()
        for i in range(3):
            pixels = rng.integers(0, 256, (40, 40, 3), np.uint8)
            Image.fromarray(pixels).save(world / folder / f"{i}.png")
    Image.fromarray(pixels).save(world / "photo.jpg")
    for name in ("parts", "other_parts"):
        shutil.copytree(data_root / "mine", world / "my" / name)
    (world / "export").symlink_to(world / "runs" / "mvtec" / "export")
    return world


@pytest.fixture
def here(
    world: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """The world as the working directory, and nothing of a run left in the process."""
    handlers = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.chdir(world)
    monkeypatch.syspath_prepend(world / "export")
    monkeypatch.setattr(engine_settings, "use_compilation_cache", lambda config: None)
    # Each block stands alone: what others found in the same pictures is not there.
    for folder in [*(world / "runs").iterdir(), *(world / "runs" / "mvtec").iterdir()]:
        if folder.is_dir() and folder.name not in KEPT:
            shutil.rmtree(folder)
    with flagsaver.flagsaver():
        yield world
    sys.modules.pop("runner", None)
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.slow
@pytest.mark.parametrize("block", RUN, ids=str)
def test_a_block_runs(
    block: Block, here: Path, prepared: Path, tiny_directory: Path, monkeypatch
) -> None:
    if block.kind == "python":
        (here / "block.py").write_text(block.code)
        runpy.run_path(str(here / "block.py"))
        return
    for words in commands(block.code.replace("/my/", f"{here}/my/")):
        given = arguments(words)
        if given is None:
            run_another(words, monkeypatch)
            continue
        given.append(f"--config.data.prepared={prepared}")
        if not any("checkpoint=" in word for word in given):
            given += [f"--clip={tiny_directory}", "--image-size=32"]
        for mode, flags in BRIEFLY.items():
            if mode in given or f"--mode={mode}" in given:
                given += flags
        monkeypatch.setattr(sys, "argv", ["kanoclip", *given])
        assert command.main(["kanoclip", *given]) == 0


def run_another(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that is not the package's own."""
    if "pip" in words[:3]:
        # Its packages are the tests' own.
        return
    if words[0] == "python":
        monkeypatch.setattr(sys, "argv", words[1:])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(words[1], run_name="__main__")
        assert not ended.value.code
        return
    assert words[0] in ("cp", "ls", "cat"), f"{words[0]} is not run here"
    subprocess.run(words, check=True, capture_output=True)


@pytest.mark.parametrize("block", READ, ids=str)
def test_flags_of_what_is_not_run_are_known(
    block: Block, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(mode: str, config, workdir: Path, overrides: frozenset[str]) -> int:
        # Another package's method is known where it is installed.
        if "test of its own" not in block.reason:
            engine_settings.resolve(config, overrides)
        return 0

    monkeypatch.setattr(engine, "run", read)
    for words in commands(block.code):
        given = arguments(words)
        if given is not None:
            monkeypatch.setattr(sys, "argv", ["kanoclip", *given])
            assert command.main(["kanoclip", *given]) == 0, given


def test_every_reason_is_one_of_a_few() -> None:
    assert {block.reason for block in ALL} - {""} <= REASONS
    assert len(RUN) >= 10
