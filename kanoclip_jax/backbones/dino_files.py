"""A DINOv2's file of weights, under transformers' names or its authors', as one tree."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError

from kanoclip_jax import documents
from kanoclip_jax.backbones import shapes
from kanoclip_jax.backbones.tensors import read_tensors
from kanoclip_jax.errors import InputError

KINDS = ("dinov2_with_registers", "dinov2")
_HEAD = 64
_EPSILON = 1e-6
# Beginnings and parts of names; the authors' first, then transformers'.
_BEGINNINGS = {
    "patch_embed.proj.": "patch.",
    "pos_embed": "positions",
    "cls_token": "cls",
    "register_tokens": "registers",
    "embeddings.patch_embeddings.projection.": "patch.",
    "embeddings.position_embeddings": "positions",
    "embeddings.cls_token": "cls",
    "embeddings.register_tokens": "registers",
    "encoder.layer.": "blocks.",
    "layernorm.": "norm.",
}
_PARTS = {
    ".attn.proj.": ".out.",
    ".ls1.gamma": ".scale1",
    ".ls2.gamma": ".scale2",
    ".attention.attention.": ".",
    ".attention.output.dense.": ".out.",
    ".layer_scale1.lambda1": ".scale1",
    ".layer_scale2.lambda1": ".scale2",
    ".mlp.": ".",
}
_FUSED = ".attn.qkv."
# Of pre-training alone.
_UNUSED = re.compile(r"(^|\.)mask_token$")
# The gated MLP of the largest model.
_GATED = re.compile(r"\.mlp\.(w12|w3|weights_in|weights_out)\.")


class Shape(NamedTuple):
    """What a DINOv2 is made of, as far as its weights do not say it themselves."""

    depth: int
    heads: int
    epsilon: float
    patch: int
    registers: int


def read_dino(
    path: Path,
) -> tuple[Shape, dict[tuple[str, ...], np.ndarray]]:
    """Shape and float32 weights, in the names and axes of `dino.Tower`.

    Args:
        path: `model.safetensors` or a torch archive. A `config.json` beside it says how
            many heads there are; without one a head is 64 wide, as in all that were
            published.

    Raises:
        InputError: no DINOv2 with a plain MLP.
    """
    try:
        named = read_tensors(path)
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(
            f"{path} cannot be read ({type(error).__name__}: {error}); fetch it again"
        ) from None
    gated = [name for name in named if _GATED.search(name)]
    if gated:
        raise InputError(
            f"{path} has a gated MLP ({gated[0]}), as the giant has; allowed: DINOv2's "
            "small, base and large"
        )
    try:
        flat = _rename(named)
    except (ValueError, TypeError, IndexError) as error:
        raise InputError(
            f"{path} bends a part of a DINOv2 ({error}); fetch it again"
        ) from None
    lacking = [
        key
        for key in (("cls",), ("positions",), ("patch", "kernel"), ("norm", "scale"))
        if key not in flat
    ]
    if lacking:
        raise InputError(
            f"{path} holds no DINOv2: it lacks {'.'.join(lacking[0])}; fetch, for one, "
            "facebook/dinov2-with-registers-base"
        )
    sizes = {("cls",): 2, ("positions",): 2, ("patch", "kernel"): 4}
    bent = [key for key, axes in sizes.items() if flat[key].ndim != axes]
    if bent or not all(flat[key].size for key in sizes):
        raise InputError(
            f"{path} holds no DINOv2: {'.'.join((bent or [('cls',)])[0])} has another "
            "shape; fetch it again"
        )
    width, depth = flat["cls",].shape[-1], len({k[0] for k in flat if "norm1" in k})
    known = _described(path.parent / "config.json")
    heads = known.get("num_attention_heads", max(width // _HEAD, 1))
    if width % heads or known.get("num_hidden_layers", depth) != depth:
        raise InputError(
            f"{path.parent / 'config.json'} does not fit {path.name}, which has {depth} "
            f"layers of {width} numbers; {shapes.FETCH}"
        )
    shape = Shape(
        depth=depth,
        heads=heads,
        epsilon=known.get("layer_norm_eps", _EPSILON),
        patch=flat["patch", "kernel"].shape[0],
        registers=len(flat["registers",]) if ("registers",) in flat else 0,
    )
    return shape, flat


def _described(path: Path) -> Mapping[str, Any]:
    """What a `config.json` says, if there is one and it is a DINOv2's."""
    if not path.is_file():
        return {}
    content = documents.read(path, shapes.DINO, shapes.FETCH)
    kind = content["model_type"]
    if kind not in KINDS:
        raise InputError(
            f"{path} describes a {kind!r} model; a guide is one of {', '.join(KINDS)}"
        )
    if content.get("hidden_act", "gelu") != "gelu":
        raise InputError(
            f"{path} has hidden_act {content['hidden_act']!r}; allowed: 'gelu'"
        )
    return content


def _rename(named: Mapping[str, np.ndarray]) -> dict[tuple[str, ...], np.ndarray]:
    flat: dict[tuple[str, ...], np.ndarray] = {}
    for name, tensor in named.items():
        # A model with a head on top has its own name before all others.
        name = re.sub(r"^dinov2(_with_registers)?\.", "", name)
        if _UNUSED.search(name):
            continue
        if _FUSED in name:
            for part, piece in zip(
                ("query", "key", "value"), np.split(tensor, 3), strict=True
            ):
                _put(flat, name.replace(_FUSED, f".{part}."), piece)
        else:
            _put(flat, name, tensor)
    return flat


def _put(
    flat: dict[tuple[str, ...], np.ndarray], name: str, tensor: np.ndarray
) -> None:
    """Add a weight under its path, its axes as Flax has them."""
    for old, new in _BEGINNINGS.items():
        if name.startswith(old):
            name = new + name.removeprefix(old)
            break
    for old, new in _PARTS.items():
        name = name.replace(old, new)
    name = re.sub(r"^blocks\.(\d+)\.", r"blocks_\1.", name)
    *path, last = name.split(".")
    tensor = np.asarray(tensor, np.float32)
    if last == "weight":
        last = "scale" if tensor.ndim == 1 else "kernel"
        axes = {1: (0,), 2: (1, 0), 4: (2, 3, 1, 0)}.get(tensor.ndim)
        tensor = tensor.transpose(axes)
    elif name in ("cls", "positions", "registers"):
        tensor = tensor.reshape(-1, tensor.shape[-1])
    flat[*path, last] = tensor
