"""AdaCLIP's published files: flat state dictionaries of the modules that it trains."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from kanoclip_jax.models.base import Published

_KNOWN_BY = "clip_model.dynamic_text_prompt_generator.head.0.weight"


def read_archive(tensors: Mapping[str, Any]) -> Published | None:
    """The parameters in a file; None for another method's.

    Raises:
        KeyError: it is AdaCLIP's and lacks some.
    """
    if _KNOWN_BY not in tensors:
        return None
    prompts = {
        tower: np.stack(_numbered(tensors, f"{tower}_prompter.static_prompts.{{}}"))
        for tower in ("text", "visual")
    }
    params = {
        "prompts": {
            tower: found.astype(np.float32) for tower, found in prompts.items()
        },
        "dynamic": {
            tower: _layers(tensors, f"dynamic_{tower}_prompt_generator")
            for tower in prompts
        },
        "heads": {
            "patches": _layers(tensors, "patch_token_layer"),
            "cls": {
                name: found[0]
                for name, found in _layers(tensors, "cls_token_layer").items()
            },
        },
    }
    depth, length, _ = prompts["text"].shape
    return Published(params, {"prompt_length": length, "prompt_depth": depth})


def _layers(tensors: Mapping[str, Any], module: str) -> dict[str, np.ndarray]:
    weight = np.stack(_numbered(tensors, f"{module}.head.{{}}.weight"))
    bias = np.stack(_numbered(tensors, f"{module}.head.{{}}.bias"))
    return {
        "kernel": np.swapaxes(weight, 1, 2).astype(np.float32),
        "bias": bias.astype(np.float32),
    }


def _numbered(tensors: Mapping[str, Any], pattern: str) -> list[np.ndarray]:
    """The tensors of a name with 0, 1, … in it; there must be the first."""
    pattern = f"clip_model.{pattern}"
    found = [tensors[pattern.format(0)]]
    while (name := pattern.format(len(found))) in tensors:
        found.append(tensors[name])
    return found
