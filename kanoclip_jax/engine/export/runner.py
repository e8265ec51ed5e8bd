"""The runner of an exported detector: one file that needs no JAX, to copy and import.

Python 3.9 or newer, numpy, Pillow (9.1 or newer), and OpenVINO or ONNX Runtime:

    pip install numpy Pillow openvino    # or onnxruntime

From Python, beside `manifest.json` and the model's files:

    from runner import Detector
    detector = Detector()
    found = detector.predict("photo.jpg", class_name="metal nut")
    found.score, found.label, found.boxes, found.anomaly_map

From the command line: `python runner.py photos/ --class-name="metal nut"`; `--help`
lists the options.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import dataclasses
import hashlib
import importlib
import importlib.util
import io
import itertools
import json
import os
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

try:
    import fcntl
except ImportError:
    # Windows: nothing keeps two commands from writing into one folder.
    fcntl = None
try:
    import numpy as np
    from PIL import Image, ImageOps
except ImportError as missing:
    _MISSING = f"{missing.name} is not installed; pip install numpy Pillow"
    if __name__ != "__main__":
        raise ImportError(_MISSING) from None
    print(f"error: {_MISSING}", file=sys.stderr)
    sys.exit(2)

MANIFEST = "manifest.json"
_VERSION = 1
_KEYS = {"image_size", "batch_size", "class_names", "thresholds", "formats"}
# The first that can be used is what `auto` takes.
BACKENDS = {"openvino": "openvino", "onnxruntime": "onnx"}
PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}


class InputError(ValueError):
    """An option, folder or model that cannot be used; the message says what to do."""


class DataError(ValueError):
    """A picture that cannot be read; the message says why."""


class Thresholds(NamedTuple):
    """What is above them is anomalous; what is equal to them is not.

    Attributes:
        image: of a picture's score.
        pixel: of a map's.
    """

    image: float
    pixel: float


class Region(NamedTuple):
    """A connected set of pixels above a threshold.

    Attributes:
        box: `(left, top, right, bottom)` in pixels, right and bottom exclusive, as
            Pillow's `crop` takes it.
        area: its pixels.
        score: its highest score.
    """

    box: tuple[int, int, int, int]
    area: int
    score: float


@dataclasses.dataclass(frozen=True, eq=False)
class Prediction:
    """What was found in one picture.

    Attributes:
        class_name: its name in prompts.
        score: how anomalous the picture is, in [0, 1]; taken from the map at the
            model's size.
        anomaly_map: float32 `[h, w]`, how anomalous each pixel is, in [0, 1], at the
            picture's own size.
        thresholds: those of the following, None where there are none: then these are
            None or empty.
        label: `anomalous` where the score is above its threshold, else `normal`.
        mask: bool `[h, w]`, pixels above theirs, whatever the label; small regions left
            out.
        regions: the connected regions of the mask, the highest score first.
    """

    class_name: str
    score: float
    anomaly_map: np.ndarray
    thresholds: Thresholds | None = None
    label: str | None = None
    mask: np.ndarray | None = None
    regions: tuple[Region, ...] = ()

    @property
    def boxes(self) -> tuple[tuple[int, int, int, int], ...]:
        """`(left, top, right, bottom)` of each region, right and bottom exclusive."""
        return tuple(region.box for region in self.regions)


class Detector:
    """Scores pictures; any number of threads may share one.

    Args:
        folder: of the export; the one that this file is in where None.
        backend: `openvino`, `onnxruntime`, or `auto`: the first of them that is
            installed and has its files here.
        precision: `float32`, or `bfloat16` with OpenVINO.
        batch_size: pictures that pass at once; a model that was exported for a fixed
            number takes that, and others 1, where None.
        min_area: regions of fewer pixels are left out.

    Attributes:
        backend: which runs.
        batch_size: pictures that pass at once.
        calibrated: the class names that have thresholds.
        class_names: those that the model knows.
        identity: what scores depend on besides the picture and its class name.

    Raises:
        InputError: no export is there, its files are damaged, a runtime is not
            installed, or a wrong option.
    """

    def __init__(
        self,
        folder: str | os.PathLike | None = None,
        *,
        backend: str = "auto",
        precision: str = "float32",
        batch_size: int | None = None,
        min_area: int = 1,
    ) -> None:
        folder = Path(__file__).parent if folder is None else Path(folder).expanduser()
        manifest, digest = _read_manifest(folder)
        self.class_names = tuple(map(_readable, manifest["class_names"]))
        self._thresholds = {
            _readable(name): Thresholds(found["image"], found["pixel"])
            for name, found in manifest["thresholds"].items()
        }
        self.calibrated = tuple(self._thresholds)
        self._size, self._fixed = manifest["image_size"], manifest["batch_size"]
        self.batch_size = (self._fixed or 1) if batch_size is None else batch_size
        if self.batch_size < 1 or self._fixed not in (None, self.batch_size):
            allowed = f"{self._fixed}, as exported" if self._fixed else "1 and above"
            raise InputError(f"batch_size is {batch_size}; allowed: {allowed}")
        self._min_area = min_area
        if precision not in PRECISIONS:
            raise InputError(
                f"precision is {precision!r}; allowed: {_list(PRECISIONS)}"
            )
        formats = manifest["formats"]
        self.backend = _choose_backend(backend, folder, formats)
        model = _check_files(folder, formats[BACKENDS[self.backend]]["files"])
        start = _start_openvino if self.backend == "openvino" else _start_onnxruntime
        self._run = start(model, precision)
        self.identity = {"model": digest, "backend": self.backend}
        self.identity["precision"] = precision

    def predict(
        self,
        images: Any,
        class_name: str | None = None,
        threshold: float | tuple[float, float] | None = None,
    ) -> Prediction | list[Prediction]:
        """Predict one picture, or a list or tuple of them.

        Args:
            images: paths, PIL images, or arrays: uint8 or uint16 `[h, w]`, uint8
                `[h, w, 3]` (RGB) or `[h, w, 4]`, whose alpha is dropped. EXIF
                orientation is applied.
            class_name: what the pictures show, one of `class_names`; may be None where
                there is only one.
            threshold: of images and pixels alike, or a pair of the two; the exported
                ones where None.

        Returns:
            One prediction, or a list in the order given.

        Raises:
            DataError: a picture cannot be read or is no picture.
            InputError: an unknown class, or a threshold outside [0, 1].
        """
        if isinstance(images, (list, tuple)):
            return list(self.stream(images, class_name, threshold))
        (found,) = self.stream([images], class_name, threshold)
        return found

    def stream(
        self,
        images: Iterable[Any],
        class_name: str | None = None,
        threshold: float | tuple[float, float] | None = None,
    ) -> Iterator[Prediction]:
        """As `predict`, for any number of pictures: few are in memory at a time."""
        limits = self.thresholds(class_name, threshold)
        pictures = enumerate(images)
        while group := list(itertools.islice(pictures, self.batch_size)):
            loaded = [self.load(picture, f"picture {n}") for n, picture in group]
            yield from self.detect(loaded, class_name, limits)

    def thresholds(
        self,
        class_name: str | None = None,
        threshold: float | Sequence[float] | None = None,
    ) -> Thresholds | None:
        """The thresholds for a class: those given, or its exported ones, or None."""
        name = self.class_names[self._index(class_name)]
        if threshold is None:
            return self._thresholds.get(name)
        both = np.asarray(threshold, np.float64).ravel()
        if both.size not in (1, 2) or not ((both >= 0) & (both <= 1)).all():
            raise InputError(
                f"threshold is {threshold}; allowed is a number in [0, 1], or a pair "
                "of them, of images and of pixels"
            )
        return Thresholds(float(both[0]), float(both[-1]))

    def load(self, picture: Any, name: str) -> tuple[np.ndarray, tuple[int, int]]:
        """A picture as the model takes it, and its own height and width.

        Args:
            picture: see `predict`.
            name: what it is called in messages where it has no path.
        """
        image = _open(picture, name)
        size = (self._size, self._size)
        squared = image.resize(size, Image.Resampling.BICUBIC)
        return np.array(squared), (image.height, image.width)

    def detect(
        self,
        loaded: Sequence[tuple[np.ndarray, tuple[int, int]]],
        class_name: str | None,
        limits: Thresholds | None,
    ) -> Iterator[Prediction]:
        """Predict what `load` gave, at most `batch_size` at once."""
        index = self._index(class_name)
        shape = (self._fixed or len(loaded), self._size, self._size, 3)
        pixels = np.zeros(shape, np.uint8)
        pixels[: len(loaded)] = [squared for squared, _ in loaded]
        indices = np.full(len(pixels), index, np.int32)
        maps, scores = self._run({"image": pixels, "class_index": indices})
        if np.isnan(maps).any() or np.isnan(scores).any():
            raise InputError(
                f"{self.backend} gave scores that are no numbers; try another backend, "
                "or precision float32"
            )
        for (_, size), model_map, score in zip(loaded, maps, scores):
            anomaly_map = resize_map(model_map, *size)
            found = Prediction(self.class_names[index], float(score), anomaly_map)
            if limits is not None:
                pixel = limits.pixel
                mask, regions = find_regions(anomaly_map, pixel, self._min_area)
                found = dataclasses.replace(
                    found,
                    thresholds=limits,
                    label="anomalous" if found.score > limits.image else "normal",
                    mask=mask,
                    regions=regions,
                )
            yield found

    def _index(self, class_name: str | None) -> int:
        if class_name is None and len(self.class_names) == 1:
            return 0
        if class_name is None or _readable(class_name) not in self.class_names:
            raise InputError(
                f"class_name is {class_name!r}; this model knows "
                f"{_list(self.class_names)}: name one of them"
            )
        return self.class_names.index(_readable(class_name))


def _readable(class_name: str) -> str:
    return class_name.replace("_", " ")


def _list(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))


def _read_manifest(folder: Path) -> tuple[dict[str, Any], str]:
    """The manifest, and the SHA-256 of its file."""
    file = folder / MANIFEST
    try:
        data = file.read_bytes()
        manifest = json.loads(data)
        if manifest["v"] != _VERSION:
            raise ValueError(f"version {manifest['v']}, not {_VERSION}")
        absent = _KEYS - manifest.keys()
        if absent:
            raise ValueError(f"without {_list(sorted(absent))}")
    except OSError as error:
        raise InputError(
            f"{file} cannot be read ({error.strerror}); name the folder of an export"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{file} is no manifest that this runner knows ({error}); use the "
            "runner.py that lies beside it, or export again"
        ) from None
    return manifest, hashlib.sha256(data).hexdigest()


def _choose_backend(given: str, folder: Path, formats: Mapping[str, Any]) -> str:
    if given not in ("auto", *BACKENDS):
        raise InputError(f"backend is {given!r}; allowed: {_list(('auto', *BACKENDS))}")
    if given != "auto":
        if BACKENDS[given] not in formats:
            raise InputError(
                f"backend is {given!r}, and {folder} holds {_list(formats)}; take "
                f"another, or export with {BACKENDS[given]}"
            )
        return given
    for backend, kind in BACKENDS.items():
        files = formats.get(kind, {"files": ()})["files"]
        there = files and all((folder / name).is_file() for name in files)
        if there and importlib.util.find_spec(backend):
            return backend
    usable = [backend for backend, kind in BACKENDS.items() if kind in formats]
    raise InputError(
        f"nothing that runs {folder} is installed, or its files are gone; "
        f"pip install {' or '.join(usable)}"
    )


def _check_files(folder: Path, files: Mapping[str, str]) -> Path:
    """Compare files with what was exported; returns the model's own."""
    for name, expected in files.items():
        digest = hashlib.sha256()
        try:
            with (folder / name).open("rb") as file:
                for block in iter(lambda: file.read(2**20), b""):
                    digest.update(block)
        except OSError as error:
            raise InputError(
                f"{folder / name} cannot be read ({error.strerror}); copy the export "
                "again, with all of its files"
            ) from None
        if digest.hexdigest() != expected:
            raise InputError(
                f"{folder / name} is not what was exported (its SHA-256 begins "
                f"{digest.hexdigest()[:12]}, not {expected[:12]}); copy the export again"
            )
    return folder / next(name for name in files if name.endswith((".onnx", ".xml")))


