"""The folder of a head: which files it has, and whether they are what was saved."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load

from data_pipelines.digests import of_bytes, unseal
from kanoclip_jax import documents
from kanoclip_jax.engine import shapes
from kanoclip_jax.engine.checkpoint import compare, describe, digest_of
from kanoclip_jax.engine.prediction.calibration import FILE as CALIBRATION
from kanoclip_jax.errors import InputError
from kanoclip_jax.models.base import Method, Params

# The names that the hub's library knows: it counts a model by its `config.json`.
WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
REPORT = "report.json"
# All that is fetched of a hub's repository, which may hold more.
FILES = (WEIGHTS, CONFIG, CARD, REPORT, CALIBRATION)
LIBRARY = "kanoclip-jax"
# A change after which an older version would read something else adds 1.
FORMAT = 1
# Larger than any head.
_MOST_BYTES = 4 * 2**30
_REMEDY = "copy or fetch the whole folder again, or save the head anew"


@dataclass(frozen=True)
class Head:
    """What a folder says of the head in it.

    Attributes:
        folder: where it lies.
        meta: as a checkpoint's, with what only such folders say.
    """

    folder: Path
    meta: Mapping[str, Any]

    @property
    def weights(self) -> Path:
        """The file of its parameters."""
        return self.folder / WEIGHTS

    @property
    def pictures(self) -> dict[str, Any]:
        """How pictures are cut (`tiles`) and read (`value_range`, `orientation`).

        By name, whatever else the file says there: others may have written it.
        """
        said = self.meta["pictures"]
        return {key: said[key] for key in ("tiles", "value_range", "orientation")}


def is_head(folder: Path) -> bool:
    """Whether a folder is one, whole or not; others may have a `config.json`, too."""
    if not folder.is_dir():
        return False
    if (folder / WEIGHTS).exists():
        return True
    return is_ours(folder / CONFIG)


def is_ours(file: Path) -> bool:
    """Whether a `config.json` says that it is of a head."""
    try:
        return documents.read(file, dict, "").get("library_name") == LIBRARY
    except InputError:
        return False


def is_ours_too(weights: Path) -> bool:
    """Whether a file of weights was written for a head, maybe by a save cut short."""
    try:
        with safe_open(weights, framework="np") as file:
            return (file.metadata() or {}).get("library_name") == LIBRARY
    except (OSError, SafetensorError):
        return False


def read_head(folder: Path) -> Head:
    """What a folder says, sealed, and whether its files are there.

    Raises:
        InputError: a file is missing or changed, the folder is another library's, or
            of a newer version of this one.
    """
    file = folder / CONFIG
    if not file.is_file():
        raise InputError(
            f"{folder} lacks {CONFIG}, which says what its {WEIGHTS} is; {_REMEDY}"
        )
    content = documents.read(file, dict, _REMEDY)
    if content.get("library_name") != LIBRARY:
        kind = content.get("model_type", "another library's")
        raise InputError(
            f"{file} is of a {kind!r:.60} model and of no head that was saved here; give "
            "a folder of Detector.save_pretrained or --mode=save"
        )
    version = content.get("format")
    if isinstance(version, int) and version > FORMAT:
        raise InputError(
            f"{folder} was saved by a newer version of this package (format {version}; "
            f"known here is {FORMAT}); update it: pip install -U {LIBRARY}"
        )
    meta = documents.read(file, shapes.HEAD, _REMEDY, opened=unseal)
    wanted = [*meta["files"], *([CALIBRATION] if meta["calibrated"] else [])]
    for name in wanted:
        if not (folder / name).is_file():
            raise InputError(
                f"{folder} lacks {name}, with which it was saved; {_REMEDY}"
            )
    return Head(folder, meta)


def read_tensors(head: Head) -> dict[str, np.ndarray]:
    """The parameters by their paths, if they are those that were saved.

    Raises:
        InputError: they are not, or cannot be read.
    """
    data = documents.read_bytes(head.weights, _REMEDY, _MOST_BYTES)
    if of_bytes(data) != head.meta["files"][WEIGHTS]:
        raise InputError(
            f"{head.weights} is damaged (it is not what was saved with {CONFIG}); "
            f"{_REMEDY}"
        )
    try:
        return load(data)
    except SafetensorError as error:
        raise InputError(
            f"{head.weights} cannot be read ({error}); {_REMEDY}"
        ) from None


def arrange(head: Head, tensors: Mapping[str, np.ndarray], method: Method) -> Params:
    """The parameters as a method has them.

    Raises:
        InputError: they are another architecture's, or not what was trained.
    """
    abstract = method.abstract_params
    compare(describe(dict(tensors)), describe(abstract), head.folder)
    # In the order of the tree's leaves.
    leaves = [tensors[key] for key in describe(abstract)]
    params = jax.tree.unflatten(jax.tree.structure(abstract), leaves)
    if digest_of(params) != head.meta["digests"]["params"]:
        raise InputError(
            f"{head.weights} holds other parameters than were trained; {_REMEDY}"
        )
    return params
