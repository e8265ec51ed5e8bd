"""8-bit integers: OpenVINO's model quantized on pictures, kept if it says the same.

NNCF's post-training quantization [1] with its settings for transformers but without
SmoothQuant: products with weights in 8 bits, and float32 for what attention multiplies,
softmax, normalisation and the reading of pixels.

[1] Kozlov et al., "Neural Network Compression Framework for fast model inference", 2020
"""

import contextlib
import importlib.util
import io
import logging
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from data_pipelines.digests import of_file
from data_pipelines.pictures import Reading
from data_pipelines.transforms import read_image
from kanoclip_jax.engine.export.description import inside, into_openvino
from kanoclip_jax.engine.export.formats import (
    IR,
    Run,
    load_openvino,
    write_openvino,
)
from kanoclip_jax.engine.export.program import INPUTS, Program
from kanoclip_jax.engine.export.runtimes import import_openvino
from kanoclip_jax.engine.prediction.inputs import find_inputs
from kanoclip_jax.errors import InputError
from kanoclip_jax.verdict import is_above

IR_INT8 = "model-int8.xml"
# Fewer say little of what activations are like; NNCF looks at no more than 300.
_FEWEST, _MOST = 10, 300

Scores = Float[np.ndarray, " b"]
Classes = Int[np.ndarray, " b"]


class Drift(NamedTuple):
    """How far a model's answers moved, on pictures that it was not calibrated on.

    Attributes:
        maps: the largest difference of any pixel,
        mean: and the mean one.
        scores: the largest difference of any score.
        order: the share of pairs of a class's pictures that change places by score.
            AUROC moves by no more than the share of those of a normal and an anomalous
            one, whatever part of [0, 1] the scores lie in.
        turned: the share of verdicts that are others; None where there are no
            thresholds.
        pictures: how many were compared.
        time: a batch's, as a share of float32's, on this machine. No bound is on it:
            another processor has another.
    """

    maps: float
    mean: float
    scores: float
    order: float
    turned: float | None
    pictures: int
    time: float

    @property
    def excess(self) -> list[str]:
        """What lies outside its bounds, with them; empty where nothing does."""
        return [
            f"{_WORDS[key]} by {getattr(self, key):.2g} (allowed is {most:g})"
            for key, most in BOUNDS.items()
            if getattr(self, key) is not None and not getattr(self, key) <= most
        ]

    def __str__(self) -> str:
        turned = "no thresholds, so no verdicts were compared"
        if self.turned is not None:
            turned = f"{self.turned:.1%} of verdicts turned"
        return (
            f"maps within {self.maps:.2g} (mean {self.mean:.2g}), scores within "
            f"{self.scores:.2g} of float32's, {self.order:.1%} of pairs in another order, "
            f"{turned} ({self.pictures} pictures); {self.time:.2f} of float32's time here"
        )


# Absolute, of what lies in [0, 1]; `order` and `turned` are shares.
BOUNDS = {"maps": 0.15, "mean": 0.01, "scores": 0.05, "order": 0.05, "turned": 0.05}
_WORDS = {
    "maps": "a map's pixel",
    "mean": "maps in the mean",
    "scores": "a score",
    "order": "the order of scores (pairs, a share)",
    "turned": "verdicts (a share)",
}


def find_pictures(
    given: str, size: int, reading: Reading
) -> UInt8[np.ndarray, "b s s 3"]:
    """The pictures to quantize on, and to compare on.

    Args:
        given: as `find_inputs` takes them.
        size: of the model.
        reading: what the numbers of pictures mean.

    Raises:
        InputError, DataError: there are too few, one cannot be read, or packages are
            missing.
    """
    missing = [n for n in ("nncf", "openvino") if not importlib.util.find_spec(n)]
    if missing:
        raise InputError(
            f"export.int8 needs {', '.join(missing)}: pip install 'kanoclip-jax[int8]'"
        )
    paths = find_inputs(given, key="export.int8")
    if len(paths) < _FEWEST:
        raise InputError(
            f"export.int8 {given!r} names {len(paths)} pictures; allowed are {_FEWEST} "
            "and more, normal and anomalous ones of what the model will see"
        )
    # Evenly from all of a folder.
    rows = np.unique(np.linspace(0, len(paths) - 1, min(len(paths), _MOST)).astype(int))
    return np.stack([read_image(paths[row], size, reading)[0] for row in rows])


def export_int8(
    program: Program,
    images: UInt8[np.ndarray, "b s s 3"],
    folder: Path,
    manifest: Mapping[str, Any],
) -> tuple[dict[str, Any] | None, Drift]:
    """Write `model-int8.xml` and `model-int8.bin`, and compare them with float32.

    Every second picture is what it is quantized on, the others what it is compared on.

    Args:
        program: what is exported.
        images: see `find_pictures`.
        folder: to write to, which may hold the float32 model.
        manifest: of the export.

    Returns:
        What the manifest says of it, None where it moved too far and nothing is kept;
        and how far it moved.
    """
    batch_size = manifest["batch_size"]
    with tempfile.TemporaryDirectory(dir=folder) as passing:
        source = folder
        if not (folder / IR).is_file():
            source = Path(passing)
            write_openvino(program, source, batch_size)
        classes = np.arange(len(images), dtype=np.int32) % len(program.class_names)
        _quantize(source, folder, images[::2], classes[::2], manifest)
        rest = Pictures(images[1::2], classes[1::2], batch_size or 1)
        drift = compare(source, folder, rest, manifest)
    files = [folder / IR_INT8, (folder / IR_INT8).with_suffix(".bin")]
    if drift.excess:
        for file in files:
            file.unlink()
        return None, drift
    said = {"drift": drift._asdict(), "bounds": BOUNDS}
    return {"files": {file.name: of_file(file) for file in files}} | said, drift


