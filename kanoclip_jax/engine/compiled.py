"""Compiled programs: kept for the next start, and said where they are waited for."""

import contextlib
import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
from tqdm import tqdm

AUTO, NEVER = "auto", "never"
# A large backbone's programs are some 10 MB each.
_MOST_BYTES = 2 * 2**30
# Seconds that nobody is told of; small programs take less, kept or not.
_SILENT = 2.0
# What JAX calls a program's file, by its name and a SHA-256.
_PROGRAM = re.compile(r".+-[0-9a-f]{64}-cache")
_LOG = logging.getLogger("kanoclip_jax")


def keep(folder: Path) -> None:
    """Keep compiled programs in a folder, unless JAX was told a place.

    All of them: the many small ones take a GPU longer together than the large ones.
    Those that were used least recently go when there are too many. What JAX is told
    holds for the whole process.
    """
    if jax.config.jax_compilation_cache_dir is not None:
        return
    # Absolute, since JAX makes the place a part of every program's key.
    folder = folder.expanduser().absolute()
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        _LOG.warning("compiled programs are not kept: %s cannot be written", folder)
        return
    _forget_half_written(folder)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", _MOST_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


def keep_as_asked(setting: str | os.PathLike, default: Path) -> None:
    """Keep them as a library's user asks.

    Args:
        setting: `auto` (in `default`), `never` (JAX is left as it is), or a folder.
        default: the commands' folder.
    """
    if setting != NEVER:
        keep(default if setting == AUTO else Path(setting))


def _forget_half_written(folder: Path) -> None:
    """Remove programs without a time of use, over which JAX's cleaning would stumble.

    A killed process leaves them, and a cache that had no limit.
    """
    for program in folder.glob("*-cache"):
        times = program.with_name(f"{program.name.removesuffix('cache')}atime")
        # By JAX's own names alone: the folder may be a user's, with files of theirs.
        if _PROGRAM.fullmatch(program.name) and not times.exists():
            program.unlink(missing_ok=True)


def to_log(said: str) -> None:
    """Say it in the library's log, which is silent unless somebody listens."""
    _LOG.info(said)


def to_terminal(said: str) -> None:
    """Say it on standard error, above a bar of progress."""
    tqdm.write(said, file=sys.stderr)


class Waiting:
    """Says once that something compiles, where that takes more than a moment.

    Args:
        say: is told.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say, self._told = say, False
        self._ready: set[object] = set()

    @contextlib.contextmanager
    def first(self, program: object) -> Iterator[None]:
        """Around a call that compiles the first time that it is made for a program."""
        if program in self._ready:
            yield
            return
        timer = threading.Timer(_SILENT, self._tell)
        timer.daemon = True
        timer.start()
        try:
            yield
            self._ready.add(program)
        finally:
            timer.cancel()

    def _tell(self) -> None:
        if self._told:
            return
        self._told = True
        place = jax.config.jax_compilation_cache_dir
        # JAX says which it was when it is over.
        kept = f", or reading what was compiled before from {place}" if place else ""
        self._say(f"compiling the model{kept} …")
