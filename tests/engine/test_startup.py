"""Starting a command again: every program is found, and nothing that waits is imported."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from kanoclip_jax.engine.settings import resolve, use_compilation_cache

ROOT = Path(__file__).parents[2]
LAUNCH = """
import collections, json, sys
from jax import monitoring
import launch

count = collections.Counter()
monitoring.register_event_listener(lambda event, **_: count.update([event]))
status = launch.main(["launch.py", *sys.argv[2:]])
with open(sys.argv[1], "w") as file:
    json.dump({name.rpartition("/")[2]: n for name, n in count.items()}, file)
sys.exit(status)
"""


def started(folder: Path, name: str, *flags: str) -> dict[str, int]:
    """What a process of its own says of the compilation cache."""
    result = folder / f"{name}.json"
    # Nothing of this process's own: neither its cache nor its compiler flags.
    inherited = {
        k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "XLA_"))
    }
    subprocess.run(
        [
            sys.executable,
            "-c",
            LAUNCH,
            result,
            "--config=configs/demo.py",
            f"--workdir={folder / name}",
            *flags,
        ],
        cwd=ROOT,
        env={**inherited, "XLA_FLAGS": "--xla_backend_optimization_level=0"},
        check=True,
        timeout=600,
    )
    return json.loads(result.read_text())


@pytest.mark.slow
def test_a_second_process_compiles_nothing(tiny_directory, data_root, tmp_path) -> None:
    """From another working directory's name, and of programs as small as they come."""
    flags = (
        f"--config.clip.name={tiny_directory}",
        "--config.clip.image_size=32",
        "--config.model.bica_width=16",
        "--config.model.bica_heads=2",
        "--config.model.bica_groups=2",
        f"--config.data.root={data_root}",
        f"--config.data.prepared={tmp_path / 'prepared'}",
        "--config.train.dataset=mvtec",
        "--config.train.epochs=1",
        f"--config.eval.datasets=folder:{data_root / 'mine'}",
    )
    first = started(tmp_path, "first", *flags)
    second = started(tmp_path, "second", *flags)
    assert first["cache_misses"] > 10
    assert second.get("cache_misses", 0) == 0
    assert second["cache_hits"] == second["compile_requests_use_cache"]


def test_training_starts_without_what_measures_and_draws() -> None:
    code = (
        "import sys, kanoclip_jax.engine.train;"
        "print([n for n in ('matplotlib', 'sklearn', 'tensorflow') if n in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "USE_TORCH": "0", "USE_TF": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == "[]"


@pytest.fixture
def no_cache_yet():
    """JAX as it is before anybody names a cache; afterwards as it was."""
    names = (
        "jax_compilation_cache_dir",
        "jax_compilation_cache_max_size",
        "jax_persistent_cache_min_compile_time_secs",
    )
    before = {name: getattr(jax.config, name) for name in names}
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def test_the_cache_is_bounded_and_keeps_small_programs(
    settings, tmp_path, no_cache_yet, monkeypatch
) -> None:
    """A relative place is made absolute; what no time of use belongs to is removed."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "prepared" / "compiled"
    folder.mkdir(parents=True)
    old, new = (f"jit_step-{digit * 64}" for digit in "12")
    for name in (f"{old}-cache", f"{new}-cache", f"{new}-atime"):
        (folder / name).write_bytes(b"x")
    use_compilation_cache(resolve(settings(data__prepared="prepared")))
    assert jax.config.jax_compilation_cache_dir == str(folder)
    assert jax.config.jax_compilation_cache_max_size == 2 * 2**30
    assert jax.config.jax_persistent_cache_min_compile_time_secs == 0
    left = sorted(path.name for path in folder.iterdir())
    assert left == [f"{new}-atime", f"{new}-cache"]


def test_a_place_that_jax_was_told_is_left_alone(settings, tmp_path, no_cache_yet):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    before = jax.config.jax_compilation_cache_max_size
    use_compilation_cache(resolve(settings()))
    assert jax.config.jax_compilation_cache_dir == str(tmp_path)
    assert jax.config.jax_compilation_cache_max_size == before