# From inputs by name to maps and scores.
_Run = Callable[[Mapping[str, np.ndarray]], Sequence[np.ndarray]]


def _start_openvino(model: Path, precision: str) -> _Run:
    # Its telemetry would report each load over the network, from a fork of this
    # process; where that package is not found OpenVINO does without.
    sys.modules.setdefault("openvino_telemetry", None)
    openvino = _runtime("openvino")
    core = openvino.Core()
    known = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision == "bfloat16" and "BF16" not in known:
        raise InputError(
            "precision is 'bfloat16', which this processor lacks; take 'float32'"
        )
    # Unless told, OpenVINO rounds to bfloat16 wherever the processor knows it.
    options = {"INFERENCE_PRECISION_HINT": PRECISIONS[precision]}
    with _loading(model, openvino):
        compiled = core.compile_model(core.read_model(str(model)), "CPU", options)
    # A request must not be shared between threads.
    own = threading.local()

    def run(inputs: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        if not hasattr(own, "request"):
            own.request = compiled.create_infer_request()
        found = own.request.infer(inputs)
        return found[0], found[1]

    return run


def _start_onnxruntime(model: Path, precision: str) -> _Run:
    if precision != "float32":
        raise InputError(
            f"precision is {precision!r}, and ONNX Runtime takes 'float32' alone; take "
            "that, or OpenVINO"
        )
    onnxruntime = _runtime("onnxruntime")
    with _loading(model, onnxruntime):
        session = onnxruntime.InferenceSession(
            str(model), providers=["CPUExecutionProvider"]
        )
    return lambda inputs: session.run(None, inputs)


def _runtime(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            f"{name} cannot be imported ({error}); pip install {name}"
        ) from None


@contextlib.contextmanager
def _loading(model: Path, runtime: Any) -> Iterator[None]:
    try:
        yield
    # Each runtime has exceptions of its own.
    except Exception as error:
        raise InputError(
            f"{model} cannot be loaded by {runtime.__name__} {runtime.__version__} "
            f"({_first_line(error)}); pip install --upgrade {runtime.__name__}"
        ) from error


# By content, whatever a file is called. Pillow knows more; some run Ghostscript.
_FORMATS = ("PNG", "JPEG", "BMP", "DIB", "TIFF", "WEBP", "GIF", "PPM")
_REPLACE = "replace or remove the file"


def _open(picture: Any, name: str) -> Image.Image:
    """An upright RGB image of what a user may give."""
    if isinstance(picture, (str, os.PathLike)):
        return read_photograph(Path(picture))
    if isinstance(picture, Image.Image):
        return _upright(picture, name)
    if not isinstance(picture, np.ndarray):
        raise DataError(
            f"{name} is a {type(picture).__name__}; allowed are paths, PIL images and "
            "numpy arrays"
        )
    deep = picture.dtype == np.uint16 and picture.ndim == 2
    channels = picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] in (3, 4))
    if not (deep or (picture.dtype == np.uint8 and channels)) or not picture.size:
        raise DataError(
            f"{name} is an array of {picture.dtype} and shape {picture.shape}; allowed "
            "are uint8 [h, w], [h, w, 3] (RGB) and [h, w, 4], and uint16 [h, w]"
        )
    return _upright(Image.fromarray(np.ascontiguousarray(picture)), name)


