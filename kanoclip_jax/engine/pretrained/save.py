"""Saving a head: what it learned and what it needs to be what it was, in a folder."""

import dataclasses
import datetime
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import FrozenConfigDict
from safetensors.numpy import save as to_safetensors

from data_pipelines.digests import of_bytes, seal
from data_pipelines.names import canonical
from kanoclip_jax.engine import circumstances
from kanoclip_jax.engine.checkpoint import describe, digest_of
from kanoclip_jax.engine.prediction import calibration
from kanoclip_jax.engine.prediction.calibration import Calibration
from kanoclip_jax.engine.prediction.tiles import NEVER
from kanoclip_jax.engine.pretrained import card, public
from kanoclip_jax.engine.pretrained.folder import (
    CALIBRATION,
    CARD,
    CONFIG,
    FORMAT,
    LIBRARY,
    REPORT,
    WEIGHTS,
    is_ours,
    is_ours_too,
    read_head,
)
from kanoclip_jax.engine.provenance import backbone_files
from kanoclip_jax.engine.restore import Trained, load_trained
from kanoclip_jax.engine.settings import reading_of, to_dict
from kanoclip_jax.engine.sharding import is_first
from kanoclip_jax.engine.workdir import Workdir
from kanoclip_jax.errors import InputError
from kanoclip_jax.files import reason, write_atomically

_PACKAGES = ("jax", "jaxlib", "flax", "transformers", "numpy")
# What a checkpoint says of its training, and a head goes on saying.
_FACTS = (
    "dataset",
    "classes",
    "seconds",
    "seed",
    "knowledge",
    "data",
    "train",
    "origin",
)
_ELSEWHERE = "name another folder for the head"
# Settings of a training that tell nothing of what was learned.
_INCIDENTAL = ("cache_features", "checkpoint_every", "log_every", "accumulate")


def main(
    config: FrozenConfigDict, workdir: Path, overrides: frozenset[str] = frozenset()
) -> int:
    """Save the checkpoint's head to `save.folder`, or `WORKDIR/pretrained`."""
    wanted = config.get("save", {})
    folder = Path(wanted.get("folder") or workdir / "pretrained").expanduser()
    trained = load_trained(config, Workdir(workdir), overrides)
    tiles = config.predict.get("tiles", NEVER)
    beside = trained.checkpoint.parent if trained.checkpoint else None
    found = calibration.find_calibrations(
        config.predict.calibration, (workdir, beside), trained.identity(tiles)
    )
    save_head(
        trained,
        folder,
        calibrations=found,
        tiles=tiles,
        licence=wanted.get("license", ""),
        reports=(workdir,),
    )
    print(f"saved: {folder} (load it with Detector.from_pretrained({str(folder)!r}))")
    return 0


def save_head(
    trained: Trained,
    folder: Path,
    *,
    calibrations: Sequence[Calibration] = (),
    tiles: str = NEVER,
    licence: str = "",
    reports: Iterable[Path] = (),
    published: bool = False,
) -> None:
    """Write a head, the file that says what belongs together last.

    Thresholds that lie there already and belong to it stay.

    Args:
        trained: the method with its parameters.
        folder: where to; made where it is missing.
        calibrations: thresholds of it.
        tiles: how it cuts pictures.
        licence: for the card; see `card.licence_of`.
        reports: folders where its report may lie besides that of its training.
        published: name no folder of this machine.

    Raises:
        InputError: the folder is of something else, or cannot be written to.
    """
    if not is_first():
        return
    _refuse_foreign(folder)
    tensors = _flat(trained.params)
    # One entry: safetensors writes several in an order that changes from save to save.
    weights = to_safetensors(tensors, {"library_name": LIBRARY})
    calibrations = _joined(calibrations, folder, trained.identity(tiles))
    meta = _describe(trained, tiles, calibrations, of_bytes(weights))
    report = _find_report(trained, reports)
    if report is not None:
        report = public.report(report, meta["origin"])
    if published:
        meta, calibrations = public.meta(meta), public.calibrations(calibrations)
    text = card.render(
        meta, report, calibrations, trained.method, name=folder.name, licence=licence
    )
    files = {
        WEIGHTS: weights,
        REPORT: report and _json(report),
        CALIBRATION: calibrations and calibration.to_document(calibrations),
        CARD: text.encode(),
        CONFIG: _json(meta),
    }
    try:
        for name, data in files.items():
            if data:
                write_atomically(folder / name, data)
            else:
                (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({reason(error)}); {_ELSEWHERE}"
        ) from None
    read_head(folder)


