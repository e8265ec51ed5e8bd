"""CLIP's towers in float64 numpy, from torch-named weights: the reference of the port.

Written from the equations alone (pre-norm transformer, QuickGELU; eq. 4-8 of KAnoCLIP
for the value-value path), one image or prompt batch at a time, no jax.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

Weights = Mapping[str, np.ndarray]


def quick_gelu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-1.702 * x))


def layer_norm(
    x: np.ndarray, weights: Weights, name: str, epsilon: float = 1e-5
) -> np.ndarray:
    x = np.asarray(x, np.float64)
    normed = (x - x.mean(-1, keepdims=True)) / np.sqrt(
        x.var(-1, keepdims=True) + epsilon
    )
    return normed * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def linear(x: np.ndarray, weights: Weights, name: str) -> np.ndarray:
    product = x @ weights[f"{name}.weight"].T.astype(np.float64)
    return product + weights.get(f"{name}.bias", 0.0)


def softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    exponential = np.exp(x - x.max(axis, keepdims=True))
    return exponential / exponential.sum(axis, keepdims=True)


def attention(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    heads: int,
    causal: bool = False,
) -> np.ndarray:
    """Multi-head attention, one head after another."""
    size = query.shape[-1] // heads
    outputs = []
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        logits = query[..., part] @ np.swapaxes(key[..., part], -1, -2) / size**0.5
        if causal:
            logits = np.where(np.tri(logits.shape[-1], dtype=bool), logits, -np.inf)
        outputs.append(softmax(logits) @ value[..., part])
    return np.concatenate(outputs, -1)


def block(
    x: np.ndarray,
    weights: Weights,
    prefix: str,
    heads: int,
    causal: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """One transformer block: its output, and the value-value branch at its entrance."""
    normed = layer_norm(x, weights, f"{prefix}.layer_norm1")
    query, key, value = (
        linear(normed, weights, f"{prefix}.self_attn.{name}_proj") for name in "qkv"
    )
    out = f"{prefix}.self_attn.out_proj"
    branch = linear(attention(value, value, value, heads), weights, out)
    x = x + linear(attention(query, key, value, heads, causal), weights, out)
    hidden = linear(
        layer_norm(x, weights, f"{prefix}.layer_norm2"), weights, f"{prefix}.mlp.fc1"
    )
    hidden = quick_gelu(hidden)
    return x + linear(hidden, weights, f"{prefix}.mlp.fc2"), branch


def embed_image(pixels: np.ndarray, weights: Weights) -> np.ndarray:
    """Patches as rows, row by row over the grid, CLS first, plus positions."""
    prefix = "vision_model.embeddings"
    kernel = weights[f"{prefix}.patch_embedding.weight"].astype(np.float64)
    width, _, patch, _ = kernel.shape
    batch, size = pixels.shape[:2]
    grid = size // patch
    patches = pixels.reshape(batch, grid, patch, grid, patch, 3)
    patches = patches.transpose(0, 1, 3, 5, 2, 4).reshape(batch, grid**2, -1)
    tokens = patches @ kernel.reshape(width, -1).T
    cls = np.broadcast_to(weights[f"{prefix}.class_embedding"], (batch, 1, width))
    positions = weights[f"{prefix}.position_embedding.weight"]
    return np.concatenate([cls, tokens], 1) + positions


def image_streams(
    pixels: np.ndarray, weights: Weights, config: Mapping[str, Any], vv_start: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Original and value-value tokens after block 0 (the embedding), 1, … depth."""
    vision = config["vision_config"]
    x = layer_norm(embed_image(pixels, weights), weights, "vision_model.pre_layrnorm")
    original, value_path = [x], [x]
    for index in range(vision["num_hidden_layers"]):
        prefix = f"vision_model.encoder.layers.{index}"
        x, branch = block(original[-1], weights, prefix, vision["num_attention_heads"])
        original.append(x)
        value_path.append(value_path[-1] + branch if index + 1 >= vv_start else x)
    return original, value_path


def image_feature(
    tokens: np.ndarray, weights: Weights, norm: bool = True
) -> np.ndarray:
    """Tokens in the joint space."""
    if norm:
        tokens = layer_norm(tokens, weights, "vision_model.post_layernorm")
    return linear(tokens, weights, "visual_projection")


def text_feature(
    embedded: np.ndarray,
    end: np.ndarray,
    weights: Weights,
    config: Mapping[str, Any],
    deep: np.ndarray | None = None,
) -> np.ndarray:
    """Prompts, given their token embeddings without positions, in the joint space."""
    text = config["text_config"]
    positions = weights["text_model.embeddings.position_embedding.weight"]
    x = embedded.astype(np.float64) + positions[: embedded.shape[1]]
    for index in range(text["num_hidden_layers"]):
        if deep is not None and 1 <= index <= len(deep):
            x[:, 1 : 1 + deep.shape[1]] = deep[index - 1]
        prefix = f"text_model.encoder.layers.{index}"
        x, _ = block(x, weights, prefix, text["num_attention_heads"], causal=True)
    x = layer_norm(x, weights, "text_model.final_layer_norm")
    return linear(x[np.arange(len(x)), end], weights, "text_projection")
