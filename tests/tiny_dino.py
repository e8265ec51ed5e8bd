"""A DINOv2 small enough for tests, with random weights, as transformers writes it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

CONFIG: dict[str, Any] = {
    "model_type": "dinov2_with_registers",
    "architectures": ["Dinov2WithRegistersModel"],
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "mlp_ratio": 2,
    "patch_size": 4,
    "image_size": 24,
    "num_register_tokens": 2,
    "layer_norm_eps": 1e-6,
    "hidden_act": "gelu",
}


def shapes(config: Mapping[str, Any] = CONFIG) -> dict[str, tuple[int, ...]]:
    """Names and shapes of its weights, as transformers has them."""
    width, patch = config["hidden_size"], config["patch_size"]
    inner, grid = width * config["mlp_ratio"], config["image_size"] // patch
    found: dict[str, tuple[int, ...]] = {
        "embeddings.cls_token": (1, 1, width),
        "embeddings.mask_token": (1, width),
        "embeddings.position_embeddings": (1, grid**2 + 1, width),
        "embeddings.patch_embeddings.projection.weight": (width, 3, patch, patch),
        "embeddings.patch_embeddings.projection.bias": (width,),
        "layernorm.weight": (width,),
        "layernorm.bias": (width,),
    }
    if config.get("num_register_tokens"):
        registers = (1, config["num_register_tokens"], width)
        found["embeddings.register_tokens"] = registers
    linear = {
        f"attention.{name}": (width, width)
        for name in ("attention.query", "attention.key", "attention.value")
    } | {
        "attention.output.dense": (width, width),
        "mlp.fc1": (inner, width),
        "mlp.fc2": (width, inner),
    }
    for index in range(config["num_hidden_layers"]):
        block = f"encoder.layer.{index}"
        for name, shape in linear.items():
            found[f"{block}.{name}.weight"] = shape
            found[f"{block}.{name}.bias"] = shape[:1]
        for part in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"):
            found[f"{block}.{part}"] = (width,)
        for part in ("layer_scale1.lambda1", "layer_scale2.lambda1"):
            found[f"{block}.{part}"] = (width,)
    return found


def draw_weights(
    config: Mapping[str, Any] = CONFIG, seed: int = 3
) -> dict[str, np.ndarray]:
    """Weights under transformers' names; no norm, bias, scale or position is trivial."""
    draw = np.random.default_rng(seed)
    state = {}
    for name, shape in sorted(shapes(config).items()):
        value = draw.normal(size=shape)
        if name.endswith(("norm.weight", "norm1.weight", "norm2.weight", "lambda1")):
            value = 1.0 + 0.3 * value
        elif name.endswith("bias"):
            value = 0.2 * value
        elif name.endswith("weight"):
            value = value / np.prod(shape[1:]) ** 0.5
        state[name] = np.asarray(value, np.float32)
    return state


def write_directory(
    path: Path,
    config: Mapping[str, Any] = CONFIG,
    weights: Mapping[str, np.ndarray] | None = None,
) -> Path:
    """Write the whole model; `weights` are drawn where none are given."""
    path.mkdir(parents=True, exist_ok=True)
    state = draw_weights(config) if weights is None else weights
    save_file(dict(state), path / "model.safetensors", metadata={"format": "pt"})
    (path / "config.json").write_text(json.dumps(dict(config)))
    return path
