"""Torch archives written by hand, without torch: honest and hostile ones."""

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

VALUES = np.arange(12, dtype=np.float32)


class Named:
    """Pickles as a reference to a global that need not exist here."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class Storage:
    """Pickles as torch's persistent id of a storage."""

    def __init__(self, kind: str, key: str, size: int, place: str = "cpu") -> None:
        self.pid = ("storage", Named("torch", kind), key, place, size)


class Call:
    """Pickles as a call of a global."""

    def __init__(self, function: Named, *arguments: object) -> None:
        self.function, self.arguments = function, arguments


class Change:
    """Pickles as an object whose state is set afterwards."""

    def __init__(self, value: object, state: object) -> None:
        self.value, self.state = value, state


def opcodes(value: object) -> bytes:
    """A minimal pickler: torch's globals by name, without torch."""
    if isinstance(value, Named):
        return f"c{value.module}\n{value.name}\n".encode()
    if isinstance(value, Storage):
        return opcodes(value.pid) + pickle.BINPERSID
    if isinstance(value, Call):
        return opcodes(value.function) + opcodes(value.arguments) + pickle.REDUCE
    if isinstance(value, Change):
        return opcodes(value.value) + opcodes(value.state) + pickle.BUILD
    if isinstance(value, tuple):
        return pickle.MARK + b"".join(map(opcodes, value)) + pickle.TUPLE
    if isinstance(value, dict):
        items = b"".join(opcodes(k) + opcodes(v) for k, v in value.items())
        return pickle.EMPTY_DICT + pickle.MARK + items + pickle.SETITEMS
    # Python's own pickler serves the plain values; its frame and STOP are cut off.
    return pickle.dumps(value, protocol=2)[2:-1]


def tensor(
    storage: Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]
) -> Call:
    rebuild = Named("torch._utils", "_rebuild_tensor_v2")
    hooks = Call(Named("collections", "OrderedDict"))
    return Call(rebuild, storage, offset, shape, stride, False, hooks)


def write_archive(path: Path, root: object, **storages: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + opcodes(root) + pickle.STOP)
        archive.writestr("archive/byteorder", "little")
        for key, data in storages.items():
            archive.writestr(f"archive/data/{key}", data)
    return path


class Reduce:
    """Pickles as any call, by Python's own protocol: the usual attack."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call