def read_photograph(path: Path) -> Image.Image:
    """Read a file as an upright RGB picture.

    Raises:
        DataError: it cannot be read or decoded.
    """
    try:
        mode = os.stat(path).st_mode
        # A pipe would be waited for, a device has no end; `open` judges folders.
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise DataError(f"{path} is not a regular file; {_REPLACE}")
        with open(path, "rb") as file:
            return _decode(file, path)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})") from error


def _decode(file: BinaryIO, path: Path) -> Image.Image:
    if not os.fstat(file.fileno()).st_size:
        raise DataError(f"{path} is empty (0 bytes); {_REPLACE}")
    try:
        image = Image.open(file, formats=_FORMATS)
        image.load()
    # Pillow's decoders raise nearly anything on damaged files.
    except Exception as error:
        raise _undecodable(str(path), error) from error
    if image.mode == "F":
        raise DataError(
            f"{path} holds floating-point pixels; allowed are 8- and 16-bit images: "
            "convert it"
        )
    return _upright(image, str(path))


def _upright(image: Image.Image, name: str) -> Image.Image:
    """A picture of any mode as an upright RGB one."""
    if image.mode == "F" or not image.width or not image.height:
        raise DataError(
            f"{name} is a picture of mode {image.mode} and {image.width}x"
            f"{image.height} px; allowed are 8- and 16-bit pictures of 1x1 px and above"
        )
    try:
        # Damaged EXIF data, on which Pillow raises nearly anything, turns nothing.
        with contextlib.suppress(Exception):
            image = ImageOps.exif_transpose(image)
        if image.mode == "I" or image.mode.startswith("I;16"):
            deep = np.asarray(image).astype(np.float64).clip(0, 65535)
            image = Image.fromarray(np.round(deep / 257).astype(np.uint8))
        return image.convert("RGB")
    # Pillow decodes at first use.
    except Exception as error:
        raise _undecodable(name, error) from error


