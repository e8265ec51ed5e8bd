"""When, where and by what a result was computed: the clock, the package, its clone."""

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

import kanoclip_jax

PACKAGE = "kanoclip-jax"
_CLONE = Path(__file__).parents[2]
_SECONDS = 10
# A command may be as long as a system allows; a report says its beginning.
_LONGEST = 2000


def of_now() -> dict[str, str]:
    """What a report says of its making; empty texts where nobody knows.

    Returns:
        `date` in UTC; `version` of the package, and where that is a clone, its
        `commit`, with `-dirty` behind it where files differ from it; the `device` and
        the `command`.
    """
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "version": kanoclip_jax.__version__,
        "commit": _commit(),
        "device": _device(),
        "command": _command(sys.argv),
    }


def of_training(meta: Mapping[str, Any]) -> dict[str, Any] | None:
    """On what a checkpoint was trained, for how long, and with which seed.

    Args:
        meta: what the checkpoint says of itself, empty where there is none.

    Returns:
        `dataset`, `epochs` and `seed`, as far as it says; None where it says nothing.
    """
    said = {
        "dataset": meta.get("dataset"),
        "epochs": meta.get("config", {}).get("train", {}).get("epochs"),
        "seed": meta.get("seed"),
    }
    return {key: value for key, value in said.items() if value is not None} or None


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Python's version, this package's, and those of installed packages, each once."""
    # A clone's own may be installed nowhere, or as it was when it was.
    return {"python": platform.python_version(), PACKAGE: kanoclip_jax.__version__} | {
        package: metadata.version(package) for package in packages
    }


def _commit() -> str:
    # Installed, the package may lie below somebody else's repository.
    if not (_CLONE / ".git").exists():
        return ""
    command = ["git", "-C", str(_CLONE), "describe", "--always", "--dirty"]
    try:
        found = subprocess.run(
            [*command, "--abbrev=12", "--exclude=*"],
            capture_output=True,
            check=True,
            text=True,
            timeout=_SECONDS,
            # A look takes no lock that another git would wait for.
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return found.stdout.strip()


def _device() -> str:
    count, kind = jax.device_count(), jax.devices()[0].device_kind
    return kind if count == 1 else f"{count} × {kind}"


def _command(argv: list[str]) -> str:
    program = Path(argv[0])
    words = ["python"] if program.suffix == ".py" else []
    # What `python -m PACKAGE` starts.
    is_module = program.name == "__main__.py"
    words += ["-m", program.parent.name] if is_module else [program.name]
    command = shlex.join([*words, *argv[1:]])
    return command if len(command) <= _LONGEST else f"{command[:_LONGEST]}…"
