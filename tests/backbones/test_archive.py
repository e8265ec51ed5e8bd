"""A torch archive is read as data: hand-written zips, and hostile ones refused."""

import collections
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from torch_archives import (
    VALUES,
    Call,
    Change,
    Named,
    Reduce,
    Storage,
    tensor,
    write_archive,
)

from kanoclip_jax.backbones.archive import read_nested_archive, read_torch_archive
from kanoclip_jax.errors import InputError


def test_tensors_views_and_parameters(tmp_path: Path) -> None:
    shared = Storage("FloatStorage", "a", 12)
    parameter = Named("torch._utils", "_rebuild_parameter")
    root = {
        "whole": tensor(shared, 0, (3, 4), (4, 1)),
        "transposed": tensor(shared, 0, (4, 3), (1, 4)),
        "row": tensor(shared, 4, (4,), (1,)),
        "scalar": tensor(shared, 7, (), ()),
        "empty": tensor(shared, 0, (0, 4), (4, 1)),
        "parameter": Call(parameter, tensor(shared, 0, (2,), (6,)), True, {}),
    }
    state = read_torch_archive(write_archive(tmp_path / "m.bin", root, a=bytes(VALUES)))
    whole = VALUES.reshape(3, 4)
    expected = {
        "whole": whole,
        "transposed": whole.T,
        "row": whole[1],
        "scalar": np.float32(7),
        "empty": np.zeros((0, 4), np.float32),
        "parameter": np.float32([0, 6]),
    }
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(state[name], value)
        assert state[name].dtype == np.float32


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("HalfStorage", np.float16),
        ("BFloat16Storage", ml_dtypes.bfloat16),
        ("DoubleStorage", np.float64),
        ("LongStorage", np.int64),
        ("BoolStorage", np.bool_),
    ],
)
def test_dtypes(tmp_path: Path, kind: str, dtype: Any) -> None:
    values = np.asarray([0, 1, 1], dtype)
    root = {"x": tensor(Storage(kind, "0", 3), 0, (3,), (1,))}
    path = write_archive(tmp_path / "m.bin", root, **{"0": values.tobytes()})
    found = read_torch_archive(path)["x"]
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize(
    ("offset", "shape", "stride"),
    [
        (0, (13,), (1,)),
        (12, (1,), (1,)),
        (0, (3, 4), (5, 1)),
        (1 << 40, (1,), (1,)),
        (-1, (4,), (1,)),
        (4, (3,), (-1,)),
        (0, (3, 4), (1,)),
        (0, (1 << 62, 1 << 62), (0, 1)),
    ],
)
def test_geometry_beyond_the_storage_is_refused(
    tmp_path: Path, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]
) -> None:
    root = {"x": tensor(Storage("FloatStorage", "a", 12), offset, shape, stride)}
    path = write_archive(tmp_path / "m.bin", root, a=bytes(VALUES))
    with pytest.raises(InputError, match="was refused"):
        read_torch_archive(path)


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("function", [os.system, eval, exec, os.mkdir])
def test_code_in_the_pickle_is_named_and_not_run(
    tmp_path: Path, function: Callable[..., object], protocol: int
) -> None:
    proof = tmp_path / "ran"
    argument = {
        os.system: f"touch {proof}",
        eval: f"__import__('os').mkdir({str(proof)!r})",
        exec: f"__import__('os').mkdir({str(proof)!r})",
        os.mkdir: str(proof),
    }[function]
    path = tmp_path / "m.bin"
    with zipfile.ZipFile(path, "w") as archive:
        attack = collections.OrderedDict(x=Reduce(function, argument))
        archive.writestr("m/data.pkl", pickle.dumps(attack, protocol))
    with pytest.raises(InputError, match="it asks for") as caught:
        read_torch_archive(path)
    assert function.__name__ in str(caught.value)
    assert "safetensors" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not proof.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("torch.storage", "_load_from_bytes"),
        ("torch", "load"),
        ("torch._utils", "_rebuild_tensor_v2.__globals__"),
        ("collections", "namedtuple"),
        ("builtins", "getattr"),
    ],
)
def test_any_other_global_is_refused(tmp_path: Path, module: str, name: str) -> None:
    path = write_archive(tmp_path / "m.bin", {"x": Named(module, name)})
    with pytest.raises(InputError, match=f"it asks for {module}.{name}"):
        read_torch_archive(path)


@pytest.mark.parametrize(
    "root",
    [
        {"x": "a text"},
        {1: 2},
        ("a", "tuple"),
        Named("torch", "FloatStorage"),
        {"x": Call(Named("torch", "FloatStorage"), 3)},
    ],
    ids=["text", "number", "tuple", "storage class", "call of a storage class"],
)
def test_anything_but_named_tensors_is_refused(tmp_path: Path, root: object) -> None:
    path = write_archive(tmp_path / "m.bin", root)
    with pytest.raises(InputError, match="safetensors"):
        read_torch_archive(path)


def test_missing_storage_is_refused(tmp_path: Path) -> None:
    root = {"x": tensor(Storage("FloatStorage", "a", 12), 0, (12,), (1,))}
    with pytest.raises(InputError, match="was refused"):
        read_torch_archive(write_archive(tmp_path / "m.bin", root))


def test_short_storage_is_refused(tmp_path: Path) -> None:
    root = {"x": tensor(Storage("FloatStorage", "a", 12), 0, (12,), (1,))}
    path = write_archive(tmp_path / "m.bin", root, a=bytes(VALUES)[:-4])
    with pytest.raises(InputError, match="beyond its storage"):
        read_torch_archive(path)


