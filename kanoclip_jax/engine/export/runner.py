"""The runner of an exported detector: one file that needs no JAX, to copy and import.

Python 3.10 or newer, numpy 2, Pillow 11, and OpenVINO or ONNX Runtime:

    pip install numpy Pillow openvino    # or onnxruntime

TIFF of more than 8 bits needs tifffile (compressed, imagecodecs too), DICOM pydicom, and
HEIC pillow-heif. From Python, beside `manifest.json` and the model's files:

    from runner import Detector
    detector = Detector()
    found = detector.predict("photo.jpg", class_name="metal nut")
    found.score, found.label, found.boxes, found.anomaly_map

From the command line: `python runner.py photos/ --class-name="metal nut"`; `--help`
lists the options. A model's file says what it is, so that one alone will do, too:
`Detector("model.onnx")`, `--model=model.xml`.
"""

import argparse
import contextlib
import dataclasses
import io
import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_pipelines.errors import DataError
from data_pipelines.names import canonical, printable, readable
from data_pipelines.pictures.reading import ORIENTATIONS, Reading
from kanoclip_jax.engine.export.contents import (
    own_precision,
    read_document,
    read_manifest,
)
from kanoclip_jax.engine.export.progress import Progress
from kanoclip_jax.engine.export.runtimes import (
    BACKENDS,
    INT8,
    STARTS,
    backend_of,
    check_files,
    choose_backend,
    listed,
)
from kanoclip_jax.engine.prediction.coco import KINDS, POLYGONS
from kanoclip_jax.engine.prediction.detecting import Detecting, check_min_area
from kanoclip_jax.engine.prediction.inputs import (
    absolute,
    describe_inputs,
    find_inputs,
)
from kanoclip_jax.engine.prediction.pictures import FOLDERS
from kanoclip_jax.engine.prediction.predictions import Stamp
from kanoclip_jax.engine.prediction.results import Results, common_folder
from kanoclip_jax.engine.prediction.scoring import read_all
from kanoclip_jax.engine.prediction.tiles import read_setting
from kanoclip_jax.errors import InputError
from kanoclip_jax.verdict import Thresholds, no_number, shown
from kanoclip_jax.viz.scale import CALIBRATED, SCALES

try:
    import fcntl
except ImportError:
    # Windows: nothing keeps two commands from writing into one folder.
    fcntl = None

# The same as the package's own, which takes no other either.
_LOCK = ".lock"


class Answers(NamedTuple):
    """What a runtime said of a batch.

    Attributes:
        maps: of each square,
        score: and its score.
    """

    maps: np.ndarray
    score: np.ndarray

    def why_none(self, row: int) -> str:
        """Why a row's result is no number; empty where it is one."""
        lowest, highest = self.maps[row].min(), self.maps[row].max()
        reason = no_number(float(self.score[row]), float(lowest), float(highest))
        if not reason:
            return ""
        return (
            f"{reason}, which is no result; try another --backend, or "
            "--precision=float32"
        )


