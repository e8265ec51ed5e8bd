"""What an export's manifest, or one of its model's files, says of the model.

Nothing here needs JAX: it is a part of the exported runner.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_pipelines.digests import is_whole
from kanoclip_jax import documents
from kanoclip_jax.engine import shapes
from kanoclip_jax.errors import InputError

MANIFEST = "manifest.json"
_AGAIN = (
    "use the runner.py that lies beside it, export again, or name the folder of an "
    "export"
)


def read_manifest(folder: Path) -> tuple[dict[str, Any], str]:
    """The manifest, and the SHA-256 of its file.

    Raises:
        InputError: there is none, or it is damaged.
    """
    file = folder / MANIFEST
    data = documents.read_bytes(file, "name the folder of an export")
    manifest = documents.parse(data, str(file), shapes.MANIFEST, _AGAIN)
    if not is_whole(manifest):
        raise InputError(
            f"{file} is not what was exported: it was damaged or edited; {_AGAIN}"
        )
    return manifest, hashlib.sha256(data).hexdigest()


def read_document(model: Path, document: str) -> tuple[dict[str, Any], str]:
    """What a model's file says of it, and a digest of that and of the file's size.

    Args:
        model: the file.
        document: what its runtime found in it; empty where nothing.

    Raises:
        InputError: it says nothing, or what it says is damaged.
    """
    if not document:
        raise InputError(
            f"{model} says nothing of its classes and thresholds; it is of an earlier "
            "export, or of another program: name the folder of its export"
        )
    data = document.encode()
    manifest = documents.parse(data, str(model), shapes.INSIDE, _AGAIN)
    if not is_whole(manifest):
        raise InputError(f"what {model} says of itself was edited; {_AGAIN}")
    sizes = [
        file.stat().st_size
        for file in (model, model.with_suffix(".bin"))
        if file.is_file()
    ]
    return manifest, hashlib.sha256(data + repr(sizes).encode()).hexdigest()


def own_precision(model: Path, said: Mapping[str, Any], given: str) -> str:
    """The precision of a model's file: 8-bit integers are its own, the rest is asked.

    Raises:
        InputError: 8-bit integers were asked for, and it holds none.
    """
    own = said.get("precision", "float32")
    if given == "int8" != own:
        raise InputError(
            f"precision is 'int8', and {model} holds {own!r}; leave it out"
        )
    return own if given == "float32" else given
