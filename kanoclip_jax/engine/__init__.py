"""The shell around the method: every file, clock and random seed enters here."""

import importlib
from pathlib import Path

from ml_collections import ConfigDict

from data_pipelines.errors import DataError
from kanoclip_jax.errors import InputError

# What a user can mend; everything else is a defect of ours.
BAD_INPUT = (InputError, DataError)
MODES = ("train", "eval", "predict", "prepare")


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
        The process's exit status: 0, or 1 where some inputs of `predict` failed.

    Raises:
        InputError, DataError: bad input or configuration.
    """
    from kanoclip_jax.engine.settings import resolve, use_compilation_cache

    names = {"train": "train", "eval": "evaluate"}
    module = importlib.import_module(f"kanoclip_jax.engine.{names.get(mode, mode)}")
    resolved = resolve(config)
    use_compilation_cache(resolved)
    return module.main(resolved, workdir, overrides)