def _undecodable(name: str, error: Exception) -> DataError:
    # Pillow's «cannot identify» names a memory address.
    unknown = isinstance(error, Image.UnidentifiedImageError)
    reason = "not an image" if unknown else _first_line(error)
    return DataError(f"{name} cannot be decoded ({reason}); {_REPLACE}")


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def resize_map(anomaly_map: np.ndarray, height: int, width: int) -> np.ndarray:
    """A map of the model's size at a picture's own, by PIL's bilinear filter."""
    image = Image.fromarray(np.asarray(anomaly_map))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


class _Runs(NamedTuple):
    """The 8-connected regions of a mask, as the runs of each of its rows.

    Attributes:
        owner: the number of each run's region, in the order of their first pixels.
        row, left, right: where it is, right exclusive.
    """

    owner: np.ndarray
    row: np.ndarray
    left: np.ndarray
    right: np.ndarray


def _label(mask: np.ndarray) -> _Runs:
    # Each row follows an empty pixel, so that none runs on into the next.
    stride = mask.shape[1] + 1
    flat = np.zeros(mask.shape[0] * stride + 1, bool)
    flat[:-1].reshape(-1, stride)[:, 1:] = mask
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    start, end = edges[::2], edges[1::2]
    # The runs of the row above that touch a run, over corners too, are neighbours.
    first = np.searchsorted(end, start - stride)
    count = np.searchsorted(start, end - stride, side="right") - first
    below = np.repeat(np.arange(len(start)), count)
    above = np.arange(len(below)) + np.repeat(first - np.cumsum(count) + count, count)
    root = np.arange(len(start))
    # The lower of two touching regions takes the other over, until none touch.
    while (root[above] != root[below]).any():
        low = np.minimum(root[above], root[below])
        high = np.maximum(root[above], root[below])
        np.minimum.at(root, high, low)
        while (root[root] != root).any():
            root = root[root]
    owner = np.unique(root, return_inverse=True)[1]
    row = start // stride
    return _Runs(owner, row, start - row * stride - 1, end - row * stride - 1)