def _refuse_foreign(folder: Path) -> None:
    """What is not ours is not ours to replace: a model, a project's files, checkpoints."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is no folder; {_ELSEWHERE}")
    for name, ours in ((CONFIG, is_ours), (WEIGHTS, is_ours_too)):
        file = folder / name
        if file.exists() and not ours(file):
            raise InputError(f"{folder} holds a {name} of something else; {_ELSEWHERE}")
    if (folder / CONFIG).exists() or (folder / WEIGHTS).exists():
        return
    # Where there is no head, not even one that was cut short, these are of a project.
    for name in (CARD, REPORT):
        if (folder / name).exists():
            raise InputError(f"{folder} holds a {name} of something else; {_ELSEWHERE}")
    # The head would be taken for all of them, later ones too.
    if folder.is_dir() and any(child.name.isdecimal() for child in folder.iterdir()):
        raise InputError(f"{folder} holds the steps of a training; {_ELSEWHERE}")


def _flat(params: Any) -> dict[str, np.ndarray]:
    leaves = jax.tree.leaves(params)
    # Not ascontiguousarray, which makes a vector of a scalar.
    return {
        name: np.require(np.asarray(leaf), requirements="C")
        for name, leaf in zip(describe(params), leaves, strict=True)
    }


def _describe(
    trained: Trained, tiles: str, calibrations: Sequence[Calibration], weights: str
) -> dict[str, Any]:
    """What `config.json` says: a checkpoint's meta, and all that settings add to it."""
    method, reading = trained.method, reading_of(trained.config)
    settings = to_dict(trained.config)
    facts = {key: trained.meta[key] for key in _FACTS if key in trained.meta}
    train = trained.meta.get("config", {}).get("train", {})
    if train:
        facts["train"] = {k: v for k, v in train.items() if k not in _INCIDENTAL}
    facts.setdefault("origin", trained.checkpoint.name if trained.checkpoint else "")
    return {
        "library_name": LIBRARY,
        "format": FORMAT,
        "title": method.title,
        "parameters": sum(np.size(leaf) for leaf in jax.tree.leaves(trained.params)),
        "config": {
            "method": trained.config.method,
            # The method's own, since a checkpoint may lack settings that came later.
            "model": {
                field.name: getattr(method, field.name)
                for field in dataclasses.fields(method)
                if field.name not in method.backbones
            },
            **{name: _here(settings[name]) for name in method.backbones},
        },
        **method.backbone_identity(),
        "inputs": backbone_files(method),
        **facts,
        "tree": describe(trained.params),
        "digests": {"params": digest_of(trained.params)},
        "pictures": {
            "tiles": tiles,
            "value_range": reading.value_range,
            "orientation": reading.orientation,
        },
        "calibrated": [found.class_name for found in calibrations],
        "files": {WEIGHTS: weights},
        "saved": datetime.date.today().isoformat(),
        "saved_with": circumstances.versions(_PACKAGES),
    }


def _here(backbone: Mapping[str, Any]) -> dict[str, Any]:
    """A backbone's settings; the place of its files from any folder."""
    path = Path(backbone["name"]).expanduser()
    return {
        **backbone,
        "name": str(path.absolute()) if path.exists() else backbone["name"],
    }


def _joined(
    calibrations: Sequence[Calibration], folder: Path, identity: Mapping[str, Any]
) -> list[Calibration]:
    """These, and those in the folder that belong to the same head and other classes."""
    names = {canonical(found.class_name) for found in calibrations}
    file, there = folder / CALIBRATION, []
    if file.is_file():
        try:
            there = calibration.read_calibrations(file)
        except InputError as error:
            print(f"{error}; its thresholds are left out")
    kept = [
        found
        for found in there
        if canonical(found.class_name) not in names and not found.misfits(identity)
    ]
    return [*calibrations, *kept]


def _find_report(trained: Trained, folders: Iterable[Path]) -> dict[str, Any] | None:
    """The report of this very step, or None: in these folders, or beside it."""
    place = trained.checkpoint
    if place is None:
        return None
    own = place.parent if place.name == WEIGHTS else place.parent.parent
    for folder in (*folders, own):
        report = Workdir(folder).report()
        if report is None or report["method"] != trained.config.method:
            continue
        said = Path(report["checkpoint"] or "")
        # A run may have been moved since, and a head is alone in its folder.
        moved = folder == own and (place.name == WEIGHTS or said.name == place.name)
        same = report["clip"]["fingerprint"] == trained.method.clip.fingerprint
        if same and (moved or said == place):
            return report
    return None


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(seal(content), indent=2) + "\n").encode()
