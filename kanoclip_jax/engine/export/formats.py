"""The formats: how a program is written to each, and run again from what was written."""

import importlib
import importlib.util
import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.export
import numpy as np
from safetensors.numpy import load_file, save

from kanoclip_jax.engine.export.description import Inside, into_onnx, into_openvino
from kanoclip_jax.engine.export.program import INPUTS, OUTPUTS, Program
from kanoclip_jax.engine.export.runtimes import (
    DOCUMENT,
    Started,
    import_openvino,
    start_onnxruntime,
    start_openvino,
)
from kanoclip_jax.errors import InputError
from kanoclip_jax.ops import lowering

# Maps and scores of a batch of squared pictures, each with the number of its class; a
# model of one class does not look at that.
Run = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]

ONNX, IR, STABLEHLO = "model.onnx", "model.xml", "model.stablehlo"
WEIGHTS = "model.safetensors"
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
        write: the program for a batch of so many, or of any number, into a folder,
            with what its file is to say of it.
        load: what was written, as its own runtime runs it.
    """

    packages: tuple[str, ...]
    write: Callable[[Program, Path, int | None, Inside | None], None]
    load: Callable[[Path], Run]


def write_onnx(
    program: Program, folder: Path, batch_size: int | None, said: Inside | None = None
) -> None:
    """Write `model.onnx`."""
    import onnx
    from jax2onnx import to_onnx

    with lowering.tracing_for("onnx"), _quiet():
        model = to_onnx(
            program,
            program.arguments(batch_size or _BATCH),
            model_name="kanoclip",
            opset=OPSET,
            input_names=program.inputs,
            output_names=OUTPUTS,
        )
    _mend_shapes(model, program.image_size, batch_size)
    if said:
        into_onnx(model, said)
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


def write_openvino(
    program: Program, folder: Path, batch_size: int | None, said: Inside | None = None
) -> None:
    """Write `model.xml` and `model.bin`, by way of ONNX where it is there."""
    openvino = import_openvino()
    with tempfile.TemporaryDirectory(dir=folder) as passing:
        source = folder
        if not (folder / ONNX).exists():
            source = Path(passing)
            write_onnx(program, source, batch_size)
        model = openvino.Core().read_model(source / ONNX)
        if said:
            into_openvino(model, said)
        openvino.save_model(model, folder / IR, compress_to_fp16=False)
        del model


def load_openvino(folder: Path, precision: str = "float32", file: str = IR) -> Run:
    """The IR on OpenVINO's CPU, in float32 whatever the CPU would rather take."""
    return _by_name(start_openvino(folder / file, precision=precision))


def _by_name(started: Started) -> Run:
    return lambda *given: tuple(started(dict(zip(INPUTS, given, strict=True))))


def write_stablehlo(
    program: Program, folder: Path, batch_size: int | None, said: Inside | None = None
) -> None:
    """Write `model.stablehlo`: what `jax.export` serialises, for CPU and CUDA.

    Its first argument is the weights by name, which lie in `model.safetensors`: as
    constants they would be copied several times on the way, and be read as text.
    """
    batch = batch_size or jax.export.symbolic_shape(_BATCH)[0]
    weights, call = program.apart()

    def export(
        names: Iterable[str], batch: Any, platforms: tuple[str, ...]
    ) -> jax.export.Exported:
        types = {
            name: jax.ShapeDtypeStruct(weights[name].shape, weights[name].dtype)
            for name in names
        }
        return jax.export.export(jax.jit(call), platforms=platforms)(
            types, *program.arguments(batch)
        )

    with lowering.tracing_for("any"):
        # Prompts are baked in, so that the text tower among others is never read. A
        # program of any batch says that it keeps all of its arguments.
        kept = set(export(weights, 1, PLATFORMS[:1]).module_kept_var_idx)
        names = [name for i, name in enumerate(sorted(weights)) if i in kept]
        exported = export(names, batch, PLATFORMS)
    (folder / STABLEHLO).write_bytes(exported.serialize())
    tensors = {name: np.asarray(weights[name], order="C") for name in names}
    # Its own `save_file` would leave a file that its owner alone may read.
    (folder / WEIGHTS).write_bytes(
        save(tensors, {DOCUMENT: said.document} if said else None)
    )


def load_stablehlo(folder: Path) -> Run:
    """The StableHLO program on this process's JAX, on the CPU.

    An accelerator would round its products. Programs of before, which hold their
    weights, have no file of them.
    """
    exported = jax.export.deserialize(bytearray((folder / STABLEHLO).read_bytes()))
    weights = (folder / WEIGHTS).is_file()
    leading = (load_file(folder / WEIGHTS),) if weights else ()
    call = jax.jit(exported.call)
    count = len(exported.in_avals) - sum(map(len, leading))

    def run(*given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with jax.default_device(jax.devices("cpu")[0]):
            return tuple(map(np.asarray, call(*leading, *given[:count])))

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
            "pip install 'kanoclip-jax[export]'"
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