def find_regions(
    anomaly_map: np.ndarray, threshold: float, min_area: int = 1
) -> tuple[np.ndarray, tuple[Region, ...]]:
    """The 8-connected regions of a map above a threshold.

    Args:
        anomaly_map: float32 scores, `[h, w]`.
        threshold: absolute; what is equal to it is not above it.
        min_area: regions of fewer pixels are left out, of the mask too.

    Returns:
        The mask of the regions, and the regions, the highest score first.
    """
    # The nearest below in single precision: whatever numpy compares in, a threshold
    # between two scores stays between them.
    level = np.float32(threshold)
    if float(level) > threshold:
        level = np.nextafter(level, np.float32(-np.inf))
    mask = anomaly_map > level
    runs = _label(mask)
    if not len(runs.owner):
        return mask, ()
    order = np.argsort(runs.owner, kind="stable")
    bounds = np.flatnonzero(np.diff(runs.owner[order], prepend=-1))
    lengths = runs.right - runs.left
    starts = np.cumsum(lengths) - lengths
    highest = np.maximum.reduceat(anomaly_map[mask], starts)
    area = np.add.reduceat(lengths[order], bounds)
    score = np.maximum.reduceat(highest[order], bounds)
    boxes = zip(
        np.minimum.reduceat(runs.left[order], bounds).tolist(),
        np.minimum.reduceat(runs.row[order], bounds).tolist(),
        np.maximum.reduceat(runs.right[order], bounds).tolist(),
        (np.maximum.reduceat(runs.row[order], bounds) + 1).tolist(),
    )
    large = area >= min_area
    mask[mask] = np.repeat(large[runs.owner], lengths)
    found = itertools.compress(map(Region, boxes, area.tolist(), score.tolist()), large)
    return mask, tuple(sorted(found, key=lambda region: -region.score))


def hottest_box(anomaly_map: np.ndarray) -> tuple[int, int, int, int]:
    """The box of the region around the highest score.

    The region is the 8-connected set of pixels of at least half the highest score that
    contains it (the first of them, row by row).

    Args:
        anomaly_map: float32 scores, `[h, w]`, none of them negative.
    """
    row, column = np.unravel_index(np.argmax(anomaly_map), anomaly_map.shape)
    runs = _label(anomaly_map >= anomaly_map[row, column] / 2)
    hottest = (runs.row == row) & (runs.left <= column) & (column < runs.right)
    same = runs.owner == runs.owner[hottest]
    rows, left, right = runs.row[same], runs.left[same], runs.right[same]
    return int(left.min()), int(rows[0]), int(right.max()), int(rows[-1]) + 1


# Eleven equidistant colours of matplotlib's inferno (CC0; Smith and van der Walt).
_ANCHORS = np.array(
    [
        *[(0, 0, 4), (22, 11, 57), (66, 10, 104), (106, 23, 110), (147, 38, 103)],
        *[(188, 55, 84), (221, 81, 58), (243, 120, 25), (252, 165, 10)],
        *[(246, 215, 70), (252, 255, 164)],
    ]
)
_TABLE = np.stack(
    [
        np.interp(np.linspace(0, 1, 256), np.linspace(0, 1, len(_ANCHORS)), channel)
        for channel in _ANCHORS.T
    ],
    axis=1,
)
# Green is the hue that inferno lacks.
_OUTLINE = (0, 255, 128)
# Pixels in floating point at a time: a photograph's 48 million would take gigabytes.
_STRIP = 2**20


def overlay(
    image: np.ndarray, anomaly_map: np.ndarray, mask: np.ndarray | None = None
) -> np.ndarray:
    """A map over its image; opacity grows with the score, so normal areas stay visible.

    Args:
        image: RGB, uint8 `[h, w, 3]`.
        anomaly_map: scores in [0, 1], `[h, w]`.
        mask: bool `[h, w]`; its outline is drawn where given.

    Returns:
        RGB, uint8 `[h, w, 3]`.
    """
    picture = np.empty_like(image)
    height = max(1, _STRIP // image.shape[1])
    for top in range(0, image.shape[0], height):
        rows = slice(top, top + height)
        scores = np.clip(anomaly_map[rows], 0, 1).astype(np.float32)
        opacity = 0.8 * scores[..., None]
        colours = _TABLE[np.rint(scores * 255).astype(np.intp)]
        picture[rows] = np.rint(image[rows] * (1 - opacity) + colours * opacity)
    if mask is not None:
        grown = _grow(mask, max(1, round(max(mask.shape) / 200)))
        picture[grown & ~mask] = _OUTLINE
    return picture


def _grow(mask: np.ndarray, width: int) -> np.ndarray:
    """A mask dilated by a square, `width` pixels to each side."""
    grown = mask.copy()
    for lines in (grown, grown.T):
        reach = 0
        while reach < width:
            # A step of one more than what is covered already leaves no gap.
            shift = min(reach + 1, width - reach)
            before = np.copy(lines)
            lines[shift:] |= before[:-shift]
            lines[:-shift] |= before[shift:]
            reach += shift
    return grown


_SUFFIXES = (
    *(".bmp", ".gif", ".jpeg", ".jpg", ".pgm"),
    *(".png", ".ppm", ".tif", ".tiff", ".webp"),
)
_LISTS = (".txt", ".lst", ".list")


def find_inputs(given: str, exclude: Sequence[Path] = ()) -> list[Path]:
    """The pictures that a command names, as absolute paths in a fixed order.

    Args:
        given: an image, a folder, a glob (`**` for any depth; symlinked folders are
            not followed), or a text file that lists one path a line, relative to it.
        exclude: absolute folders that hold none, such as earlier results.

    Raises:
        InputError: nothing is there.
    """
    path = _absolute(Path(given).expanduser())
    if os.path.isdir(path):
        found = _walk(path, exclude)
    elif os.path.isfile(path) and path.suffix.lower() in _LISTS:
        found = _read_list(path)
    elif os.path.lexists(path):
        found = [path]
    else:
        found = _match(path)
    found = [p for p in dict.fromkeys(found) if not _is_below(p, exclude)]
    if not found or not given:
        raise InputError(
            f"{given!r} names no picture; allowed are an image, a folder with images "
            f"({', '.join(_SUFFIXES)}), a glob or a list file (.txt)"
        )
    return found


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))


