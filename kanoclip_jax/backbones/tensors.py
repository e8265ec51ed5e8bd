"""From a file of weights to arrays: read in any format, renamed, checked, digested."""

import hashlib
from pathlib import Path
from typing import Any, TypeAlias

import flax
import numpy as np
from safetensors import safe_open
from transformers.modeling_flax_pytorch_utils import rename_key_and_reshape_tensor

from kanoclip_jax import documents
from kanoclip_jax.backbones import openclip, shapes
from kanoclip_jax.backbones.archive import read_torch_archive
from kanoclip_jax.backbones.locate import INDEX, TORCH, is_openclip
from kanoclip_jax.errors import InputError

Flat: TypeAlias = dict[tuple[str, ...], np.ndarray]


def read_weights(path: Path, expected: dict[tuple[str, ...], tuple[int, ...]]) -> Flat:
    """Float32 weights under Flax names; every expected one is there in its shape.

    Args:
        path: the file.
        expected: shapes, by names.

    Raises:
        InputError: it cannot be read, or its weights are others.
    """
    try:
        if path.suffix == ".msgpack":
            tree = flax.serialization.msgpack_restore(path.read_bytes())
            flat = flax.traverse_util.flatten_dict(tree.get("params", tree))
            flat = {key: np.asarray(tensor) for key, tensor in flat.items()}
        else:
            named = read_tensors(path)
            if is_openclip(path.parent):
                named = openclip.rename(named)
            flat = dict(
                rename_key_and_reshape_tensor(
                    tuple(key.split(".")), np.asarray(tensor), expected, ""
                )
                for key, tensor in named.items()
            )
    except InputError:
        raise
    # Damaged files of three formats, whose readers promise no kinds of errors.
    except Exception as error:  # noqa: BLE001
        raise InputError(
            f"{path} cannot be read ({type(error).__name__}: {error}); {shapes.FETCH}"
        ) from None
    missing = sorted(".".join(key) for key in expected if key not in flat)
    if missing:
        raise InputError(
            f"{path} lacks {len(missing)} of the weights that its config.json asks for: "
            f"{', '.join(missing[:3])}, …"
        )
    for key, shape in expected.items():
        if shape == () and np.size(flat[key]) == 1:
            # Some files hold the scalar `logit_scale` as a vector of one.
            flat[key] = np.reshape(flat[key], ())
    wrong = [key for key, shape in expected.items() if flat[key].shape != shape]
    if wrong:
        key = wrong[0]
        raise InputError(
            f"{path} does not fit its config.json: {'.'.join(key)} is "
            f"{flat[key].shape}, not {expected[key]}"
        )
    odd = [key for key in expected if flat[key].dtype.kind in "OSUM"]
    if odd:
        raise InputError(
            f"{path} holds no numbers in {'.'.join(odd[0])}; {shapes.FETCH}"
        )
    return {key: np.asarray(flat[key], np.float32) for key in sorted(expected)}


def read_tensors(path: Path) -> dict[str, Any]:
    """Named tensors of a file, torch's or safetensors'; of an index, those of all."""
    if path.name == INDEX:
        content = documents.read(path, shapes.INDEX, shapes.FETCH)
        files = sorted(set(content["weight_map"].values()))
        for file in files:
            if Path(file).name != file or not file.endswith(".safetensors"):
                raise InputError(
                    f"{path} names {file!r:.80}; allowed are .safetensors files beside "
                    f"it: {shapes.FETCH}"
                )
        merged: dict[str, Any] = {}
        for file in files:
            merged |= _read_safetensors(path.parent / file)
        return merged
    if path.suffix in TORCH:
        return read_torch_archive(path)
    return _read_safetensors(path)


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    # On the host, where names and types change: Flax's reader takes each to the device.
    with safe_open(path, framework="np") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


def digest(flat: Flat) -> str:
    """sha256 of weights and their names, in float32: the same from any file format."""
    found = hashlib.sha256()
    for key in sorted(flat):
        found.update("/".join(key).encode())
        found.update(str(flat[key].shape).encode())
        found.update(np.ascontiguousarray(flat[key]))
    return found.hexdigest()
