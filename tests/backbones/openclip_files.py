"""The tiny CLIP as open_clip writes it: its names, its fused attention, its layout."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tiny_clip
from safetensors.numpy import save_file

DESCRIPTION: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 48,
        "quick_gelu": True,
        "vision_cfg": {
            "image_size": 32,
            "layers": 4,
            "width": 64,
            "head_width": 16,
            "patch_size": 8,
            "mlp_ratio": 1.5,
        },
        "text_cfg": {
            "context_length": 77,
            "vocab_size": len(tiny_clip.VOCABULARY),
            "width": 32,
            "heads": 2,
            "layers": 3,
            "mlp_ratio": 2.0,
        },
    },
    "preprocess_cfg": {"mean": tiny_clip.MEAN, "std": tiny_clip.STD},
}
_MODULES = {
    "vision_model.pre_layrnorm": "visual.ln_pre",
    "vision_model.post_layernorm": "visual.ln_post",
    "text_model.final_layer_norm": "ln_final",
}
_BLOCK = {
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}


def rename_to_openclip(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tiny CLIP's weights under open_clip's names."""
    vision, text = "vision_model.embeddings", "text_model.embeddings"
    state = {
        "logit_scale": weights["logit_scale"],
        "visual.class_embedding": weights[f"{vision}.class_embedding"],
        "visual.conv1.weight": weights[f"{vision}.patch_embedding.weight"],
        "visual.positional_embedding": weights[f"{vision}.position_embedding.weight"],
        "visual.proj": weights["visual_projection.weight"].T.copy(),
        "positional_embedding": weights[f"{text}.position_embedding.weight"],
        "token_embedding.weight": weights[f"{text}.token_embedding.weight"],
        "text_projection": weights["text_projection.weight"].T.copy(),
    }
    modules = dict(_MODULES)
    for own, other, depth in (
        ("vision_model.encoder.layers", "visual.transformer.resblocks", 4),
        ("text_model.encoder.layers", "transformer.resblocks", 3),
    ):
        for index in range(depth):
            for left, right in _BLOCK.items():
                modules[f"{own}.{index}.{left}"] = f"{other}.{index}.{right}"
            for part in ("weight", "bias"):
                state[f"{other}.{index}.attn.in_proj_{part}"] = np.concatenate(
                    [
                        weights[f"{own}.{index}.self_attn.{letter}_proj.{part}"]
                        for letter in "qkv"
                    ]
                )
    for own, other in modules.items():
        for part in ("weight", "bias"):
            state[f"{other}.{part}"] = weights[f"{own}.{part}"]
    return state


def write_openclip(
    path: Path,
    state: Mapping[str, np.ndarray],
    description: Mapping[str, Any] = DESCRIPTION,
) -> Path:
    """Write a model in the hub's layout, with the tiny CLIP's tokenizer."""
    tiny_clip.write_directory(path, weights={})
    for name in ("config.json", "preprocessor_config.json", "model.safetensors"):
        (path / name).unlink()
    save_file(dict(state), path / "open_clip_model.safetensors")
    (path / "open_clip_config.json").write_text(json.dumps(description))
    return path
