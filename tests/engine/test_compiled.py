"""Compiled programs: kept where a user asks, and said while they are waited for."""

import logging
import time

import jax
import pytest

from kanoclip_jax.engine import compiled

NAMES = (
    "jax_compilation_cache_dir",
    "jax_compilation_cache_max_size",
    "jax_persistent_cache_min_compile_time_secs",
)


@pytest.fixture
def untold():
    """JAX as it is before anybody names a cache; afterwards as it was."""
    before = {name: getattr(jax.config, name) for name in NAMES}
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def test_a_library_keeps_programs_as_it_is_asked(untold, tmp_path, caplog):
    compiled.keep_as_asked("never", tmp_path / "cache")
    assert jax.config.jax_compilation_cache_dir is None
    (tmp_path / "file").write_text("")
    compiled.keep_as_asked(tmp_path / "file" / "in", tmp_path)
    assert jax.config.jax_compilation_cache_dir is None
    assert "compiled programs are not kept" in caplog.text
    compiled.keep_as_asked("auto", tmp_path / "cache")
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "cache")
    compiled.keep_as_asked(tmp_path / "own", tmp_path / "cache")
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "cache")


def test_of_a_folder_only_programs_cut_short_are_removed(untold, tmp_path):
    whole, cut = (f"jit_step-{digit * 64}" for digit in "ab")
    for name in (f"{whole}-cache", f"{whole}-atime", f"{cut}-cache", "my-cache"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder-cache").mkdir()
    compiled.keep(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {f"{whole}-cache", f"{whole}-atime", "my-cache", "folder-cache"}


def test_it_is_said_once_that_something_compiles(monkeypatch, caplog):
    monkeypatch.setattr(compiled, "_SILENT", 0.02)
    said = []
    waiting = compiled.Waiting(said.append)
    with waiting.first("quick"):
        pass
    for program in ("slow", "slow", "slower"):
        with waiting.first(program):
            time.sleep(0.1)
    (line,) = said
    assert line.startswith("compiling the model, or reading what was compiled before")
    # A library is silent unless somebody listens.
    with caplog.at_level(logging.INFO, "kanoclip_jax"):
        compiled.to_log(line)
    assert caplog.messages == [line]
