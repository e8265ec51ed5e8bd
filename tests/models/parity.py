"""What the public torch code computes on tiny random weights, and a CLIP of those weights.

The references stand beside the project, not in it: KANOCLIP_SHARED names the folder that
holds `methods/parity`, whose README says how they were made.
"""

import ast
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from kanoclip_jax.backbones import Clip, load_clip


def shared_folder() -> Path:
    """What stands beside the project; a test that asks in vain is skipped."""
    shared = os.environ.get("KANOCLIP_SHARED")
    if not shared:
        pytest.skip("KANOCLIP_SHARED is unset: no references to compare with")
    return Path(shared)


class Reference(Mapping[str, np.ndarray]):
    """One file of references.

    Attributes:
        file: how it is called.
        config: sizes of its CLIP.
    """

    file = "parity_{}.npz"

    def __init__(self, name: str) -> None:
        self._shared = shared_folder()
        folder = self._shared / "methods" / "parity"
        self._arrays = np.load(folder / self.file.format(name))
        self.config = self.read_config()

    def read_config(self) -> dict[str, Any]:
        """Sizes by name."""
        return ast.literal_eval(str(self["config"]))

    def weights(self) -> dict[str, np.ndarray]:
        """Of its CLIP, under open_clip's names."""
        return {
            key.removeprefix("sd/"): np.require(self[key], np.float32, "C")
            for key in self
            if key.startswith("sd/")
        }

    def __getitem__(self, key: str) -> np.ndarray:
        return self._arrays[key]

    def __iter__(self) -> Any:
        return iter(self._arrays.files)

    def __len__(self) -> int:
        return len(self._arrays.files)

    def clip(self, folder: Path, **options: Any) -> Clip:
        """Its CLIP, written as open_clip would and read as ours."""
        config = self.config
        grid = config.get("pretrained_grid", config.get("grid"))
        described = {
            "embed_dim": config["joint"],
            "quick_gelu": config["activation"] == "quick_gelu",
            "vision_cfg": {
                "image_size": grid * config["patch"],
                "layers": config["vision_layers"],
                "width": config["vision_width"],
                "patch_size": config["patch"],
                "head_width": config.get("head_width", 64),
            },
            "text_cfg": {
                "context_length": 77,
                "vocab_size": 49408,
                "width": config["text_width"],
                "heads": config["text_heads"],
                "layers": config["text_layers"],
            },
        }
        folder.mkdir()
        path = folder / "open_clip_config.json"
        path.write_text(json.dumps({"model_cfg": described}))
        save_file(self.weights(), folder / "open_clip_model.safetensors")
        for name in ("vocab.json", "merges.txt"):
            shutil.copy(self._shared / "clip" / "dinov2s-clip" / name, folder)
        return load_clip(str(folder), config["image_size"], **options)
