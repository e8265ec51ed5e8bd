"""A CLIP small enough for tests, with random weights, in Hugging Face's own format."""

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

WORDS = ("object", "normal", "perfect", "abnormal", "defective", "bottle", "photo")


def _bytes_as_text() -> list[str]:
    """GPT-2's printable stand-ins of the 256 bytes, in its own order."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    moved = [byte for byte in range(256) if byte not in kept]
    return [chr(byte) for byte in kept] + [chr(256 + i) for i in range(len(moved))]


def _byte_pairs() -> tuple[list[str], list[str]]:
    """Vocabulary and merges that make one token of each of `WORDS`."""
    symbols = _bytes_as_text()
    vocabulary = symbols + [f"{symbol}</w>" for symbol in symbols]
    merges = []
    for word in WORDS:
        left, *rest = [*word[:-1], f"{word[-1]}</w>"]
        for right in rest:
            if f"{left} {right}" not in merges:
                merges.append(f"{left} {right}")
                vocabulary.append(left + right)
            left += right
    return [*vocabulary, "<|startoftext|>", "<|endoftext|>"], merges


VOCABULARY, MERGES = _byte_pairs()
START, END = len(VOCABULARY) - 2, len(VOCABULARY) - 1
CONFIG: dict[str, Any] = {
    "model_type": "clip",
    "architectures": ["CLIPModel"],
    "projection_dim": 48,
    "text_config": {
        "model_type": "clip_text_model",
        "vocab_size": len(VOCABULARY),
        "max_position_embeddings": 77,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_attention_heads": 2,
        "num_hidden_layers": 3,
        "projection_dim": 48,
        "bos_token_id": START,
        "eos_token_id": END,
        "pad_token_id": END,
    },
    "vision_config": {
        "model_type": "clip_vision_model",
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_attention_heads": 4,
        "num_hidden_layers": 4,
        "projection_dim": 48,
        "image_size": 32,
        "patch_size": 8,
    },
}
MEAN, STD = [0.5, 0.4, 0.3], [0.25, 0.2, 0.3]


def change(**sections: Any) -> dict[str, Any]:
    """`CONFIG` with other values: `change(vision_config={"image_size": 40})`."""
    config = copy.deepcopy(CONFIG)
    for key, value in sections.items():
        if isinstance(value, Mapping):
            config[key] |= value
        else:
            config[key] = value
    return config


def _block_shapes(prefix: str, width: int, inner: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    linear = {
        f"self_attn.{name}_proj": (width, width) for name in ("q", "k", "v", "out")
    }
    linear |= {"mlp.fc1": (inner, width), "mlp.fc2": (width, inner)}
    for name, shape in linear.items():
        shapes |= {f"{prefix}.{name}.weight": shape, f"{prefix}.{name}.bias": shape[:1]}
    for name in ("layer_norm1", "layer_norm2"):
        shapes |= {f"{prefix}.{name}.{part}": (width,) for part in ("weight", "bias")}
    return shapes


def torch_shapes(config: Mapping[str, Any] = CONFIG) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a CLIP's weights, as PyTorch has them."""
    text, vision = config["text_config"], config["vision_config"]
    width, words, patch = (
        vision["hidden_size"],
        text["hidden_size"],
        vision["patch_size"],
    )
    joint, grid = config["projection_dim"], vision["image_size"] // patch
    shapes: dict[str, tuple[int, ...]] = {
        "logit_scale": (),
        "text_projection.weight": (joint, words),
        "visual_projection.weight": (joint, width),
        "vision_model.embeddings.class_embedding": (width,),
        "vision_model.embeddings.patch_embedding.weight": (width, 3, patch, patch),
        "vision_model.embeddings.position_embedding.weight": (grid**2 + 1, width),
        "text_model.embeddings.token_embedding.weight": (text["vocab_size"], words),
        "text_model.embeddings.position_embedding.weight": (
            text["max_position_embeddings"],
            words,
        ),
    }
    for name, size in (
        ("vision_model.pre_layrnorm", width),
        ("vision_model.post_layernorm", width),
        ("text_model.final_layer_norm", words),
    ):
        shapes |= {f"{name}.{part}": (size,) for part in ("weight", "bias")}
    for tower, section in (("text_model", text), ("vision_model", vision)):
        for index in range(section["num_hidden_layers"]):
            prefix = f"{tower}.encoder.layers.{index}"
            shapes |= _block_shapes(
                prefix, section["hidden_size"], section["intermediate_size"]
            )
    return shapes


def draw_weights(
    config: Mapping[str, Any] = CONFIG, seed: int = 0
) -> dict[str, np.ndarray]:
    """Weights under PyTorch's names; no norm, bias or position is trivial."""
    draw = np.random.default_rng(seed)
    state = {}
    for name, shape in sorted(torch_shapes(config).items()):
        value = draw.normal(size=shape)
        if "norm" in name:
            value = 0.3 * value + (1.0 if name.endswith("weight") else 0.0)
        elif name.endswith("bias"):
            value = 0.2 * value
        elif len(shape) > 1 and "embedding.weight" not in name:
            value = value / np.prod(shape[1:]) ** 0.5
        elif "patch_embedding" in name:
            value = 2.0 * value / np.prod(shape[1:]) ** 0.5
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
    ids = {token: index for index, token in enumerate(VOCABULARY)}
    preprocessing = {"image_mean": MEAN, "image_std": STD}
    for name, content in (
        ("config.json", config),
        ("preprocessor_config.json", preprocessing),
        ("vocab.json", ids),
    ):
        (path / name).write_text(json.dumps(content))
    (path / "merges.txt").write_text("\n".join(["#version: 0.2", *MERGES, ""]))
    return path
