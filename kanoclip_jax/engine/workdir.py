"""The folder of a run: what belongs to it, and whether this command may continue it."""

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

from ml_collections import FrozenConfigDict

from data_pipelines.digests import unseal
from data_pipelines.errors import DataError
from data_pipelines.locks import hold
from kanoclip_jax import documents
from kanoclip_jax.engine import shapes
from kanoclip_jax.engine.settings import (
    datasets_of,
    differing_keys,
    is_suite,
    to_dict,
)
from kanoclip_jax.engine.sharding import gather, is_first
from kanoclip_jax.errors import InputError
from kanoclip_jax.files import write_atomically


class Workdir:
    """A run's folder.

    Attributes:
        path: the folder.
        checkpoints: where its checkpoints are.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"

    def claim(self, config: FrozenConfigDict) -> None:
        """Make the folder this configuration's, or check that it already is.

        Raises:
            InputError: the folder cannot be made, or holds a run of another
                configuration.
        """
        file = self.path / "config.json"
        new = to_dict(config)
        if file.is_file():
            remedy = f"it is damaged; remove {self.path} or pass another --workdir"
            old = documents.read(file, shapes.SETTINGS, remedy)
            if is_suite(old) != is_suite(new):
                kinds = ("a single run", "several runs (rows or seeds)")
                raise InputError(
                    f"{self.path} holds {kinds[is_suite(old)]}, and this is "
                    f"{kinds[is_suite(new)]}; pass --workdir=ANOTHER"
                )
            try:
                keys = differing_keys(old, new)
            except InputError as error:
                # It names no method that there is.
                raise InputError(f"{file}: {error}; {remedy}") from None
            if keys:
                raise InputError(
                    f"{self.path} holds a run with another {', '.join(keys)}; pass "
                    "--workdir=ANOTHER, or the same settings to continue it"
                )
            return
        self.write("config.json", json.dumps(new, indent=2) + "\n")

    def write(self, name: str, content: str | bytes) -> None:
        """Write one file whole or not at all; of several processes, the first does."""
        if not is_first():
            return
        data = content.encode("utf-8") if isinstance(content, str) else content
        try:
            write_atomically(self.path / name, data)
        except OSError as error:
            raise InputError(
                f"{self.path / name} cannot be written ({error.strerror}); pass another "
                "--workdir"
            ) from None

    def report(self) -> dict | None:
        """The report, if the run has ended with one; a damaged one is none, aloud."""
        file = self.path / "report.json"
        if not file.is_file():
            return None
        try:
            return documents.read(
                file, shapes.REPORT, "it is made again", opened=unseal
            )
        except InputError as error:
            print(error)
            return None


@contextlib.contextmanager
def held(folder: Path, mode: str) -> Iterator[None]:
    """Be the one run that writes to a folder; of several processes, the first is.

    Raises:
        InputError: another run holds it, or it cannot be written to.
    """
    remedy = "pass another --workdir"
    trained = (folder / "checkpoints").is_dir()
    if trained and mode in ("eval", "predict", "watch", "export", "save"):
        remedy += (
            " (what was trained here is used from there with "
            f"--config.checkpoint={folder / 'checkpoints'})"
        )
    with contextlib.ExitStack() as stack:
        refusal = ""
        if is_first():
            try:
                stack.enter_context(hold(folder, mode, remedy=remedy))
            except DataError as error:
                refusal = str(error)
        refusal = gather(refusal)[0]
        if refusal:
            raise InputError(refusal)
        yield


def file_name(dataset: str) -> str:
    """A dataset's id as a part of a file's name, of several joined the ids with `+`.

    A folder of the user's own goes by its own name and a hash of where it lies.
    """
    parts = datasets_of(dataset)
    if len(parts) > 1:
        return "+".join(map(file_name, parts))
    if not dataset.startswith("folder:"):
        return dataset
    folder = Path(dataset.removeprefix("folder:")).expanduser().resolve()
    digest = hashlib.sha256(str(folder).encode()).hexdigest()[:8]
    name = re.sub(r"[^\w.-]+", "_", folder.name)[-80:]
    return f"{name}-{digest}"
