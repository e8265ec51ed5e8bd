"""The folder of a run: what belongs to it, and whether this command may continue it."""

import hashlib
import json
import re
from pathlib import Path

from ml_collections import FrozenConfigDict

from data_pipelines.digests import unseal
from kanoclip_jax.engine.settings import (
    datasets_of,
    differing_keys,
    is_suite,
    to_dict,
)
from kanoclip_jax.engine.sharding import is_first
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
            try:
                old = json.loads(file.read_text(encoding="utf-8"))
            except ValueError:
                raise InputError(
                    f"{file} is damaged; remove {self.path} or pass another --workdir"
                ) from None
            if is_suite(old) != is_suite(new):
                kinds = ("a single run", "several runs (rows or seeds)")
                raise InputError(
                    f"{self.path} holds {kinds[is_suite(old)]}, and this is "
                    f"{kinds[is_suite(new)]}; pass --workdir=ANOTHER"
                )
            keys = differing_keys(old, new)
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
        """The report, if the run has ended with one."""
        try:
            return unseal(json.loads((self.path / "report.json").read_bytes()))
        except OSError:
            return None
        except (ValueError, TypeError, AttributeError) as error:
            print(f"{self.path / 'report.json'} is damaged ({error}); evaluated again")
            return None


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
