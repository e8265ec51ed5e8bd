"""The command: write each format, run it again, compare, and only then keep it."""

import dataclasses
import datetime
import importlib.metadata
import json
import math
import platform
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict, FrozenConfigDict

from data_pipelines.digests import of_file, seal
from data_pipelines.names import canonical, printable, readable
from kanoclip_jax import documents
from kanoclip_jax.engine import shapes
from kanoclip_jax.engine.export.agreement import (
    TOLERANCE,
    Agreement,
    Sample,
    compare,
    take_sample,
)
from kanoclip_jax.engine.export.formats import FORMATS, check_formats
from kanoclip_jax.engine.export.program import INPUTS, OUTPUTS, Program, make_program
from kanoclip_jax.engine.export.standalone import standalone
from kanoclip_jax.engine.prediction.calibration import Calibration, find_calibrations
from kanoclip_jax.engine.prediction.own import read_own
from kanoclip_jax.engine.restore import Trained, load_trained
from kanoclip_jax.engine.settings import reading_of
from kanoclip_jax.engine.sharding import Devices
from kanoclip_jax.engine.step import Inference
from kanoclip_jax.engine.workdir import Workdir
from kanoclip_jax.errors import InputError
from kanoclip_jax.files import reason
from kanoclip_jax.verdict import Thresholds

MANIFEST = "manifest.json"
# 2: pictures are read as the manifest says.
_VERSION = 2
_PACKAGES = ("kanoclip-jax", "jax", "jaxlib", "flax", "transformers", "numpy", "Pillow")


def main(
    config: FrozenConfigDict, workdir: Path, overrides: frozenset[str] = frozenset()
) -> int:
    """Export the checkpoint to `WORKDIR/export`."""
    names = config.export.formats
    check_formats(names)
    if "clip.dtype" in overrides and config.clip.dtype == "bfloat16":
        raise InputError(
            "clip.dtype is 'bfloat16'; exported models are float32, and OpenVINO "
            "computes in bfloat16 where its runner is told to: leave the setting out"
        )
    # An accelerator's default rounds products to half precision.
    with jax.default_matmul_precision("float32"):
        trained = load_trained(
            _in_float32(config), Workdir(workdir), overrides | {"clip.dtype"}
        )
        calibrations = _calibrations(trained, workdir)
        calibrated = tuple(found.class_name for found in calibrations.values())
        program, sample = _prepare(trained, calibrated)
    limits = _thresholds(program.class_names, calibrations, config)
    manifest = _describe(trained, program, config.export.batch_size or None, limits)
    _write(names, program, sample, workdir, manifest)
    for name in program.class_names:
        if name not in limits:
            print(f"no thresholds for {name!r}: see --mode=calibrate")
    print(f"exported: {workdir / 'export'} ({', '.join(program.class_names)})")
    return 0


def _prepare(trained: Trained, calibrated: tuple[str, ...]) -> tuple[Program, Sample]:
    """What is exported, and what JAX says of a few pictures."""
    export = trained.config.export
    given = export.class_names or calibrated or ("object",)
    names = tuple(distinct(given).values())
    method, params = trained.method, trained.params
    inference = Inference(method, Devices(1, "batch_size"), params)
    program = make_program(method, params, inference, names)
    return program, take_sample(
        inference,
        names,
        export.input,
        method.image_size,
        reading_of(trained.config),
    )


def distinct(names: Iterable[str]) -> dict[str, str]:
    """Class names as prompts have them, by what makes two the same; those are told."""
    found: dict[str, str] = {}
    for name in names:
        first = found.setdefault(canonical(name), readable(name))
        if first != readable(name):
            print(
                f"{printable(readable(name))!r} and {printable(first)!r} make the same "
                "prompts: exported is the latter alone, and answers to both"
            )
    return found


def _thresholds(
    names: Iterable[str],
    calibrations: Mapping[str, Calibration],
    config: FrozenConfigDict,
) -> dict[str, Thresholds]:
    """Those of each class that has some: given ones, else calibrated."""
    own = read_own(config)
    found = {}
    for name in names:
        calibration = calibrations.get(canonical(name))
        if limits := own.over(calibration.thresholds if calibration else None):
            found[name] = limits
    return found


