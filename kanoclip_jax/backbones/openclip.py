"""open_clip's checkpoints: which files they are, and their names in transformers' words.

Source: mlfoundations/open_clip (MIT), `factory.py`, `model.py` and `transformer.py`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from transformers import CLIPConfig

from kanoclip_jax import documents
from kanoclip_jax.backbones import shapes
from kanoclip_jax.errors import InputError

CONFIG = "open_clip_config.json"
# In order of preference: the last can hold code, and is read by an allow-list.
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")

# Published as a .pt file with nothing beside it, and known by the folder's name.
PUBLISHED: dict[str, dict[str, Any]] = {
    "ViT-B-16-plus-240": {
        "embed_dim": 640,
        "vision_cfg": {
            "image_size": 240,
            "layers": 12,
            "width": 896,
            "patch_size": 16,
        },
        "text_cfg": {
            "context_length": 77,
            "vocab_size": 49408,
            "width": 640,
            "heads": 10,
            "layers": 12,
        },
    }
}
# A key that is set and not here makes another model; dropout is for training alone.
_KEYS = {
    "model_cfg": ("embed_dim", "vision_cfg", "text_cfg", "quick_gelu"),
    "vision_cfg": (
        *("image_size", "layers", "width", "patch_size"),
        *("head_width", "mlp_ratio", "patch_dropout"),
    ),
    "text_cfg": (
        *("context_length", "vocab_size", "width", "heads", "layers"),
        "mlp_ratio",
    ),
}
_TOWERS = {
    "visual.transformer.resblocks.": "vision_model.encoder.layers.",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.": "vision_model.embeddings.patch_embedding.",
    "visual.ln_pre.": "vision_model.pre_layrnorm.",
    "visual.ln_post.": "vision_model.post_layernorm.",
    "transformer.resblocks.": "text_model.encoder.layers.",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "token_embedding.": "text_model.embeddings.token_embedding.",
    "ln_final.": "text_model.final_layer_norm.",
}
_BLOCK = {
    ".ln_1.": ".layer_norm1.",
    ".ln_2.": ".layer_norm2.",
    ".attn.": ".self_attn.",
    ".mlp.c_fc.": ".mlp.fc1.",
    ".mlp.c_proj.": ".mlp.fc2.",
}
_PROJECTIONS = {
    "visual.proj": "visual_projection.weight",
    "text_projection": "text_projection.weight",
}
_FUSED = "attn.in_proj_"
# Far above any model's: they keep a wrong number from making a giant.
_MOST, _WIDEST = 2**20, 64


def is_described(directory: Path) -> bool:
    """Whether a directory says which of open_clip's models it holds."""
    return (directory / CONFIG).is_file() or directory.absolute().name in PUBLISHED


def weights_file(directory: Path) -> Path | None:
    """The safest file of weights under open_clip's names, or None.

    Raises:
        InputError: several .pt files, of which none is the model's for certain.
    """
    for name in WEIGHTS:
        if (directory / name).is_file():
            return directory / name
    files = sorted(directory.glob("*.pt"))
    if len(files) > 1:
        raise InputError(
            f"{directory} holds {', '.join(file.name for file in files)}; allowed: one "
            ".pt file. Move the others away"
        )
    return files[0] if files else None


def read_description(directory: Path) -> dict[str, Any]:
    """The content of `open_clip_config.json`, or what is known by the folder's name.

    Raises:
        InputError: the file is no JSON object.
    """
    path = directory / CONFIG
    if not path.is_file():
        return {"model_cfg": PUBLISHED[directory.absolute().name]}
    return documents.read(path, dict, shapes.FETCH)


def read_config(directory: Path) -> CLIPConfig:
    """The same model in transformers' words.

    Raises:
        InputError: a model that is no ViT with OpenAI's kind of text tower.
    """
    path = directory / CONFIG
    content = read_description(directory).get("model_cfg")
    model = _Section(path, "model_cfg", content)
    vision, text = (
        _Section(path, name, content.get(name)) for name in ("vision_cfg", "text_cfg")
    )
    # A text such as "false" is true to Python.
    documents.check(content, {"quick_gelu?": bool}, str(path), shapes.FETCH)
    activation = "quick_gelu" if content.get("quick_gelu") else "gelu"
    joint = model.number("embed_dim")
    return CLIPConfig(
        projection_dim=joint,
        vision_config={
            **vision.tower(),
            "num_attention_heads": max(
                vision.number("width") // vision.number("head_width", 64), 1
            ),
            "image_size": vision.number("image_size"),
            "patch_size": vision.number("patch_size"),
            "hidden_act": activation,
            "projection_dim": joint,
        },
        text_config={
            **text.tower(),
            "num_attention_heads": text.number("heads"),
            "max_position_embeddings": text.number("context_length"),
            "vocab_size": text.number("vocab_size"),
            "hidden_act": activation,
            "projection_dim": joint,
        },
    )


class _Section:
    """A part of the description, of which every key is understood."""

    def __init__(self, path: Path, name: str, content: Any) -> None:
        self._path, self._name, self._content = path, name, content
        if not isinstance(content, dict):
            raise InputError(f"{path} has no section {name}; fetch the file again")
        for key, value in content.items():
            if value and key not in _KEYS[name]:
                raise InputError(
                    f"{path} sets {name}.{key}, which makes a model that is not "
                    f"supported; allowed: {', '.join(_KEYS[name])}"
                )

    def number(self, key: str, default: int | None = None) -> int:
        value = self._content.get(key, default)
        if type(value) is not int or not 1 <= value <= _MOST:
            raise InputError(
                f"{self._path} has {self._name}.{key} {value!r:.60}; allowed: a whole "
                f"number from 1, as a ViT has it, to {_MOST}"
            )
        return value

    def tower(self) -> dict[str, int]:
        """What both towers have."""
        width, ratio = self.number("width"), self._content.get("mlp_ratio", 4.0)
        if type(ratio) not in (int, float) or not 0 < ratio <= _WIDEST:
            raise InputError(
                f"{self._path} has {self._name}.mlp_ratio {ratio!r:.60}; allowed: a "
                f"positive number up to {_WIDEST}"
            )
        return {
            "hidden_size": width,
            "intermediate_size": int(width * ratio),
            "num_hidden_layers": self.number("layers"),
        }


def rename(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Weights under the names, and in the shapes, of transformers' torch model.

    Args:
        state: open_clip's state dict, saved from one device or several (`module.`).
    """
    renamed = {}
    for name, tensor in state.items():
        name = name.removeprefix("module.")
        if name in _PROJECTIONS:
            renamed[_PROJECTIONS[name]] = tensor.T
        elif _FUSED in name:
            for letter, part in zip("qkv", np.split(tensor, 3), strict=True):
                single = name.replace(_FUSED, f"attn.{letter}_proj.")
                renamed[_rename(single)] = part
        else:
            renamed[_rename(name)] = tensor
    return renamed


def _rename(name: str) -> str:
    for old, new in _TOWERS.items():
        if name.startswith(old):
            name = new + name.removeprefix(old)
            break
    for old, new in _BLOCK.items():
        name = name.replace(old, new)
    return name
