"""Once from a torch archive to safetensors, so that no pickle is read again."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from kanoclip_jax.backbones import openclip
from kanoclip_jax.backbones.archive import read_torch_archive
from kanoclip_jax.backbones.locate import (
    TORCH,
    WEIGHTS,
    is_openclip,
    locate,
    weights_file,
)
from kanoclip_jax.files import replacing


def to_safetensors(name: str, folder: Path) -> Path:
    """The directory of a CLIP whose weights are in a safe format.

    Args:
        name: as `load_clip` takes it.
        folder: where a converted copy goes, under the model's name.

    Returns:
        The model's own directory if its weights are safe already; else the copy.
    """
    directory = locate(name)
    source = weights_file(directory)
    if source.suffix not in TORCH:
        return directory
    target = folder / name.strip("/").replace("/", "--")
    weights = openclip.WEIGHTS[0] if is_openclip(directory) else WEIGHTS[0]
    if (target / weights).is_file():
        return target
    temporary = target.with_name(f"{target.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        _write(directory, source, temporary, weights)
        os.replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _write(directory: Path, source: Path, temporary: Path, weights: str) -> None:
    # Not ascontiguousarray, which makes a vector of the scalar `logit_scale`.
    tensors = {
        key: np.require(tensor, requirements="C")
        for key, tensor in read_torch_archive(source).items()
    }
    with replacing(temporary / weights) as file:
        save_file(tensors, file, {"format": "pt"})
    for file in directory.iterdir():
        if file.suffix in (".json", ".txt") and "index" not in file.name:
            shutil.copy(file, temporary)
    if is_openclip(directory):
        # The copy's folder has another name, and that may be all that described it.
        description = json.dumps(openclip.read_description(directory))
        (temporary / openclip.CONFIG).write_text(description)
