"""A torch file becomes safetensors once, with the same weights."""

from pathlib import Path

import numpy as np
import pytest
import tiny_clip

from kanoclip_jax.backbones import Clip, load_clip
from kanoclip_jax.backbones.convert import to_safetensors


def test_safe_weights_stay_where_they_are(tiny_directory: Path, tmp_path: Path) -> None:
    assert to_safetensors(str(tiny_directory), tmp_path / "new") == tiny_directory
    assert not (tmp_path / "new").exists()


def test_torch_file_is_converted_once(
    clip: Clip, tmp_path: Path, tiny_weights: dict[str, np.ndarray]
) -> None:
    torch = pytest.importorskip("torch")
    source = tiny_clip.write_directory(tmp_path / "clip", weights=tiny_weights)
    (source / "model.safetensors").unlink()
    state = {name: torch.from_numpy(x.copy()) for name, x in tiny_weights.items()}
    torch.save(state, source / "pytorch_model.bin")
    target = to_safetensors(str(source), tmp_path / "safe")
    assert not list(target.glob("*.bin"))
    assert load_clip(str(target)).fingerprint == clip.fingerprint
    written = (target / "model.safetensors").stat().st_mtime_ns
    assert to_safetensors(str(source), tmp_path / "safe") == target
    assert (target / "model.safetensors").stat().st_mtime_ns == written
