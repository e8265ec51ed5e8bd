"""The formats: how a program is written to each, and run again from what was written."""

import importlib
import importlib.util
import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.export
import numpy as np

from kanoclip_jax.engine.export import runtimes
from kanoclip_jax.engine.export.program import INPUTS, OUTPUTS, Program
from kanoclip_jax.engine.export.runtimes import (
    import_openvino,
    start_onnxruntime,
    start_openvino,
)
from kanoclip_jax.errors import InputError
from kanoclip_jax.ops import lowering

# Maps and scores of a batch of squared pictures, each with the number of its class.
Run = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]

ONNX, IR, STABLEHLO = "model.onnx", "model.xml", "model.stablehlo"
# The newest that ONNX Runtime and OpenVINO both know whole.
OPSET = 21
PLATFORMS = ("cpu", "cuda")
# Of a protocol buffer; larger constants go into a file beside it.
_MOST_BYTES = 2**31 - 2**24
_BATCH = "batch"


class Format(NamedTuple):
    """A way to write a program down.

    Attributes:
        packages: what it needs to be installed.
        write: the program for a batch of so many, or of any number, into a folder.
        load: what was written, as its own runtime runs it.
    """

    packages: tuple[str, ...]
    write: Callable[[Program, Path, int | None], None]
    load: Callable[[Path], Run]


def write_onnx(program: Program, folder: Path, batch_size: int | None) -> None:
    """Write `model.onnx`."""
    import onnx
    from jax2onnx import to_onnx

    with lowering.tracing_for("onnx"), _quiet():
        model = to_onnx(
            program,
            program.arguments(batch_size or _BATCH),
            model_name="kanoclip",
            opset=OPSET,
            input_names=INPUTS,
            output_names=OUTPUTS,
        )
    _mend_shapes(model, program.image_size, batch_size)
    large = model.ByteSize() > _MOST_BYTES
    onnx.save_model(
        model,
        folder / ONNX,
        save_as_external_data=large,
        location=f"{ONNX}.data" if large else None,
    )


def load_onnx(folder: Path) -> Run:
    """`model.onnx` on ONNX Runtime's CPU, as its runner runs it."""
    return _by_name(start_onnxruntime(folder / ONNX))


def write_openvino(program: Program, folder: Path, batch_size: int | None) -> None:
    """Write `model.xml` and `model.bin`, by way of ONNX where it is there."""
    openvino = import_openvino()
    with tempfile.TemporaryDirectory(dir=folder) as passing:
        source = folder
        if not (folder / ONNX).exists():
            source = Path(passing)
            write_onnx(program, source, batch_size)
        model = openvino.Core().read_model(source / ONNX)
        openvino.save_model(model, folder / IR, compress_to_fp16=False)
        del model


def load_openvino(folder: Path, precision: str = "float32") -> Run:
    """The IR on OpenVINO's CPU, in float32 whatever the CPU would rather take."""
    return _by_name(start_openvino(folder / IR, precision=precision))


def _by_name(run: runtimes.Run) -> Run:
    return lambda *given: tuple(run(dict(zip(INPUTS, given, strict=True))))


def write_stablehlo(program: Program, folder: Path, batch_size: int | None) -> None:
    """Write `model.stablehlo`: what `jax.export` serialises, for CPU and CUDA."""
    batch = batch_size or jax.export.symbolic_shape(_BATCH)[0]
    with lowering.tracing_for("any"):
        exported = jax.export.export(jax.jit(program), platforms=PLATFORMS)(
            *program.arguments(batch)
        )
    (folder / STABLEHLO).write_bytes(exported.serialize())


def load_stablehlo(folder: Path) -> Run:
    """The StableHLO program on this process's JAX, on the CPU.

    An accelerator would round its products.
    """
    exported = jax.export.deserialize(bytearray((folder / STABLEHLO).read_bytes()))
    call = jax.jit(exported.call)

    def run(image: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with jax.default_device(jax.devices("cpu")[0]):
            return tuple(map(np.asarray, call(image, index)))

    return run


FORMATS = {
    "onnx": Format(("jax2onnx", "onnx", "onnxruntime"), write_onnx, load_onnx),
    "openvino": Format(("jax2onnx", "onnx", "openvino"), write_openvino, load_openvino),
    "stablehlo": Format(("flatbuffers",), write_stablehlo, load_stablehlo),
}


def check_formats(names: tuple[str, ...]) -> None:
    """Refuse formats that are unknown or whose packages are not installed.

    Raises:
        InputError: names them.
    """
    if not names or set(names) - set(FORMATS):
        raise InputError(
            f"export.formats is {','.join(names)!r}; allowed is a list of "
            f"{', '.join(FORMATS)}"
        )
    missing = sorted(
        {
            package
            for name in names
            for package in FORMATS[name].packages
            if not _importable(package)
        }
    )
    if missing:
        raise InputError(
            f"export.formats {','.join(names)} needs {', '.join(missing)}: "
            "pip install -e '.[export]'"
        )


def _importable(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _mend_shapes(model: Any, side: int, batch_size: int | None) -> None:
    """Say the outputs' true shapes.

    jax2onnx takes the batch of some products for 1, which runtimes warn of; shapes of
    values inside are for them to infer.
    """
    del model.graph.value_info[:]
    for output, inner in zip(model.graph.output, ((side, side), ()), strict=True):
        shape = output.type.tensor_type.shape
        del shape.dim[:]
        for size in (batch_size or _BATCH, *inner):
            key = "dim_param" if isinstance(size, str) else "dim_value"
            shape.dim.add(**{key: size})


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what onnx_ir says of every constant inside."""
    logger = logging.getLogger("onnx_ir")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
