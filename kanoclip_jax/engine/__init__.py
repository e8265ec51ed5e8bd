"""The shell around the method: every file, clock and random seed enters here."""

import contextlib
import functools
import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from ml_collections import ConfigDict, FrozenConfigDict

from data_pipelines.errors import DataError
from kanoclip_jax.engine.endings import describe, install, leave, starting
from kanoclip_jax.errors import InputError
from kanoclip_jax.files import out_of_space

__all__ = [
    "BAD_INPUT",
    "MODES",
    "describe",
    "install",
    "join",
    "leave",
    "run",
    "starting",
]

# What a user can mend; everything else is a defect of ours.
BAD_INPUT = (InputError, DataError)
MODES = (
    "train",
    "eval",
    "predict",
    "prepare",
    "knowledge",
    "calibrate",
    "export",
    "save",
    "watch",
)

_OPENS_DATASETS = ("train", "eval", "prepare", "knowledge")


def plain(stream: TextIO) -> TextIO:
    """A stream through which nothing commands a terminal; see `terminal.Plain`."""
    from kanoclip_jax.engine import terminal

    return terminal.Plain(stream)


def join(coordinator_address: str, num_processes: int, process_id: int) -> None:
    """Become one of several processes; see `sharding.join`."""
    from kanoclip_jax.engine import sharding

    sharding.join(coordinator_address, num_processes, process_id)
    if not sharding.is_first():
        # Said once, by process 0; errors and progress go to stderr.
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def run(
    mode: str,
    config: ConfigDict,
    workdir: Path,
    overrides: frozenset[str] = frozenset(),
) -> int:
    """Run one mode to its end.

    Args:
        mode: one of `MODES`.
        config: as `configs/base.py` lays it out.
        workdir: where results go.
        overrides: dotted keys that the user set by hand; they win over a checkpoint's.

    Returns:
        The process's exit status: 0, or 1 where some inputs of `predict` and `watch`
        or questions of `knowledge` failed.

    Raises:
        InputError, DataError: bad input or configuration.
    """
    with starting(mode):
        from kanoclip_jax.engine.memory import out_of_memory
        from kanoclip_jax.engine.settings import resolve, use_compilation_cache
        from kanoclip_jax.engine.terminal import log_in_words

        log_in_words()
        resolved = resolve(config, overrides)
        use_compilation_cache(resolved)
        main = _main(mode, resolved)
    try:
        if resolved.data.get("folder_class_names") and mode in _OPENS_DATASETS:
            from kanoclip_jax.engine.build import refuse_unknown_names

            refuse_unknown_names(resolved)
        with _held(mode, resolved, workdir):
            return main(resolved, workdir, overrides)
    except BAD_INPUT:
        raise
    except Exception as error:
        # Libraries have errors of their own for either; JAX's is a RuntimeError.
        clear = out_of_space(error, workdir) or out_of_memory(error, mode)
        if clear is None:
            raise
        raise clear from error


def _held(
    mode: str, config: FrozenConfigDict, workdir: Path
) -> contextlib.AbstractContextManager[None]:
    """The working directory for this run alone, where its mode writes to it.

    `prepare` and `calibrate` hold what they write to while they do; a look at knowledge
    may be taken at any time.
    """
    from kanoclip_jax.engine.workdir import held

    looks = mode == "knowledge" and config.knowledge.action == "inspect"
    if mode in ("prepare", "calibrate") or looks:
        return contextlib.nullcontext()
    return held(workdir, mode)


def _main(mode: str, config: FrozenConfigDict) -> Callable[..., int]:
    """The function of a mode; its module is imported only when it runs."""
    from kanoclip_jax.engine.settings import is_suite

    several = mode in ("train", "eval") and is_suite(config)
    modules = {
        "eval": "evaluate",
        "predict": "prediction.predict",
        "calibrate": "prediction.calibrate",
        "watch": "prediction.watch",
        "save": "pretrained.save",
        "knowledge": f"knowledge.{config.knowledge.action}",
    }
    name = "suite" if several else modules.get(mode, mode)
    main = importlib.import_module(f"kanoclip_jax.engine.{name}").main
    return functools.partial(main, mode) if several else main