class Detector(Detecting):
    """Scores pictures; any number of threads may share one.

    Args:
        folder: of the export, or one of its models' files alone (`model.xml` beside its
            `model.bin`, `model.onnx`); the folder that this file is in where None.
        backend: `openvino`, `onnxruntime`, or `auto`: the first of them that is
            installed and has its files here.
        device: what computes: `CPU`; with OpenVINO `GPU`, `NPU` or `AUTO`, with ONNX
            Runtime `CUDA` or `TENSORRT`.
        precision: `float32`; with OpenVINO `bfloat16`, or `int8` where the export has
            it.
        batch_size: pictures, or windows of them, that pass at once; a model that was
            exported for a fixed number takes that, and others 1, where None.
        min_area: regions of fewer pixels are left out.
        value_range: which values are black and white in pictures that are not of 8
            bits; see `canonical_range`. As exported where None.
        max_pixels: pictures of more are refused. As exported where None.
        orientation: `upright` turns pictures by their EXIF orientation, `stored` does
            not. As exported where None.
        tiles: whether large and elongated pictures are scored in windows: `never`,
            `auto` or a number of pixels. As exported where None.

    Attributes:
        backend: which runs.
        class_names: those that the model knows.
        notes: what there is to say of these settings.

    Raises:
        DataError: a value range that is none.
        InputError: no export is there, its files are damaged, a runtime is not
            installed, or a wrong option.
    """

    def __init__(
        self,
        folder: str | os.PathLike | None = None,
        *,
        backend: str = "auto",
        device: str = "CPU",
        precision: str = "float32",
        batch_size: int | None = None,
        min_area: int = 1,
        value_range: str | tuple[float, float] | None = None,
        max_pixels: int | None = None,
        orientation: str | None = None,
        tiles: str | int | None = None,
    ) -> None:
        folder = Path(__file__).parent if folder is None else Path(folder).expanduser()
        device = device.upper()
        started = None
        alone = backend_of(folder, backend, precision)
        if alone:
            started = STARTS[alone](folder, device, precision)
            manifest, digest = read_document(folder, started.document)
            precision = own_precision(folder, manifest, precision)
        else:
            manifest, digest = read_manifest(folder)
        self.class_names = tuple(map(readable, manifest["class_names"]))
        self.image_size, self.patch = manifest["image_size"], manifest["patch_px"]
        self.min_area = check_min_area(min_area)
        self._fixed = manifest["batch_size"]
        self.batch_size = (self._fixed or 1) if batch_size is None else batch_size
        if self.batch_size < 1 or self._fixed not in (None, self.batch_size):
            allowed = f"{self._fixed}, as exported" if self._fixed else "1 and above"
            raise InputError(f"batch_size is {batch_size}; allowed: {allowed}")
        given = {"value_range": value_range, "max_pixels": max_pixels}
        self._set(manifest, given | {"orientation": orientation}, tiles)
        self.backend = alone
        if started is None:
            formats = manifest["formats"]
            self.backend = choose_backend(backend, folder, formats, precision)
            kind = INT8 if precision == "int8" else BACKENDS[self.backend]
            model = check_files(folder, formats[kind]["files"])
            started = STARTS[self.backend](model, device, precision)
        self._run = started
        self.identity = {
            "model": digest,
            "backend": self.backend,
            "device": device,
            "precision": precision,
            "predict.tiles": self.tiles,
            **self.reading.identity(),
        }

    def _set(
        self,
        manifest: Mapping[str, Any],
        given: Mapping[str, Any],
        tiles: str | int | None,
    ) -> None:
        """Take the settings of the export, but for those that are given."""
        exported, own = Reading(**manifest["reading"]), manifest["tiles"]
        given = {key: value for key, value in given.items() if value is not None}
        if given.get("orientation", "stored") not in ORIENTATIONS:
            raise InputError(
                f"orientation is {given['orientation']!r}; allowed: "
                f"{listed(ORIENTATIONS)}"
            )
        self.reading = dataclasses.replace(exported, **given)
        try:
            self.tiles = own if tiles is None else read_setting(tiles, "tiles")
        except ValueError as error:
            raise InputError(error) from None
        self._limits = {
            canonical(name): Thresholds(found["image"], found["pixel"])
            for name, found in manifest["thresholds"].items()
        }
        self._ends = {
            canonical(name): scale["end"]
            for name, scale in manifest.get("scales", {}).items()
        }
        self._calibrated = tuple(map(readable, manifest["thresholds"]))
        self.notes: list[str] = []
        changed = [
            name
            for name, here, there in (
                ("value_range", self.reading.value_range, exported.value_range),
                ("orientation", self.reading.orientation, exported.orientation),
                ("tiles", self.tiles, own),
            )
            if here != there
        ]
        if changed and self._limits:
            self._limits, self._ends, self._calibrated = {}, {}, ()
            self.notes.append(
                "no thresholds: those that were exported belong to another "
                f"{' and '.join(changed)}; calibrate with it, and export again"
            )

    @property
    def calibrated(self) -> tuple[str, ...]:
        """The class names that have thresholds."""
        return self._calibrated

    def named(self, class_name: str | None) -> str:
        """The class of a name; without one, the only one that the model knows."""
        return self.class_names[self._index(class_name)]

    def limits(self, class_name: str) -> Thresholds | None:
        """The exported thresholds of a class."""
        return self._limits.get(canonical(class_name))

    def saturates(self, class_name: str) -> float | None:
        """Where a class's colours saturate, as exported."""
        return self._ends.get(canonical(class_name))

    def detections(
        self, class_name: str, batches: Iterable[Mapping[str, Any]]
    ) -> Iterator[tuple[Mapping[str, Any], Answers]]:
        """Run over batches of squares; what fills up the last one is left out."""
        index = self._index(class_name)
        for batch in batches:
            pixels = batch["image"]
            if not self._fixed:
                pixels = pixels[: len(batch["windows"])]
            indices = np.full(len(pixels), index, np.int32)
            yield batch, Answers(*self._run({"image": pixels, "class_index": indices}))

    def _index(self, class_name: str | None) -> int:
        if class_name is None and len(self.class_names) == 1:
            return 0
        known = list(map(canonical, self.class_names))
        if class_name is None or canonical(class_name) not in known:
            raise InputError(
                f"class_name is {class_name!r}; this model knows "
                f"{listed(self.class_names)}: name one of them"
            )
        return known.index(canonical(class_name))


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Keep other processes from predicting into a folder; make it if need be."""
    lock = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if fcntl is not None:
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written to ({error.strerror or error}); pass another "
            "--output"
        ) from None
    try:
        if lock is not None:
            _take(lock, folder)
        yield
    finally:
        if lock is not None:
            os.close(lock)


def _take(lock: int, folder: Path) -> None:
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


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:
        raise InputError(f"{message}; see --help")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _Parser(
        description="Say how anomalous pictures are, and where.",
        epilog="As in: %(prog)s photos/ --class-name='metal nut' --output=results. "
        "The same command goes on where an earlier one ended; its exit status is 0, 1 "
        "where pictures failed, and 2 where it could not begin.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("input", metavar="INPUT", help="an image, a folder, a glob or a list file")
    place = "folder of the export, or a model's file (default: this file's folder)"
    add("--model", metavar="PATH", help=place)
    add("--class-name", metavar="NAME", help="what the pictures show")
    add("--output", metavar="DIR", default="predictions", help="where results go")
    add("--backend", default="auto", help="auto, openvino or onnxruntime")
    add(
        "--device",
        default="CPU",
        help="CPU; OpenVINO: GPU, NPU, AUTO; ONNX Runtime: CUDA, TENSORRT",
    )
    exact = "float32; with OpenVINO bfloat16, or int8 where it was exported"
    add("--precision", default="float32", help=exact)
    add("--batch-size", type=int, metavar="N", help="pictures that pass at once")
    both = "of images and pixels, or of each (default: the exported ones)"
    add("--threshold", type=_threshold, metavar="T[,T]", help=both)
    small = "regions of fewer pixels are left out"
    add("--min-area", type=int, default=1, metavar="N", help=small)
    deep = "what is black and white in pictures that are not of 8 bits: auto, a depth "
    deep += "such as 12bit, or LOW,HIGH (default: as exported)"
    add("--value-range", metavar="R", help=deep)
    huge = "pictures of more are refused (default: as exported)"
    add("--max-pixels", type=int, metavar="N", help=huge)
    turned = (
        "upright turns pictures as EXIF says, stored does not (default: as exported)"
    )
    add("--orientation", metavar="O", help=turned)
    windows = "windows of large pictures: never, auto, or N px (default: as exported)"
    add("--tiles", metavar="T", help=windows)
    colours = (
        "colours of overlays: calibrated (from the pixel threshold on; without one "
    )
    colours += "from 0.5), or absolute (from 0 to 1)"
    add("--scale", choices=SCALES, default=CALIBRATED, help=colours)
    add("--no-maps", dest="maps", action="store_false", help="keep no maps")
    add("--no-overlays", dest="overlays", action="store_false", help="draw none")
    add(
        "--coco",
        choices=KINDS,
        default=POLYGONS,
        help="regions in coco.json: polygons, rle, or never (default: polygons)",
    )
    add("--quiet", action="store_true", help="draw no bar of progress")
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
    output = absolute(Path(options.output).expanduser())
    own = [output / name for name in FOLDERS]
    paths = find_inputs(options.input, own, key="INPUT")
    print("\n".join(describe_inputs(options.input, paths, own)), flush=True)
    names = ("backend", "device", "precision", "batch_size", "min_area")
    names += ("value_range", "max_pixels", "orientation", "tiles")
    detector = Detector(
        options.model, **{name: getattr(options, name) for name in names}
    )
    limits = detector.thresholds(options.class_name, options.threshold)
    name = options.class_name or detector.named(None)
    if limits:
        print(
            f"anomalous is a score above {shown(limits.image)}; outlined are pixels "
            f"above {shown(limits.pixel)}"
        )
    elif detector.calibrated:
        print(f"no thresholds for {name!r}; some are for {listed(detector.calibrated)}")
    for note in () if options.threshold else detector.notes:
        print(note)
    with _held(output):
        results = Results(
            detector,
            name,
            limits,
            output,
            common_folder(paths),
            maps=options.maps,
            overlays=options.overlays,
            colours=options.scale,
            coco=options.coco,
        )
        with results.ending():
            for said in results.label_again():
                print(said, flush=True)
            todo = results.log.begin(paths)
            _predict(detector, name, limits, results, todo, options.quiet)
    for remark in results.remarks():
        print(remark)
    print("\n".join(results.summary(len(paths) - len(todo))))
    return 1 if results.failed else 0


def _predict(
    detector: Detector,
    name: str,
    limits: Thresholds | None,
    results: Results,
    todo: Mapping[Path, Stamp | None],
    quiet: bool = False,
) -> None:
    """Write a line for each picture."""
    progress = Progress(len(todo), quiet)
    for scored in detector.score(name, read_all(todo, detector.reading)):
        path = scored.key
        outcome = detector.outcome(scored, name, limits)
        line = results.add(path, outcome, todo[path])
        if "error" in line:
            progress.say(f"failed: {printable(line['error'])}")
        progress.step()


def _stop(number: int, frame: Any) -> None:
    raise KeyboardInterrupt(number)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit status: 2 where it could not begin."""
    for stream in (sys.stdout, sys.stderr):
        # A console need not know every letter of a file's name.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _stop)
    try:
        return run(_parse(arguments))
    except (InputError, DataError) as error:
        print(f"error: {printable(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as asked:
        print("interrupted; the same command goes on", file=sys.stderr)
        return 128 + (asked.args[0] if asked.args else signal.SIGINT)


if __name__ == "__main__":
    sys.exit(main())