def _write(
    names: tuple[str, ...],
    program: Program,
    sample: Sample,
    workdir: Path,
    manifest: dict[str, Any],
) -> None:
    """Write the formats, the manifest and the runner beside their place, then into it.

    Raises:
        InputError: a format says something else than JAX, or the folder cannot be
            written to.
    """
    partial = workdir / "export.partial"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        manifest["formats"] = {
            name: _export(name, program, sample, manifest["batch_size"], partial)
            for name in names
        }
        manifest["versions"] = _versions(names)
        (partial / "runner.py").write_text(standalone(), encoding="utf-8")
        _keep(partial, workdir / "export", manifest)
    except OSError as error:
        raise InputError(
            f"{partial} cannot be written ({reason(error)}); pass another --workdir"
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _in_float32(config: FrozenConfigDict) -> FrozenConfigDict:
    changed = ConfigDict(config)
    changed.clip.dtype = "float32"
    return FrozenConfigDict(changed)


def _calibrations(trained: Trained, workdir: Path) -> dict[str, Calibration]:
    beside = trained.checkpoint.parent if trained.checkpoint else None
    return {
        canonical(found.class_name): found
        for found in find_calibrations(
            trained.config.predict.calibration,
            (workdir, beside),
            trained.identity(trained.config.predict.tiles),
        )
    }


def _export(
    name: str, program: Program, sample: Sample, batch_size: int | None, folder: Path
) -> dict[str, Any]:
    """Write one format and compare it; returns what the manifest says of it.

    Raises:
        InputError: what was written says something else than JAX.
    """
    format_ = FORMATS[name]
    print(f"{name}: writing …", flush=True)
    before = set(folder.iterdir())
    started = time.monotonic()
    format_.write(program, folder, batch_size)
    files = sorted(set(folder.iterdir()) - before)
    took = time.monotonic() - started
    size = sum(file.stat().st_size for file in files) / 2**20
    print(f"{name}: {size:.0f} MB in {took:.0f} s; comparing with JAX …", flush=True)
    found = compare(format_.load(folder), sample, batch_size)
    if not found:
        apart = max(found.maps, found.scores)
        differs = (
            f"differs from JAX by {apart:.2g} (relative; allowed is {TOLERANCE:.0e})"
        )
        if not math.isfinite(apart):
            differs = "gives what is no map or no score, such as NaN"
        raise InputError(
            f"{name} {differs}, so nothing is kept; update the packages of "
            "the extra `export`, or leave it out of --config.export.formats"
        )
    print(_say(name, found))
    return {
        "files": {file.name: of_file(file) for file in files},
        "agreement": found._asdict() | {"tolerance": TOLERANCE},
    }


def _say(name: str, found: Agreement) -> str:
    return (
        f"{name}: maps within {found.maps:.1e}, scores within {found.scores:.1e} of "
        f"JAX's (relative, {found.pictures} pictures)"
    )


def _describe(
    trained: Trained,
    program: Program,
    batch_size: int | None,
    limits: Mapping[str, Thresholds],
) -> dict[str, Any]:
    """What the manifest says of the model, whatever its format."""
    side = program.image_size
    batch = batch_size or "batch"
    return {
        "v": _VERSION,
        "created": datetime.date.today().isoformat(),
        "image_size": side,
        "patch_px": trained.method.clip.patch,
        "tiles": trained.config.predict.tiles,
        "batch_size": batch_size,
        "class_names": list(program.class_names),
        "thresholds": {
            name: thresholds._asdict() for name, thresholds in limits.items()
        },
        "inputs": dict(
            zip(
                INPUTS, (["uint8", batch, side, side, 3], ["int32", batch]), strict=True
            )
        ),
        "outputs": dict(
            zip(
                OUTPUTS,
                (["float32", batch, side, side], ["float32", batch]),
                strict=True,
            )
        ),
        "checkpoint": str(trained.checkpoint) if trained.checkpoint else None,
        "clip": trained.method.clip.name,
        "identity": trained.identity(trained.config.predict.tiles),
        # What the runner reads pictures with, unless it is told otherwise.
        "reading": dataclasses.asdict(reading_of(trained.config)),
    }


def _versions(names: tuple[str, ...]) -> dict[str, str]:
    packages = [*_PACKAGES, *(p for name in names for p in FORMATS[name].packages)]
    return {"python": platform.python_version()} | {
        package: importlib.metadata.version(package)
        for package in dict.fromkeys(packages)
    }


def _keep(partial: Path, folder: Path, manifest: Mapping[str, Any]) -> None:
    """Move what is complete into its folder, the manifest last.

    What an earlier export left there goes; other people's files stay.
    """
    folder.mkdir(exist_ok=True)
    old = folder / MANIFEST
    try:
        formats = documents.read(old, shapes.FORMATS, "")["formats"]
        stale = {file for entry in formats.values() for file in entry["files"]}
    except InputError:
        stale = set()
    sealed = seal({**manifest, "runner": of_file(partial / "runner.py")})
    (partial / MANIFEST).write_text(
        json.dumps(sealed, indent=2) + "\n", encoding="utf-8"
    )
    # Without a manifest a folder is no export, so that no half of one is taken for it.
    old.unlink(missing_ok=True)
    for name in stale:
        file = folder / Path(name).name
        if file.is_file():
            file.unlink()
    for file in sorted(partial.iterdir(), key=lambda file: file.name == MANIFEST):
        file.replace(folder / file.name)
