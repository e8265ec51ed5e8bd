"""The runtimes that run what was exported: chosen, checked and started.

Nothing here needs JAX: it is a part of the exported runner.
"""

import contextlib
import hashlib
import importlib
import importlib.util
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kanoclip_jax.errors import InputError

# The first that can be used is what `auto` takes.
BACKENDS = {"openvino": "openvino", "onnxruntime": "onnx"}
# The format of 8-bit integers, and what OpenVINO is told of what is not.
INT8 = "openvino-int8"
PRECISIONS = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}
# By the ending of a model's file, who runs it.
_RUN_BY = {".xml": "openvino", ".onnx": "onnxruntime"}
# Where a model's file says what it is: the key of its metadata, and OpenVINO's section.
DOCUMENT = "kanoclip"
SECTION = "model_info"
# ONNX Runtime's own names of what computes.
_PROVIDERS = {
    "CPU": "CPUExecutionProvider",
    "CUDA": "CUDAExecutionProvider",
    "TENSORRT": "TensorrtExecutionProvider",
}

# From inputs by name to maps and scores.
Run = Callable[[Mapping[str, np.ndarray]], Sequence[np.ndarray]]


class Started(NamedTuple):
    """A model that a runtime has loaded.

    Attributes:
        run: it.
        inputs: the names of what it takes.
        document: what its file says of it, as JSON; empty where it says nothing.
    """

    run: Run
    inputs: tuple[str, ...]
    document: str

    def __call__(self, given: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        """Run it on those of the inputs that it takes."""
        return self.run({name: given[name] for name in self.inputs})


def listed(names: Iterable[str]) -> str:
    """Names in a message."""
    return ", ".join(map(repr, names))


def choose_backend(
    given: str, folder: Path, formats: Mapping[str, Any], precision: str = "float32"
) -> str:
    """The runtime to take.

    Args:
        given: its name, or `auto` for the first that is installed and has its files.
        folder: of the export.
        formats: what its manifest says of them.
        precision: one of `PRECISIONS`.

    Raises:
        InputError: there is none, or not the one that was asked for.
    """
    _check(given, precision)
    if precision == "int8":
        if INT8 not in formats:
            raise InputError(
                f"precision is 'int8', and {folder} holds {listed(formats)}; export "
                "with --config.export.int8=FOLDER of pictures, or take another"
            )
        return "openvino" if given == "auto" else given
    if given != "auto":
        if BACKENDS[given] not in formats:
            raise InputError(
                f"backend is {given!r}, and {folder} holds {listed(formats)}; take "
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


def backend_of(model: Path, given: str, precision: str) -> str | None:
    """The runtime of a model's file; None where something is no such file.

    Raises:
        InputError: another was asked for.
    """
    own = _RUN_BY.get(model.suffix.lower())
    if own is None or model.is_dir():
        return None
    _check(given, precision)
    if given not in ("auto", own):
        raise InputError(
            f"backend is {given!r}, and {model} is for {own!r}; take that, or 'auto'"
        )
    return own


def _check(backend: str, precision: str) -> None:
    for name, given, allowed in (
        ("backend", backend, ("auto", *BACKENDS)),
        ("precision", precision, PRECISIONS),
    ):
        if given not in allowed:
            raise InputError(f"{name} is {given!r}; allowed: {listed(allowed)}")


def check_files(folder: Path, files: Mapping[str, str]) -> Path:
    """Compare files with what was exported; returns the model's own.

    Raises:
        InputError: one is damaged or gone.
    """
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
    return folder / next(name for name in files if name.endswith(tuple(_RUN_BY)))


def start_openvino(
    model: Path, device: str = "CPU", precision: str = "float32"
) -> Started:
    """A model in OpenVINO; any number of threads may share it.

    Args:
        model: the IR's file.
        device: as OpenVINO calls it.
        precision: one of `PRECISIONS`.

    Raises:
        InputError: it is not installed, or cannot load the model, or a wrong option.
    """
    openvino = import_openvino()
    core = openvino.Core()
    there = [*core.available_devices, "AUTO"]
    if device.split(".")[0] not in {name.split(".")[0] for name in there}:
        raise InputError(
            f"device is {device!r}, which OpenVINO does not find here; it finds "
            f"{listed(there)}"
        )
    # Unless told, OpenVINO rounds to bfloat16 wherever the processor knows it.
    options = {"INFERENCE_PRECISION_HINT": PRECISIONS[precision]}
    if precision == "bfloat16":
        known = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if device == "CPU" and "BF16" not in known:
            raise InputError(
                "precision is 'bfloat16', which this processor lacks; take 'float32'"
            )
    with _loading(model, openvino, device):
        read = core.read_model(str(model))
        place = [SECTION, DOCUMENT]
        said = read.get_rt_info(place).value if read.has_rt_info(place) else ""
        compiled = core.compile_model(read, device, options)
    # A request must not be shared between threads.
    own = threading.local()

    def run(inputs: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        if not hasattr(own, "request"):
            own.request = compiled.create_infer_request()
        found = own.request.infer(inputs)
        # The request's own memory, which its next call writes into.
        return np.array(found[0]), np.array(found[1])

    return Started(run, tuple(one.any_name for one in compiled.inputs), str(said))


def start_onnxruntime(
    model: Path, device: str = "CPU", precision: str = "float32"
) -> Started:
    """A model in ONNX Runtime; see `start_openvino`."""
    if precision != "float32":
        raise InputError(
            f"precision is {precision!r}, and ONNX Runtime takes 'float32' alone; take "
            "that, or OpenVINO"
        )
    onnxruntime = _runtime("onnxruntime")
    there = onnxruntime.get_available_providers()
    usable = [name for name, provider in _PROVIDERS.items() if provider in there]
    if device not in usable:
        raise InputError(
            f"device is {device!r}, which this ONNX Runtime does not have; it has "
            f"{listed(usable)}; pip install onnxruntime-gpu for CUDA and TENSORRT"
        )
    with _loading(model, onnxruntime, device):
        session = onnxruntime.InferenceSession(
            str(model), providers=[_PROVIDERS[device]]
        )
    if session.get_providers()[0] != _PROVIDERS[device]:
        # It goes on without what it cannot load, and says so in a log alone.
        raise InputError(
            f"device is {device!r}, which ONNX Runtime could not start (its log says "
            "why); take 'CPU'"
        )
    return Started(
        lambda inputs: session.run(None, inputs),
        tuple(one.name for one in session.get_inputs()),
        session.get_modelmeta().custom_metadata_map.get(DOCUMENT, ""),
    )


def import_openvino() -> Any:
    """OpenVINO, quiet.

    Raises:
        InputError: it is not installed.
    """
    # Its telemetry would report each load over the network, from a fork of this
    # process; where that package is not found OpenVINO does without.
    sys.modules.setdefault("openvino_telemetry", None)
    return _runtime("openvino")


def _runtime(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            f"{name} cannot be imported ({error}); pip install {name}"
        ) from None


@contextlib.contextmanager
def _loading(model: Path, runtime: Any, device: str) -> Iterator[None]:
    try:
        yield
    # Each runtime has exceptions of its own.
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{model} cannot be loaded on {device} by {runtime.__name__} "
            f"{runtime.__version__} ({reason}); pip install --upgrade "
            f"{runtime.__name__}"
        ) from error


STARTS = {"openvino": start_openvino, "onnxruntime": start_onnxruntime}