class Pictures(NamedTuple):
    """Squares, the class that each passes for, and how many pass at once."""

    images: UInt8[np.ndarray, "b s s 3"]
    classes: Classes
    batch_size: int

    def batches(self) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """The rows of each batch, the last one filled up with the first rows."""
        for start in range(0, len(self.images), self.batch_size):
            rows = np.arange(start, start + self.batch_size) % len(self.images)
            yield (
                slice(start, min(start + self.batch_size, len(self.images))),
                self.images[rows],
                self.classes[rows],
            )


def compare(
    source: Path, folder: Path, given: Pictures, manifest: Mapping[str, Any]
) -> Drift:
    """How far the model of a folder is from the float32 one of another."""
    exact, ours = load_openvino(source), load_openvino(folder, file=IR_INT8)
    maps = mean = 0.0
    before, after = np.zeros((2, len(given.images)), np.float32)
    times = []
    for rows, *batch in given.batches():
        count = rows.stop - rows.start
        expected, one = _timed(exact, *batch)
        found, other = _timed(ours, *batch)
        times.append(other / one)
        apart = np.abs(found[0][:count] - expected[0][:count])
        # NaN is larger than whatever is allowed.
        maps = max(maps, float(np.nan_to_num(apart, nan=np.inf).max()))
        mean += float(apart.mean()) * count / len(given.images)
        before[rows], after[rows] = expected[1][:count], found[1][:count]
    moved = np.nan_to_num(np.abs(after - before), nan=np.inf)
    return Drift(
        maps=maps,
        mean=mean,
        scores=float(moved.max()),
        order=_reordered(before, after, given.classes),
        turned=_turned(before, after, given.classes, manifest),
        pictures=len(given.images),
        time=float(np.median(times)),
    )


def _timed(run: Run, *batch: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], float]:
    started = time.perf_counter()
    return run(*batch), time.perf_counter() - started


def _reordered(before: Scores, after: Scores, classes: Classes) -> float:
    """The share of pairs within a class whose scores changed places."""
    one, other = np.triu_indices(len(before), 1)
    same = classes[one] == classes[other]
    one, other = one[same], other[same]
    signs = [np.sign(scores[one] - scores[other]) for scores in (before, after)]
    return float(np.mean(signs[0] != signs[1])) if len(one) else 0.0


def _turned(
    before: Scores, after: Scores, classes: Classes, manifest: Mapping[str, Any]
) -> float | None:
    """The share of verdicts that changed, of the classes that have thresholds."""
    limits = [
        manifest["thresholds"].get(name, {}).get("image")
        for name in manifest["class_names"]
    ]
    turned = [
        is_above(one, limits[index]) != is_above(other, limits[index])
        for one, other, index in zip(before, after, classes, strict=True)
        if limits[index] is not None
    ]
    return float(np.mean(turned)) if turned else None


def _quantize(
    source: Path,
    folder: Path,
    images: np.ndarray,
    classes: np.ndarray,
    manifest: Mapping[str, Any],
) -> None:
    openvino = import_openvino()
    with _quiet():
        import nncf
        from nncf.quantization.advanced_parameters import (
            AdvancedQuantizationParameters,
            AdvancedSmoothQuantParameters,
            OverflowFix,
        )

        model = openvino.Core().read_model(source / IR)
        names = [one.any_name for one in model.inputs]
        batches = Pictures(images, classes, manifest["batch_size"] or 1).batches()
        feeds = [dict(zip(INPUTS, given)) for _, *given in batches]
        data = nncf.Dataset([{name: feed[name] for name in names} for feed in feeds])
        made = nncf.quantize(
            model,
            data,
            subset_size=len(feeds),
            model_type=nncf.ModelType.TRANSFORMER,
            # What reads pixels is a hundredth of the work, and rounding there moved
            # maps most.
            ignored_scope=nncf.IgnoredScope(types=["Convolution"], validate=False),
            advanced_parameters=AdvancedQuantizationParameters(
                # Processors without VNNI add pairs of products in 16 bits, which 8-bit
                # weights could overflow; a bit less of each cost more than that did.
                overflow_fix=OverflowFix.DISABLE,
                # It fits every channel to the largest value that these pictures have,
                # and cuts off what is larger in others.
                smooth_quant_alphas=AdvancedSmoothQuantParameters(matmul=-1),
            ),
        )
    into_openvino(made, inside(manifest, "int8"))
    openvino.save_model(made, folder / IR_INT8, compress_to_fp16=False)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence NNCF's log and its bars of progress, which go to stdout."""
    logging.getLogger("nncf").setLevel(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()):
        yield