def _is_below(path: Path, folders: Sequence[Path]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def _walk(folder: Path, exclude: Sequence[Path]) -> list[Path]:
    """The visible pictures of a folder, and what of it may not be read."""
    found: list[Path] = []

    def note(error: OSError) -> None:
        # Folders come and go; one that is gone holds nothing.
        if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
            found.append(Path(error.filename))

    for parent, folders, names in os.walk(folder, onerror=note):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and not _is_below(Path(parent, name), exclude)
        ]
        found += [
            Path(parent, name)
            for name in names
            if Path(name).suffix.lower() in _SUFFIXES and not name.startswith(".")
        ]
    return sorted(found)


def _read_list(path: Path) -> list[Path]:
    try:
        # Names need not be UTF-8, on the file system as in the list.
        text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}); name a list of paths"
        ) from None
    lines = (line.strip() for line in text.split("\n"))
    return [_absolute(path.parent / line) for line in lines if line]


def _match(pattern: Path) -> list[Path]:
    inner = str(pattern.relative_to(pattern.anchor))
    if inner.endswith("**"):
        inner = f"{inner}/*"
    try:
        matched = sorted(Path(pattern.anchor).glob(inner))
    except (ValueError, OSError):
        # «**» within a name, or a name that no file system takes.
        return []
    return [path for path in matched if not os.path.isdir(path)]


_COLUMNS = ("path", "class_name", "score", "label", "regions", "map", "overlay")
_BOX = ("left", "top", "right", "bottom")
# A line lists so many regions, the highest scores first; the mask may hold more.
_MOST_REGIONS = 100
_LONGEST_NAME = 150


