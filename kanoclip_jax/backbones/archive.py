"""A reader of torch's archives that runs no code from the file and needs no torch.

A torch archive is a zip with one pickle that names tensors and one raw file for each
storage. Unpickling may call whatever global the file names, so this reader resolves
exactly the few that a tensor archive needs and refuses everything else.
"""

import collections
import io
import math
import pickle
import pickletools
import zipfile
from pathlib import Path
from typing import Any

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
# The authors' files have two levels: a part of the model, and its tensors.
_DEEPEST = 8
# A thousand tensors take some 200 kB; reading one byte of it takes some hundred of memory.
_MOST_PICKLE = 4 * 2**20
# Tied weights are stored once and made twice; more is no model.
_MOST_TIMES = 4
# Of what a pickle puts on its stack, the kinds that matter here.
_MARK = object()
_KINDS = {
    pickletools.markobject: _MARK,
    pickletools.pyunicode: str,
    pickletools.pybytes_or_str: str,
}
_SETS = ("EMPTY_SET", "ADDITEMS", "FROZENSET")
_PUTS = ("PUT", "BINPUT", "LONG_BINPUT")
_GETS = ("GET", "BINGET", "LONG_BINGET")


class _Sealed:
    """What a pickle may pass on but not change, as it may any other object."""

    __slots__ = ("content",)

    def __init__(self, content: Any) -> None:
        self.content = content

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("it changes something that is no dict")


class _StorageType(_Sealed):
    """Stands in for a torch storage class; holds its dtype."""


class _Storage(_Sealed):
    """Holds all numbers of a storage as a vector, and what tensors may take in all."""

    __slots__ = ("budget",)

    def __init__(self, content: np.ndarray, budget: "_Budget") -> None:
        super().__init__(content)
        self.budget = budget


class _Budget(_Sealed):
    """Bytes that the tensors of an archive may still take: its content."""

    def spend(self, size: int) -> None:
        self.content -= size
        if self.content < 0:
            raise pickle.UnpicklingError("its tensors are larger than all it stores")


class _Tensor(_Sealed):
    """Holds an array of its own."""


class _Rebuild(_Sealed):
    """Stands in for a function of torch; holds ours."""

    def __call__(self, *arguments: object) -> _Tensor:
        return self.content(*arguments)


def _rebuild_tensor(
    storage: _Storage,
    offset: int,
    shape: tuple[int, ...],
    stride: tuple[int, ...],
    *_: object,
) -> _Tensor:
    """A copy of the strided view; numpy checks nothing here, so the bounds are ours."""
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError("a tensor has no storage")
    data = storage.content
    if any(n < 0 for n in (offset, *shape, *stride)) or len(shape) != len(stride):
        raise pickle.UnpicklingError("a tensor has a negative or uneven geometry")
    if 0 in shape:
        return _Tensor(np.zeros(shape, data.dtype))
    last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
    if last >= data.size:
        raise pickle.UnpicklingError("a tensor reaches beyond its storage")
    # A stride of 0 would make any size of a few bytes.
    if math.prod(shape) > data.size:
        raise pickle.UnpicklingError("a tensor is larger than its storage")
    storage.budget.spend(math.prod(shape) * data.itemsize)
    strides = tuple(step * data.itemsize for step in stride)
    view = np.lib.stride_tricks.as_strided(data[offset:], shape, strides)
    return _Tensor(view.copy())


def _rebuild_parameter(data: _Tensor, *_: object) -> _Tensor:
    return data


def _empty_dict() -> collections.OrderedDict:
    """An OrderedDict as pickles begin it: what it holds follows."""
    return collections.OrderedDict()


_ALLOWED = {
    ("collections", "OrderedDict"): _Rebuild(_empty_dict),
    ("torch._utils", "_rebuild_tensor_v2"): _Rebuild(_rebuild_tensor),
    ("torch._utils", "_rebuild_parameter"): _Rebuild(_rebuild_parameter),
} | {("torch", name): _StorageType(dtype) for name, dtype in _STORAGE_DTYPES.items()}


class _TensorUnpickler(pickle.Unpickler):
    """Resolves the allow-listed globals and the archive's own storages only."""

    def __init__(self, archive: zipfile.ZipFile, prefix: str) -> None:
        name = f"{prefix}data.pkl"
        if archive.getinfo(name).file_size > _MOST_PICKLE:
            raise pickle.UnpicklingError(
                f"its list of tensors has more than {_MOST_PICKLE >> 20} MB"
            )
        data = archive.read(name)
        _check_hashing(data)
        super().__init__(io.BytesIO(data))
        self._archive, self._prefix = archive, prefix
        stored = sum(entry.file_size for entry in archive.infolist())
        self._budget = _Budget(_MOST_TIMES * stored)
        self._storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> object:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it asks for {module}.{name}, which no tensor archive needs"
            ) from None

    def persistent_load(self, pid: object) -> _Storage:
        kind, storage_type, key, _, _ = pid
        if kind != "storage" or not isinstance(storage_type, _StorageType):
            raise pickle.UnpicklingError("it refers to something that is no storage")
        if not isinstance(key, str):
            raise pickle.UnpicklingError("it refers to a storage by no name")
        if key not in self._storages:
            data = self._archive.read(f"{self._prefix}data/{key}")
            content = np.frombuffer(data, storage_type.content)
            self._storages[key] = _Storage(content, self._budget)
        return self._storages[key]


