"""What an export says of its model: in its manifest, and inside each of its files."""

import dataclasses
import datetime
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from data_pipelines.digests import seal
from data_pipelines.names import canonical
from kanoclip_jax.engine import circumstances
from kanoclip_jax.engine.export.program import INPUTS, OUTPUTS, Program
from kanoclip_jax.engine.export.runtimes import DOCUMENT, SECTION
from kanoclip_jax.engine.pretrained import public
from kanoclip_jax.engine.restore import Trained
from kanoclip_jax.engine.settings import reading_of
from kanoclip_jax.verdict import Thresholds

# 2: pictures are read as the manifest says.
_VERSION = 2
_PACKAGES = ("jax", "jaxlib", "flax", "transformers", "numpy", "Pillow")
# Of the exporting machine alone.
_NOT_INSIDE = ("checkpoint", "formats", "runner")


class Inside(NamedTuple):
    """What stands in a model's file.

    Attributes:
        document: all that the runner needs, as sealed JSON.
        plain: the same in short, key by key, for other tools and eyes.
    """

    document: str
    plain: dict[str, str]


def describe(
    trained: Trained,
    program: Program,
    batch_size: int | None,
    limits: Mapping[str, Thresholds],
    scales: Mapping[str, Sequence[float]],
    packages: Iterable[str],
) -> dict[str, Any]:
    """What the manifest says of the model, whatever its format.

    Args:
        trained: where it comes from.
        program: what is exported.
        batch_size: the only one that it takes; any where None.
        limits: of classes, by name.
        scales: where the colours of their pictures begin and end, by canonical name.
        packages: what writes the formats.
    """
    side = program.image_size
    batch = batch_size or "batch"
    types = (["uint8", batch, side, side, 3], ["int32", batch])
    found = (["float32", batch, side, side], ["float32", batch])
    tiles = trained.config.predict.tiles
    return {
        "v": _VERSION,
        "created": datetime.date.today().isoformat(),
        "method": trained.config.method,
        "image_size": side,
        "patch_px": trained.method.clip.patch,
        "tiles": tiles,
        "batch_size": batch_size,
        "class_names": list(program.class_names),
        "thresholds": {
            name: thresholds._asdict() for name, thresholds in limits.items()
        },
        "scales": {
            name: scales[canonical(name)]
            for name in program.class_names
            if canonical(name) in scales
        },
        "inputs": {
            name: type_
            for name, type_ in zip(INPUTS, types, strict=True)
            if name in program.inputs
        },
        "outputs": dict(zip(OUTPUTS, found, strict=True)),
        "checkpoint": str(trained.checkpoint) if trained.checkpoint else None,
        "clip": trained.method.clip.name,
        "identity": trained.identity(tiles),
        # What the runner reads pictures with, unless it is told otherwise.
        "reading": dataclasses.asdict(reading_of(trained.config)),
        "versions": circumstances.versions((*_PACKAGES, *packages)),
    }


def inside(manifest: Mapping[str, Any], precision: str = "float32") -> Inside:
    """What of a manifest stands in a model's file."""
    content = {key: value for key, value in manifest.items() if key not in _NOT_INSIDE}
    if "clip" in content:
        content["clip"] = public.place(content["clip"])
    plain = {
        "method": manifest["method"],
        "class_names": json.dumps(manifest["class_names"]),
        "image_size": str(manifest["image_size"]),
        "precision": precision,
        "created": manifest["created"],
        "version": manifest["versions"][circumstances.PACKAGE],
        # OpenVINO Model API's words.
        "model_type": "AnomalyDetection",
        "task": "segmentation",
        "labels": "Normal Anomaly",
    }
    limits = list(manifest["thresholds"].values())
    if len(manifest["class_names"]) == len(limits) == 1:
        plain["image_threshold"] = repr(limits[0]["image"])
        plain["pixel_threshold"] = repr(limits[0]["pixel"])
    return Inside(json.dumps(seal({**content, "precision": precision})), plain)


def into_onnx(model: Any, said: Inside) -> None:
    """Write it into an ONNX model's `metadata_props`."""
    del model.metadata_props[:]
    for key, value in (said.plain | {DOCUMENT: said.document}).items():
        model.metadata_props.add(key=key, value=value)


def into_openvino(model: Any, said: Inside) -> None:
    """Write it into an OpenVINO model's `rt_info`, where Model API looks."""
    if "framework" in model.rt_info:
        # What OpenVINO took over from ONNX, the same once more.
        del model.rt_info["framework"]
    for key, value in (said.plain | {DOCUMENT: said.document}).items():
        model.set_rt_info(value, [SECTION, key])