def test_legacy_pickle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "m.bin"
    path.write_bytes(pickle.dumps({"x": 1}))
    with pytest.raises(InputError, match="no torch archive of the zip kind"):
        read_torch_archive(path)


def test_other_zip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.bin"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(InputError, match="a zip but no torch archive"):
        read_torch_archive(path)


@pytest.mark.parametrize("kept", [0.5, 0.99])
def test_truncated_zip_is_refused(tmp_path: Path, kept: float) -> None:
    root = {"x": tensor(Storage("FloatStorage", "a", 12), 0, (12,), (1,))}
    path = write_archive(tmp_path / "m.bin", root, a=bytes(VALUES))
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(InputError, match=str(path)):
        read_torch_archive(path)


def test_corrupt_storage_is_refused(tmp_path: Path) -> None:
    root = {"x": tensor(Storage("FloatStorage", "a", 12), 0, (12,), (1,))}
    path = write_archive(tmp_path / "m.bin", root, a=bytes(VALUES))
    content = path.read_bytes()
    path.write_bytes(content.replace(bytes(VALUES), bytes(48)))
    with pytest.raises(InputError, match=str(path)):
        read_torch_archive(path)


def test_big_endian_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.bin"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data.pkl", pickle.dumps({}))
        archive.writestr("m/byteorder", "big")
    with pytest.raises(InputError, match="big-endian"):
        read_torch_archive(path)


def test_stride_zero_cannot_inflate_a_storage(tmp_path: Path) -> None:
    root = {"x": tensor(Storage("FloatStorage", "a", 12), 0, (10**11,), (0,))}
    path = write_archive(tmp_path / "m.bin", root, a=bytes(VALUES))
    with pytest.raises(InputError, match="larger than its storage"):
        read_torch_archive(path)


def test_a_tensor_is_no_storage(tmp_path: Path) -> None:
    """Rows of it are not numbers: an offset in them would leave its memory."""
    whole = tensor(Storage("FloatStorage", "a", 12), 0, (3, 4), (4, 1))
    root = {"x": tensor(whole, 4, (8,), (1,))}
    path = write_archive(tmp_path / "m.bin", root, a=bytes(VALUES))
    with pytest.raises(InputError, match="has no storage"):
        read_torch_archive(path)


@pytest.mark.parametrize(
    "changed",
    [
        Named("torch._utils", "_rebuild_tensor_v2"),
        Named("torch", "FloatStorage"),
        Storage("FloatStorage", "a", 12),
        tensor(Storage("FloatStorage", "a", 12), 0, (3, 4), (4, 1)),
    ],
    ids=["function", "storage class", "storage", "tensor"],
)
def test_a_pickle_changes_nothing_but_dicts(tmp_path: Path, changed: object) -> None:
    root = {"x": Change(changed, (None, {"content": 3}))}
    path = write_archive(tmp_path / "m.bin", root, a=bytes(VALUES))
    with pytest.raises(InputError, match="changes something that is no dict"):
        read_torch_archive(path)


def test_a_dict_with_other_methods_is_read_all_the_same(tmp_path: Path) -> None:
    """Torch itself sets an attribute, `_metadata`, of the dicts that it saves."""
    storage = Storage("FloatStorage", "a", 12)
    empty = Call(Named("collections", "OrderedDict"))
    items = Named("collections", "OrderedDict")
    root = {"x": tensor(storage, 3, (), ()), "y": Change(empty, {"items": items})}
    path = write_archive(tmp_path / "m.bin", root, a=bytes(VALUES))
    assert read_nested_archive(path) == {"x": 3, "y": {}}


def test_a_memo_of_gigabytes_is_refused(tmp_path: Path) -> None:
    """Python's unpickler makes a table as long as the highest number of its memo."""
    path = tmp_path / "big.bin"
    with zipfile.ZipFile(path, "w") as archive:
        number = (2**29).to_bytes(4, "little")
        data = b"\x80\x02}" + pickle.LONG_BINPUT + number + pickle.STOP
        archive.writestr("archive/data.pkl", data)
    with pytest.raises(InputError, match="numbers more than it holds"):
        read_torch_archive(path)


def test_one_storage_is_not_made_a_thousand_times(tmp_path: Path) -> None:
    whole = tensor(Storage("FloatStorage", "a", 12), 0, (12,), (1,))
    tied = {f"w{i}": whole for i in range(4)}
    read_torch_archive(write_archive(tmp_path / "m.bin", tied, a=bytes(VALUES)))
    # A view of a byte of a pickle takes as much as the whole storage.
    large = tensor(Storage("FloatStorage", "a", 2**16), 0, (2**16,), (1,))
    many = {f"w{i}": large for i in range(100)}
    write_archive(tmp_path / "n.bin", many, a=bytes(2**18))
    with pytest.raises(InputError, match="larger than all it stores"):
        read_torch_archive(tmp_path / "n.bin")


def test_a_long_list_of_tensors_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "long.bin"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + b"}0" * 2**22 + b"}.")
    with pytest.raises(InputError, match="has more than 4 MB"):
        read_torch_archive(path)


def test_sizes_that_the_file_does_not_have_are_refused(tmp_path: Path) -> None:
    """The directory of a zip may name the same bytes any number of times."""
    whole = tensor(Storage("FloatStorage", "a", 12), 0, (12,), (1,))
    path = write_archive(tmp_path / "m.bin", {"w": whole}, a=bytes(VALUES))
    data = path.read_bytes()
    start = data.index(b"PK\x01\x02")
    sizes = (2**31).to_bytes(4, "little") * 2
    path.write_bytes(data[: start + 20] + sizes + data[start + 28 :])
    with pytest.raises(InputError, match="more than it has: entries overlap"):
        read_torch_archive(path)
