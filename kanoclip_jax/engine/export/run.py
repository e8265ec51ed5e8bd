"""The command: write each format, run it again, compare, and only then keep it."""

import contextlib
import json
import math
import shutil
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import UInt8
from ml_collections import ConfigDict, FrozenConfigDict

from data_pipelines.digests import of_file, seal
from data_pipelines.names import canonical
from kanoclip_jax import documents
from kanoclip_jax.engine import shapes
from kanoclip_jax.engine.export.agreement import (
    TOLERANCE,
    Agreement,
    Sample,
    compare,
    take_sample,
)
from kanoclip_jax.engine.export.contents import MANIFEST
from kanoclip_jax.engine.export.description import describe, inside
from kanoclip_jax.engine.export.formats import FORMATS, check_formats
from kanoclip_jax.engine.export.program import Program, make_program
from kanoclip_jax.engine.export.quantized import export_int8, find_pictures
from kanoclip_jax.engine.export.runtimes import INT8
from kanoclip_jax.engine.export.serving import check_serving, lay_out
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


def main(
    config: FrozenConfigDict, workdir: Path, overrides: frozenset[str] = frozenset()
) -> int:
    """Export the checkpoint to `WORKDIR/export`; returns 1 where a part is not kept."""
    export = config.export
    check_formats(export.formats)
    if export.serving:
        check_serving(export.formats)
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
    images = None
    if export.int8:
        size, reading = program.image_size, reading_of(trained.config)
        images = find_pictures(export.int8, size, reading)
    limits = _thresholds(program.class_names, calibrations, config)
    manifest = describe(
        trained,
        program,
        export.batch_size or None,
        limits,
        {name: found.scale for name, found in calibrations.items() if found.scale},
        [p for name in export.formats for p in FORMATS[name].packages]
        + ["nncf", "openvino"] * bool(export.int8),
    )
    refused = _write(config.export, program, Given(sample, images), workdir, manifest)
    for name in program.class_names:
        if name not in limits:
            print(f"no thresholds for {name!r}: see --mode=calibrate")
    print(f"exported: {workdir / 'export'} ({', '.join(program.class_names)})")
    if refused:
        print(f"error: {refused}", file=sys.stderr)
    return 1 if refused else 0


class Given(NamedTuple):
    """Pictures: with JAX's answers, and to quantize on where that is asked for."""

    sample: Sample
    images: UInt8[np.ndarray, "b s s 3"] | None


def _prepare(trained: Trained, calibrated: tuple[str, ...]) -> tuple[Program, Sample]:
    """What is exported, and what JAX says of a few pictures."""
    export = trained.config.export
    given = export.class_names or calibrated or ("object",)
    # As the detector has them: two spellings of a name make the same prompts.
    names = tuple(dict.fromkeys(map(canonical, given)))
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
    export: Any,
    program: Program,
    given: Given,
    workdir: Path,
    manifest: dict[str, Any],
) -> str:
    """Write the formats, the manifest and the runner beside their place, then into it.

    Returns:
        Why 8-bit integers are left out; empty where they were not asked for, or kept.

    Raises:
        InputError: a format says something else than JAX, or the folder cannot be
            written to.
    """
    partial = workdir / "export.partial"
    refused = ""
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        manifest["formats"] = {
            name: _export(name, program, given.sample, manifest, partial)
            for name in export.formats
        }
        if given.images is not None:
            refused = _quantize(program, given.images, manifest, partial)
        if export.serving:
            manifest["serving"] = lay_out(partial, manifest)
        (partial / "runner.py").write_text(standalone(), encoding="utf-8")
        _keep(partial, workdir / "export", manifest)
    except OSError as error:
        raise InputError(
            f"{partial} cannot be written ({reason(error)}); pass another --workdir"
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return refused


def _quantize(
    program: Program, images: np.ndarray, manifest: dict[str, Any], folder: Path
) -> str:
    """Add 8-bit integers to the formats; returns why they are left out, if they are."""
    print(f"{INT8}: quantizing on {len(images[::2])} pictures …", flush=True)
    entry, drift = export_int8(program, images, folder, manifest)
    print(f"{INT8}: {drift}")
    if entry:
        manifest["formats"][INT8] = entry
        return ""
    return (
        f"{INT8} moves {', '.join(drift.excess)}, so it is not kept; the rest is. Name "
        "more pictures like those to come with --config.export.int8, or leave it out"
    )


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
    name: str,
    program: Program,
    sample: Sample,
    manifest: Mapping[str, Any],
    folder: Path,
) -> dict[str, Any]:
    """Write one format and compare it; returns what the manifest says of it.

    Raises:
        InputError: what was written says something else than JAX.
    """
    format_, batch_size = FORMATS[name], manifest["batch_size"]
    print(f"{name}: writing …", flush=True)
    before = set(folder.iterdir())
    started = time.monotonic()
    format_.write(program, folder, batch_size, inside(manifest))
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


def _keep(partial: Path, folder: Path, manifest: Mapping[str, Any]) -> None:
    """Move what is complete into its folder, the manifest last.

    What an earlier export left there goes; other people's files stay.
    """
    folder.mkdir(exist_ok=True)
    old = folder / MANIFEST
    sealed = seal({**manifest, "runner": of_file(partial / "runner.py")})
    (partial / MANIFEST).write_text(
        json.dumps(sealed, indent=2) + "\n", encoding="utf-8"
    )
    stale = _stale(old)
    # Without a manifest a folder is no export, so that no half of one is taken for it.
    old.unlink(missing_ok=True)
    _remove(folder, stale)
    files = [path for path in partial.rglob("*") if path.is_file()]
    for file in sorted(files, key=lambda file: file == partial / MANIFEST):
        target = folder / file.relative_to(partial)
        target.parent.mkdir(parents=True, exist_ok=True)
        file.replace(target)


def _remove(folder: Path, names: Iterable[str]) -> None:
    """Remove files, and the folders that held nothing else.

    A folder without its model, which servers take for one, keeps Triton from starting.
    """
    inner = [Path(name) for name in names]
    for path in inner:
        if (folder / path).is_file():
            (folder / path).unlink()
    parents = {parent for path in inner for parent in path.parents} - {Path()}
    for parent in sorted(parents, key=lambda path: -len(path.parts)):
        with contextlib.suppress(OSError):
            (folder / parent).rmdir()


def _stale(manifest: Path) -> set[str]:
    """The files of an earlier export, relative to its folder, and none outside."""
    try:
        said = documents.read(manifest, shapes.FORMATS, "")
    except InputError:
        return set()
    files = {
        Path(name).name for one in said["formats"].values() for name in one["files"]
    }
    served = said.get("serving", {}).get("files", [])
    inner = (Path(name) for name in served)
    return files | {
        str(path) for path in inner if not path.is_absolute() and ".." not in path.parts
    }