def _check_hashing(data: bytes) -> None:
    """Refuse a pickle that hashes anything but strings, before it is loaded.

    The hash of a tuple of tuples descends into all of them, without a limit: some
    200,000 levels end the process, and a few dozen of pairs never end. The memo is a
    table as long as its highest number: one of 2^29 takes 4 GB.
    """
    stack: list[object] = []
    memo: dict[object, object] = {}
    for opcode, argument, _ in pickletools.genops(data):
        name = opcode.name
        if name in _SETS:
            raise pickle.UnpicklingError("it holds a set, which no tensor archive does")
        if name in _PUTS:
            if not 0 <= argument <= len(data):
                raise pickle.UnpicklingError("it numbers more than it holds")
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in _GETS:
            stack.append(memo[argument])
        else:
            taken = _pop(stack, opcode.stack_before)
            if name in ("SETITEM", "SETITEMS", "DICT"):
                keys = taken[1:2] if name == "SETITEM" else taken[::2]
                if any(key is not str for key in keys):
                    raise pickle.UnpicklingError("it has a key that is no name")
            stack += [_KINDS.get(kind, object) for kind in opcode.stack_after]


def _pop(stack: list[object], before: list[pickletools.StackObject]) -> list[object]:
    """What an opcode takes from the stack; of that with a mark, what lies above it."""
    if pickletools.markobject in before:
        mark = len(stack) - 1 - stack[::-1].index(_MARK)
        taken = stack[mark + 1 :]
        del stack[mark - before.index(pickletools.markobject) :]
    else:
        first = len(stack) - len(before)
        taken = stack[first:]
        del stack[first:]
    return taken


def read_torch_archive(path: Path) -> dict[str, np.ndarray]:
    """Read a state dict saved by `torch.save`.

    Args:
        path: a zip archive as torch 1.6 and later write it.

    Returns:
        Tensors by name, in the file's own dtypes.

    Raises:
        InputError: not such an archive, or one that holds anything but tensors.
    """
    return _read(path, 1, "use a model.safetensors from a source you trust instead")


def read_nested_archive(path: Path) -> dict[str, Any]:
    """Read named tensors, and dicts of them, saved by `torch.save`.

    As published checkpoints hold them: `{"prompt_learner": {"ctx_pos": ...}}`.

    Args:
        path: a zip archive as torch 1.6 and later write it, saved on any device.

    Returns:
        Tensors by name, in the file's own dtypes, nested as in the file.

    Raises:
        InputError: not such an archive, or one that holds anything but tensors and
            dicts of them, a dict in two places, or more than 8 levels.
    """
    return _read(
        path,
        _DEEPEST,
        "use the authors' own file, or save its tensors alone, in dicts by name, with "
        "torch.save of torch 1.6 or later",
    )


def _read(path: Path, deepest: int, remedy: str) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            if any(e.compress_type != zipfile.ZIP_STORED for e in archive.infolist()):
                raise InputError(
                    f"{path} is compressed, which torch never does; {remedy}"
                )
            stored = sum(max(e.file_size, e.compress_size) for e in archive.infolist())
            if stored > path.stat().st_size:
                raise InputError(
                    f"{path} says that it holds {stored:,} bytes, more than it has: "
                    f"entries overlap, or it is damaged; {remedy}"
                )
            pickles = [n for n in archive.namelist() if n.endswith("/data.pkl")]
            if len(pickles) != 1:
                raise InputError(f"{path} is a zip but no torch archive; {remedy}")
            prefix = pickles[0].removesuffix("data.pkl")
            order = f"{prefix}byteorder"
            little = order not in archive.namelist() or (
                archive.getinfo(order).file_size < 16
                and archive.read(order) == b"little"
            )
            if not little:
                raise InputError(f"{path} is big-endian; {remedy}")
            state = _TensorUnpickler(archive, prefix).load()
        return _open(state, "it", deepest, set())
    except zipfile.BadZipFile:
        raise InputError(
            f"{path} is no torch archive of the zip kind (torch 1.6 or later), or is "
            f"damaged; {remedy}"
        ) from None
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001
        # A hostile pickle can fail in any way; none of them may reach the user raw.
        reason = str(error) or type(error).__name__
        raise InputError(f"{path} was refused: {reason}; {remedy}") from None


def _open(node: object, where: str, levels: int, met: set[int]) -> dict[str, Any]:
    """The arrays of a dict of sealed tensors, and of the dicts in it."""
    if not isinstance(node, dict) or not levels:
        allowed = "named tensors and dicts of them" if levels else "a tensor"
        raise pickle.UnpicklingError(
            f"{where} is of type {type(node).__name__}; allowed: {allowed}"
        )
    # A few dicts that hold each other would unfold to any number of them.
    if id(node) in met:
        raise pickle.UnpicklingError(f"{where} is a dict that it holds elsewhere too")
    met.add(id(node))
    arrays: dict[str, Any] = {}
    # A pickle may have given an OrderedDict another `items`.
    for name, value in dict.items(node):
        if not isinstance(name, str):
            raise pickle.UnpicklingError(f"{where} has a key that is no name")
        if isinstance(value, _Tensor):
            arrays[name] = value.content
        else:
            arrays[name] = _open(value, f"its {name[:60]!r}", levels - 1, met)
    return arrays
