"""A reader of `pytorch_model.bin` that runs no code from the file and needs no torch.

A torch archive is a zip with one pickle that names tensors and one raw file for each
storage. Unpickling may call whatever global the file names, so this reader resolves
exactly the few that a tensor archive needs and refuses everything else.
"""

import collections
import io
import math
import pickle
import zipfile
from pathlib import Path
from typing import NamedTuple

import ml_dtypes
import numpy as np

from kanoclip_jax.errors import InputError

_STORAGE_DTYPES = {
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "DoubleStorage": np.dtype("<f8"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}


class _StorageType(NamedTuple):
    """Stands in for a torch storage class."""

    dtype: np.dtype


def _rebuild_tensor(
    storage: np.ndarray,
    offset: int,
    shape: tuple[int, ...],
    stride: tuple[int, ...],
    *_: object,
) -> np.ndarray:
    """A copy of the strided view; numpy checks nothing here, so the bounds are ours."""
    if any(n < 0 for n in (offset, *shape, *stride)) or len(shape) != len(stride):
        raise pickle.UnpicklingError("a tensor has a negative or uneven geometry")
    if 0 in shape:
        return np.zeros(shape, storage.dtype)
    last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
    if last >= storage.size:
        raise pickle.UnpicklingError("a tensor reaches beyond its storage")
    # A stride of 0 would make any size of a few bytes.
    if math.prod(shape) > storage.size:
        raise pickle.UnpicklingError("a tensor is larger than its storage")
    strides = tuple(step * storage.itemsize for step in stride)
    view = np.lib.stride_tricks.as_strided(storage[offset:], shape, strides)
    return view.copy()


def _rebuild_parameter(data: np.ndarray, *_: object) -> np.ndarray:
    return data


_ALLOWED = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
} | {("torch", name): _StorageType(dtype) for name, dtype in _STORAGE_DTYPES.items()}


class _TensorUnpickler(pickle.Unpickler):
    """Resolves the allow-listed globals and the archive's own storages only."""

    def __init__(self, archive: zipfile.ZipFile, prefix: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{prefix}data.pkl")))
        self._archive, self._prefix = archive, prefix
        self._storages: dict[str, np.ndarray] = {}

    def find_class(self, module: str, name: str) -> object:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it asks for {module}.{name}, which no tensor archive needs"
            ) from None

    def persistent_load(self, pid: object) -> np.ndarray:
        kind, storage_type, key, _, _ = pid
        if kind != "storage" or not isinstance(storage_type, _StorageType):
            raise pickle.UnpicklingError("it refers to something that is no storage")
        if key not in self._storages:
            data = self._archive.read(f"{self._prefix}data/{key}")
            self._storages[key] = np.frombuffer(data, storage_type.dtype)
        return self._storages[key]


def read_torch_archive(path: Path) -> dict[str, np.ndarray]:
    """Read a state dict saved by `torch.save`.

    Args:
        path: a zip archive as torch 1.6 and later write it.

    Returns:
        Tensors by name, in the file's own dtypes.

    Raises:
        InputError: not such an archive, or one that holds anything but tensors.
    """
    remedy = "use a model.safetensors from a source you trust instead"
    try:
        with zipfile.ZipFile(path) as archive:
            if any(e.compress_type != zipfile.ZIP_STORED for e in archive.infolist()):
                raise InputError(
                    f"{path} is compressed, which torch never does; {remedy}"
                )
            pickles = [n for n in archive.namelist() if n.endswith("/data.pkl")]
            if len(pickles) != 1:
                raise InputError(f"{path} is a zip but no torch archive; {remedy}")
            prefix = pickles[0].removesuffix("data.pkl")
            order = f"{prefix}byteorder"
            if order in archive.namelist() and archive.read(order) != b"little":
                raise InputError(f"{path} is big-endian; {remedy}")
            state = _TensorUnpickler(archive, prefix).load()
    except zipfile.BadZipFile:
        raise InputError(
            f"{path} is no torch archive of the zip kind (torch 1.6 or later); {remedy}"
        ) from None
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001
        # A hostile pickle can fail in any way; none of them may reach the user raw.
        raise InputError(f"{path} was refused: {error}; {remedy}") from None
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(tensor, np.ndarray)
        for name, tensor in state.items()
    ):
        raise InputError(f"{path} holds something other than named tensors; {remedy}")
    return dict(state)