class Results:
    """A folder of predictions: a line a picture, appended whole, maps and overlays.

    Args:
        folder: where they are; one process at a time may hold it.
        base: pictures are called by their path from here.
        settings: all that lines depend on besides the pictures; `maps` and `overlays`
            say whether these are kept.

    Raises:
        InputError: the folder cannot be written to, or holds predictions of other
            settings.
    """

    def __init__(self, folder: Path, base: Path, settings: Mapping[str, Any]) -> None:
        self._folder, self._base, self._settings = folder, base, settings
        self._path = folder / "predictions.jsonl"
        with _writing(folder):
            self._cut()
            self._claim()
            for name in ("maps", "overlays"):
                if settings[name]:
                    (folder / name).mkdir(exist_ok=True)
        self._owners = {
            Path(line[key]).stem.casefold(): line["path"]
            for line in self.lines()
            for key in ("map", "overlay")
            if line.get(key)
        }

    def begin(self, inputs: Iterable[Path]) -> dict[Path, tuple[int, float] | None]:
        """Which pictures are new, changed or failed, with their sizes and times.

        Their old lines are dropped.
        """
        last = {
            line["path"]: (n, "error" not in line and _stamp_of(line))
            for n, line in enumerate(self.lines())
        }
        todo = {}
        for path in inputs:
            known = _stamp(path)
            _, old = last.get(str(path), (0, None))
            if not old or old != known:
                todo[path] = known
                last.pop(str(path), None)
        kept = {number for number, _ in last.values()}
        if any(n not in kept for n, _ in enumerate(self.lines())):
            temporary = self._path.with_suffix(".jsonl.partial")
            with _writing(self._folder):
                with temporary.open("wb") as file:
                    file.writelines(
                        _encode(line)
                        for n, line in enumerate(self.lines())
                        if n in kept
                    )
                os.replace(temporary, self._path)
        return todo

    def add(
        self, path: Path, found: Prediction | str, known: tuple[int, float] | None
    ) -> str:
        """Write the line of a picture, and its map and overlay.

        Args:
            path: the picture.
            found: what was found in it, or what was wrong with it.
            known: its size and time before it was read.

        Returns:
            What was wrong; empty where nothing was.
        """
        line = {"path": str(path), "class_name": self._settings["class_name"]}
        try:
            line |= (
                {"error": found} if isinstance(found, str) else self._say(path, found)
            )
        except DataError as error:
            line["error"] = str(error)
        line |= dict(zip(("bytes", "modified"), known or ()))
        data = _encode(line)
        # Not kept open: Windows replaces no file that is.
        with _writing(self._folder), self._path.open("ab", buffering=0) as file:
            if file.write(data) != len(data):
                raise OSError(None, "no space is left")
        return line.get("error", "")

    def lines(self) -> Iterator[dict[str, Any]]:
        """All lines, oldest first; a path that came again has several."""
        with self._path.open("rb") as file:
            for number, data in enumerate(file, start=1):
                try:
                    line = json.loads(data)
                    line["path"] = str(line["path"])
                except (ValueError, KeyError, TypeError):
                    raise InputError(
                        f"{self._path}:{number} is no prediction; remove the line, or "
                        "pass another --output"
                    ) from None
                yield line

    def finish(self) -> None:
        """Write `predictions.csv`: the same for a spreadsheet."""
        latest = {line["path"]: n for n, line in enumerate(self.lines())}
        temporary = self._path.with_suffix(".csv.partial")
        with _writing(self._folder):
            with temporary.open(
                "w", encoding="utf-8", errors="backslashreplace", newline=""
            ) as file:
                writer = csv.writer(file)
                writer.writerow([*_COLUMNS, *_BOX, "error"])
                writer.writerows(
                    _row(line)
                    for n, line in enumerate(self.lines())
                    if latest[line["path"]] == n
                )
            os.replace(temporary, self._path.with_suffix(".csv"))

    def _say(self, path: Path, found: Prediction) -> dict[str, Any]:
        """What a line says of a picture; writes its map and overlay."""
        stem = self._stem(path)
        written: dict[str, str | None] = {"map": None, "overlay": None}
        picture = None
        if self._settings["overlays"]:
            # Decoded again at its own size: memory stays flat whatever is in a batch.
            picture = np.asarray(read_photograph(path))
            if picture.shape[:2] != found.anomaly_map.shape:
                raise DataError(f"{path} changed while it was read; predict it again")
        with _writing(self._folder):
            if self._settings["maps"]:
                written["map"] = f"maps/{stem}.npy"
                half = found.anomaly_map.astype(np.float16)
                np.save(self._folder / written["map"], half)
            if picture is not None:
                written["overlay"] = f"overlays/{stem}.png"
                mask = found.mask if found.label == "anomalous" else None
                laid = overlay(picture, found.anomaly_map, mask)
                Image.fromarray(laid).save(self._folder / written["overlay"])
        return {
            "score": found.score,
            "label": found.label,
            **written,
            "box": hottest_box(found.anomaly_map),
            "regions": [region._asdict() for region in found.regions[:_MOST_REGIONS]],
        }

    def _stem(self, path: Path) -> str:
        """A file name that is unique for each input, and readable."""
        inner = path.is_relative_to(self._base)
        relative = path.relative_to(self._base if inner else path.anchor)
        name = "__".join(relative.parts)
        digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
        encoded = os.fsencode(name)
        if len(encoded) > _LONGEST_NAME:
            name = f"{encoded[-100:].decode(errors='ignore')}-{digest}"
        if self._owners.setdefault(name.casefold(), str(path)) != str(path):
            name = f"{name}-{digest}"
            self._owners[name.casefold()] = str(path)
        return name

    def _cut(self) -> None:
        """Remove a last line that a kill left unfinished."""
        end = 0
        with self._path.open("a+b") as file:
            file.seek(0)
            for data in file:
                end += len(data) if data.endswith(b"\n") else 0
            file.truncate(end)

    def _claim(self) -> None:
        """Make the folder these settings', or check that it already is."""
        file = self._folder / "predictions.settings.json"
        text = json.dumps(self._settings, indent=2) + "\n"
        if not self._path.stat().st_size:
            file.write_text(text, encoding="utf-8")
            return
        try:
            old = json.loads(file.read_text(encoding="utf-8"))
            keys = [k for k, v in old.items() if v != json.loads(text).get(k)]
        except (OSError, ValueError, AttributeError):
            keys = ["settings"]
        if keys:
            raise InputError(
                f"{self._path} was made with another {', '.join(keys[:3])}; pass "
                "another --output, or remove the file to predict anew"
            )


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Keep other processes from predicting into a folder; make it if need be."""
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder, os.O_RDONLY) if fcntl else None
    try:
        if lock is not None:
            _lock(lock, folder)
        yield
    finally:
        if lock is not None:
            os.close(lock)


def _lock(lock: int, folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(
            f"another process is predicting into {folder}; wait for it, or pass "
            "another --output"
        ) from None
    except OSError:
        # Some network file systems have no locks.
        pass


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written to ({error.strerror or error}); pass another "
            "--output"
        ) from None


def _stamp(path: Path) -> tuple[int, float] | None:
    """By what a file is known to be the one that was predicted."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_size, found.st_mtime


def _stamp_of(line: Mapping[str, Any]) -> tuple[Any, Any]:
    return line.get("bytes"), line.get("modified")


