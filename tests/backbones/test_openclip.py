"""open_clip's layout: the same weights under other names are the same model."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import tiny_clip
from openclip_files import DESCRIPTION, rename_to_openclip, write_openclip

from kanoclip_jax.backbones import Clip, load_clip, openclip
from kanoclip_jax.backbones.convert import to_safetensors
from kanoclip_jax.errors import InputError

Weights = Mapping[str, np.ndarray]
NAMED = "ViT-B-16-plus-240"


@pytest.fixture
def state(tiny_weights: Weights) -> dict[str, np.ndarray]:
    return rename_to_openclip(tiny_weights)


@pytest.fixture
def directory(tmp_path: Path, state: Weights) -> Path:
    """A model that a test may damage."""
    return write_openclip(tmp_path / "own", state)


def describe(directory: Path, **changes: Mapping[str, Any]) -> None:
    """Write the description with other values in its sections."""
    content = json.loads(json.dumps(DESCRIPTION))
    for section, values in changes.items():
        model = content["model_cfg"]
        (model if section == "model_cfg" else model[section]).update(values)
    (directory / "open_clip_config.json").write_text(json.dumps(content))


def write_torch(directory: Path, name: str, state: Weights, prefix: str = "") -> None:
    torch = pytest.importorskip("torch")
    tensors = {f"{prefix}{key}": torch.from_numpy(x.copy()) for key, x in state.items()}
    torch.save(tensors, directory / name)
    (directory / "open_clip_model.safetensors").unlink()


def test_same_weights_are_the_same_model(
    directory: Path, clip: Clip, images: np.ndarray
) -> None:
    found = load_clip(str(directory))
    assert found.fingerprint == clip.fingerprint
    jax.tree.map(np.testing.assert_array_equal, found.params, clip.params)
    assert (found.mean, found.std) == (clip.mean, clip.std)
    tokens = clip.tokenizer(["normal object", "a photo of a bottle"])
    features = [
        (
            own.module.apply(
                {"params": own.params},
                own.normalise(images),
                vv_start=2,
                taps=(4,),
                method="encode_image",
            ),
            own.module.apply({"params": own.params}, *tokens, method="encode_text"),
        )
        for own in (found, clip)
    ]
    jax.tree.map(np.testing.assert_array_equal, *features)


def test_torch_file_is_the_same_and_is_converted(
    directory: Path, clip: Clip, state: Weights, tmp_path: Path
) -> None:
    write_torch(directory, "open_clip_pytorch_model.bin", state)
    assert load_clip(str(directory)).fingerprint == clip.fingerprint
    copy = to_safetensors(str(directory), tmp_path / "safe")
    assert (copy / "open_clip_model.safetensors").is_file()
    assert not list(copy.glob("*.bin"))
    assert load_clip(str(copy)).fingerprint == clip.fingerprint
    assert to_safetensors(str(directory), tmp_path / "safe") == copy


def test_known_folder_needs_no_description(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clip: Clip, state: Weights
) -> None:
    """As trained on several devices, and converted into a folder of another name."""
    monkeypatch.setitem(openclip.PUBLISHED, NAMED, DESCRIPTION["model_cfg"])
    directory = write_openclip(tmp_path / NAMED, state)
    (directory / "open_clip_config.json").unlink()
    write_torch(directory, "vit_b_16_plus_240-laion400m_e31.pt", state, "module.")
    found = load_clip(str(directory))
    assert found.fingerprint == clip.fingerprint
    assert found.mean == (0.48145466, 0.4578275, 0.40821073)
    copy = to_safetensors(str(directory), tmp_path / "safe")
    assert load_clip(str(copy)).fingerprint == clip.fingerprint


def test_published_size_in_transformers_words(tmp_path: Path) -> None:
    config = openclip.read_config(tmp_path / NAMED)
    vision, text = config.vision_config, config.text_config
    assert (vision.hidden_size, vision.intermediate_size) == (896, 3584)
    assert (vision.num_hidden_layers, vision.num_attention_heads) == (12, 14)
    assert (vision.patch_size, vision.image_size) == (16, 240)
    assert (text.hidden_size, text.intermediate_size) == (640, 2560)
    assert (text.num_hidden_layers, text.num_attention_heads) == (12, 10)
    assert (text.max_position_embeddings, text.vocab_size) == (77, 49408)
    assert config.projection_dim == 640
    assert vision.hidden_act == text.hidden_act == "gelu"
    assert vision.layer_norm_eps == text.layer_norm_eps == 1e-5


def test_own_config_goes_first(clip: Clip, tmp_path: Path) -> None:
    """Some repositories hold the model twice."""
    directory = tiny_clip.write_directory(tmp_path / "both")
    (directory / "open_clip_config.json").write_text("{")
    assert load_clip(str(directory)).fingerprint == clip.fingerprint


def test_config_of_timm_is_passed_over(directory: Path, clip: Clip) -> None:
    (directory / "config.json").write_text('{"architecture": "vit_tiny"}')
    (directory / "model.safetensors").write_bytes(b"the image tower alone")
    assert load_clip(str(directory)).fingerprint == clip.fingerprint


def test_tokenizer_must_be_there(directory: Path) -> None:
    (directory / "vocab.json").unlink()
    (directory / "merges.txt").unlink()
    with pytest.raises(InputError, match=r"vocab\.json and merges\.txt, .*belong"):
        load_clip(str(directory))


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("vision_cfg", {"timm_model_name": "x"}, "sets vision_cfg.timm_model_name"),
        ("text_cfg", {"hf_model_name": "roberta"}, "sets text_cfg.hf_model_name"),
        ("model_cfg", {"custom_text": True}, "sets model_cfg.custom_text"),
        ("model_cfg", {"text_cfg": None}, "has no section text_cfg"),
        ("vision_cfg", {"layers": [3, 4, 6, 3]}, r"vision_cfg.layers \[3, 4, 6, 3\]"),
        ("text_cfg", {"width": 0}, "text_cfg.width 0; allowed: a whole number from 1"),
        ("vision_cfg", {"mlp_ratio": "4"}, "vision_cfg.mlp_ratio '4'; allowed: a pos"),
    ],
)
def test_other_models_are_refused(
    directory: Path, section: str, values: dict[str, Any], message: str
) -> None:
    describe(directory, **{section: values})
    with pytest.raises(InputError, match=message):
        load_clip(str(directory))


def test_keys_that_are_off_change_nothing(directory: Path, clip: Clip) -> None:
    describe(directory, model_cfg={"custom_text": False}, text_cfg={"proj_bias": False})
    assert load_clip(str(directory)).fingerprint == clip.fingerprint


@pytest.mark.parametrize("content", ["{", "[]"])
def test_broken_description_is_refused(directory: Path, content: str) -> None:
    (directory / "open_clip_config.json").write_text(content)
    with pytest.raises(InputError, match=r"open_clip_config\.json (cannot|has)"):
        load_clip(str(directory))


def test_broken_constants_are_refused(directory: Path) -> None:
    content = {**DESCRIPTION, "preprocess_cfg": {"mean": 0.5}}
    (directory / "open_clip_config.json").write_text(json.dumps(content))
    with pytest.raises(
        InputError,
        match=r"open_clip_config.json has preprocess_cfg.mean = 0.5; allowed is a list",
    ):
        load_clip(str(directory))


def test_weight_of_another_shape_is_named(directory: Path, state: Weights) -> None:
    changed = {**state, "visual.proj": np.zeros((64, 7), np.float32)}
    write_openclip(directory, changed)
    with pytest.raises(InputError, match=r"visual_projection\.kernel is \(64, 7\)"):
        load_clip(str(directory))


def test_several_torch_files_are_refused(directory: Path) -> None:
    (directory / "open_clip_model.safetensors").unlink()
    for name in ("e31.pt", "e32.pt"):
        (directory / name).touch()
    with pytest.raises(InputError, match="holds e31.pt, e32.pt; allowed: one"):
        load_clip(str(directory))


def test_directory_without_weights_names_what_it_needs(directory: Path) -> None:
    (directory / "open_clip_model.safetensors").unlink()
    with pytest.raises(InputError, match=r"open_clip_model\.safetensors.*\*\.pt"):
        load_clip(str(directory))
