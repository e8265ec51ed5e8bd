"""DINOv2 against transformers' own, from files of either kind."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_dino

from kanoclip_jax.backbones import load_dino
from kanoclip_jax.backbones.dino import MEAN, STD
from kanoclip_jax.errors import InputError

# Of patches of 4 px: one more on each side than it was trained with, and two fewer.
SIZES = (28, 16)
PLAIN = {"model_type": "dinov2", "architectures": ["Dinov2Model"]}


def draw_images(size: int) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (2, size, size, 3), np.uint8)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("registers", [2, 0])
def test_patches_equal_transformers(tmp_path: Path, registers: int, size: int) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    config = tiny_dino.CONFIG | {"num_register_tokens": registers}
    config |= {} if registers else PLAIN
    directory = tiny_dino.write_directory(tmp_path / "model", config)
    kind = getattr(transformers, config["architectures"][0])
    theirs = kind.from_pretrained(directory, attn_implementation="eager").eval()
    images = draw_images(size)
    pixels = ((images / 255.0 - MEAN) / STD).transpose(0, 3, 1, 2)
    with torch.no_grad():
        out = theirs(torch.tensor(pixels, dtype=torch.float32)).last_hidden_state
    ours = load_dino(str(directory), size)
    found = jax.jit(ours.encode)(ours.params, images)
    expected = out[:, 1 + registers :].numpy()
    np.testing.assert_allclose(found, expected, atol=2e-5)


def authors_names(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same weights as Meta's code saves them: queries, keys and values in one."""
    found: dict[str, np.ndarray] = {}
    for name, tensor in weights.items():
        name = name.replace(
            "embeddings.patch_embeddings.projection", "patch_embed.proj"
        )
        name = name.replace("embeddings.position_embeddings", "pos_embed")
        name = name.removeprefix("embeddings.").replace("encoder.layer.", "blocks.")
        name = name.replace(".attention.output.dense.", ".attn.proj.")
        name = name.replace("layer_scale", "ls").replace("lambda1", "gamma")
        name = "norm" + name.removeprefix("layernorm") if "layern" in name else name
        if ".attention.attention." in name:
            block, _, part = name.partition(".attention.attention.")
            letter, _, kind = part.partition(".")
            place = found.setdefault(f"{block}.attn.qkv.{kind}", [None] * 3)
            place[("query", "key", "value").index(letter)] = tensor
        else:
            found[name] = tensor
    return {
        name: np.concatenate(part) if isinstance(part, list) else part
        for name, part in found.items()
    }


def test_the_authors_file_is_the_same_model(
    guide_directory: Path, tmp_path: Path
) -> None:
    """And where nothing says how many heads there are, a head is 64 wide."""
    torch = pytest.importorskip("torch")
    named = authors_names(tiny_dino.draw_weights())
    assert "blocks.1.attn.qkv.weight" in named and "blocks.0.ls2.gamma" in named
    file = tmp_path / "dinov2_pretrain.pth"
    torch.save({name: torch.tensor(tensor) for name, tensor in named.items()}, file)
    own, theirs = load_dino(str(guide_directory), 24), load_dino(str(file), 24)
    assert theirs.fingerprint == own.fingerprint
    jax.tree.map(np.testing.assert_array_equal, own.params, theirs.params)
    assert (own.module.shape.heads, theirs.module.shape.heads) == (3, 1)
    assert theirs.reading() != own.reading()
    assert load_dino(str(file), 28).reading() != theirs.reading()
    assert own.grid == 6 and load_dino(str(file), 28).fingerprint == own.fingerprint


def test_half_precision_is_near(guide_directory: Path) -> None:
    whole = load_dino(str(guide_directory), 24)
    half = load_dino(str(guide_directory), 24, dtype=jnp.bfloat16)
    assert half.params["blocks_0"]["fc1"]["kernel"].dtype == jnp.bfloat16
    assert half.params["blocks_0"]["norm1"]["scale"].dtype == jnp.float32
    found, expected = (
        jax.jit(tower.encode)(tower.params, draw_images(24)) for tower in (half, whole)
    )
    assert found.dtype == jnp.float32
    assert 0 < np.abs(found - expected).max() < 0.1
    assert half.reading() != whole.reading()


def without(part: str) -> Callable[[dict, dict], None]:
    def change(config: dict[str, Any], weights: dict[str, np.ndarray]) -> None:
        del weights[part]

    return change


def with_weight(name: str) -> Callable[[dict, dict], None]:
    def change(config: dict[str, Any], weights: dict[str, np.ndarray]) -> None:
        weights[name] = np.zeros((2, 2), np.float32)

    return change


def with_setting(**settings: Any) -> Callable[[dict, dict], None]:
    return lambda config, weights: config.update(settings)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("encoder.layer.1.mlp.fc2.bias"), r"blocks_1\.fc2\.bias .* None"),
        (without("embeddings.cls_token"), r"holds no DINOv2: it lacks cls"),
        (with_weight("encoder.layer.0.mlp.weights_in.weight"), "gated MLP"),
        (with_weight("head.weight"), r"head\.kernel has the shape \(2, 2\), None"),
        (with_setting(num_hidden_layers=3), "has 2 layers of 24 numbers"),
        (with_setting(model_type="vit"), "describes a 'vit'.*dinov2_with_registers"),
        (with_setting(hidden_act="relu"), "hidden_act 'relu'; allowed: 'gelu'"),
    ],
)
def test_what_is_no_guide(tmp_path: Path, change: Any, words: str) -> None:
    config, weights = dict(tiny_dino.CONFIG), tiny_dino.draw_weights()
    change(config, weights)
    directory = tiny_dino.write_directory(tmp_path / "model", config, weights)
    with pytest.raises(InputError, match=words):
        load_dino(str(directory), 24)


def test_sizes_and_places_that_do_not_suit(
    guide_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"image_size 30 .* guide's patch.*28 and 32"):
        load_dino(str(guide_directory), 30)
    (tmp_path / "config.json").write_text(json.dumps(tiny_dino.CONFIG))
    with pytest.raises(InputError, match="holds no DINOv2: a directory needs"):
        load_dino(str(tmp_path), 24)
    (tmp_path / "model.safetensors").write_text("nothing")
    with pytest.raises(InputError, match=r"model\.safetensors cannot be read"):
        load_dino(str(tmp_path), 24)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"no DINOv2 'me/guide' here.*guide\.name=FOL"):
        load_dino("me/guide", 24)