def _encode(line: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(line, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:
        # A file name that is not UTF-8: JSON can escape what UTF-8 cannot say.
        return json.dumps(line).encode() + b"\n"


def _row(line: Mapping[str, Any]) -> list[Any]:
    values = {**line, "regions": len(line.get("regions", ()))}
    box = line.get("box") or ("",) * len(_BOX)
    return [
        *("" if values.get(name) is None else values[name] for name in _COLUMNS),
        *box,
        line.get("error", ""),
    ]


class _Progress:
    """How far a command is, on stderr: one line of a terminal, or one each 30 s."""

    def __init__(self, total: int) -> None:
        self._total, self._done = total, 0
        self._terminal = sys.stderr.isatty()
        self._start = self._said = time.monotonic()

    def step(self) -> None:
        self._done += 1
        now = time.monotonic()
        last = self._terminal and self._done == self._total
        if now - self._said < (0.1 if self._terminal else 30) and not last:
            return
        self._said = now
        # Some clocks tick seldom.
        rate = self._done / max(now - self._start, 1e-3)
        left = timedelta(seconds=round((self._total - self._done) / rate))
        text = f"{self._done}/{self._total}, {rate:.2f}/s, {left} left"
        self._print(text, "\n" if last else "")

    def say(self, message: str) -> None:
        self._print(message, "\n")

    def _print(self, text: str, end: str) -> None:
        text, end = (f"\r{text:<50}", end) if self._terminal else (text, "\n")
        print(text, end=end, file=sys.stderr, flush=True)


def _printable(text: object) -> str:
    """Text on one line of any terminal: what cannot be shown is escaped."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode()
        for char in str(text)
    )


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:
        raise InputError(f"{message}; see --help")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _Parser(
        description="Say how anomalous pictures are, and where.", allow_abbrev=False
    )
    add = parser.add_argument
    add("input", metavar="INPUT", help="an image, a folder, a glob or a list file")
    add("--model", metavar="DIR", help="folder of the export (default: this file's)")
    add("--class-name", metavar="NAME", help="what the pictures show")
    add("--output", metavar="DIR", default="predictions", help="where results go")
    add("--backend", default="auto", help="auto, openvino or onnxruntime")
    add("--precision", default="float32", help="float32, or bfloat16 with OpenVINO")
    add("--batch-size", type=int, metavar="N", help="pictures that pass at once")
    both = "of images and pixels, or of each (default: the exported ones)"
    add("--threshold", type=_threshold, metavar="T[,T]", help=both)
    small = "regions of fewer pixels are left out"
    add("--min-area", type=int, default=1, metavar="N", help=small)
    add("--no-maps", dest="maps", action="store_false", help="keep no maps")
    add("--no-overlays", dest="overlays", action="store_false", help="draw none")
    return parser.parse_args(arguments)


def _threshold(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a number nor a pair as in 0.5,0.3"
        ) from None


def run(options: argparse.Namespace) -> int:
    """Predict what a command names; returns 1 where some pictures failed."""
    output = _absolute(Path(options.output).expanduser())
    paths = find_inputs(options.input, [output / "maps", output / "overlays"])
    detector = Detector(
        options.model,
        backend=options.backend,
        precision=options.precision,
        batch_size=options.batch_size,
        min_area=options.min_area,
    )
    limits = detector.thresholds(options.class_name, options.threshold)
    name = options.class_name or detector.class_names[0]
    if limits:
        print(
            f"anomalous is a score above {limits.image:.6f}; outlined are pixels above "
            f"{limits.pixel:.6f}"
        )
    elif detector.calibrated:
        print(f"no thresholds for {name!r}; some are for {_list(detector.calibrated)}")
    settings = {
        "class_name": name,
        "thresholds": list(limits) if limits else None,
        **{key: getattr(options, key) for key in ("min_area", "maps", "overlays")},
        **detector.identity,
    }
    with _held(output):
        results = Results(output, _common_folder(paths), settings)
        todo = results.begin(paths)
        failed = _predict(detector, name, limits, results, todo)
        results.finish()
    done = len(paths) - len(todo)
    earlier = f", {done} done before" if done else ""
    counts = f"{len(todo) - failed} predicted, {failed} failed{earlier}"
    print(f"{counts}: {_printable(options.output)}")
    return 1 if failed else 0


def _common_folder(paths: Sequence[Path]) -> Path:
    try:
        return Path(os.path.commonpath([path.parent for path in paths]))
    except ValueError:
        # Several drives of Windows have nothing in common.
        return paths[0].parent


def _predict(
    detector: Detector,
    name: str,
    limits: Thresholds | None,
    results: Results,
    todo: Mapping[Path, tuple[int, float] | None],
) -> int:
    """Write a line for each picture; returns how many failed."""
    progress, paths, failed = _Progress(len(todo)), iter(todo), 0
    while group := list(itertools.islice(paths, detector.batch_size)):
        loaded: dict[Path, Any] = {}
        for path in group:
            try:
                loaded[path] = detector.load(path, str(path))
            except DataError as error:
                loaded[path] = str(error)
        good = [one for one in loaded.values() if not isinstance(one, str)]
        found = detector.detect(good, name, limits) if good else iter(())
        for path, one in loaded.items():
            outcome = one if isinstance(one, str) else next(found)
            if message := results.add(path, outcome, todo[path]):
                failed += 1
                progress.say(f"failed: {_printable(message)}")
            progress.step()
    return failed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit status: 2 where it could not begin."""
    for stream in (sys.stdout, sys.stderr):
        # A console need not know every letter of a file's name.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        return run(_parse(arguments))
    except InputError as error:
        print(f"error: {_printable(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
