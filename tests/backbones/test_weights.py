"""Loading: every file format gives the same weights, and what cannot fit is named."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import flax
import jax
import ml_dtypes
import numpy as np
import pytest
import tiny_clip
from safetensors.numpy import save_file

from kanoclip_jax.backbones import Clip, load_clip
from kanoclip_jax.backbones.weights import resize_position_grid
from kanoclip_jax.errors import InputError

Weights = Mapping[str, np.ndarray]
Copy = Callable[..., Path]
POSITIONS = "vision_model.embeddings.position_embedding.weight"


@pytest.fixture
def directory(tmp_path: Path, tiny_weights: Weights) -> Path:
    """A copy of the tiny CLIP that a test may damage."""
    return tiny_clip.write_directory(tmp_path / "own", weights=tiny_weights)


def assert_same(found: Clip, expected: Clip) -> None:
    assert found.fingerprint == expected.fingerprint
    jax.tree.map(np.testing.assert_array_equal, found.params, expected.params)


def test_parameters_are_float32_in_transformers_tree(
    clip: Clip, tiny_weights: Weights
) -> None:
    assert {leaf.dtype for leaf in jax.tree.leaves(clip.params)} == {
        np.dtype(np.float32)
    }
    assert len(jax.tree.leaves(clip.params)) == len(tiny_weights)
    block = clip.params["vision_model"]["encoder"]["layers"]["3"]
    np.testing.assert_array_equal(
        block["mlp"]["fc1"]["kernel"],
        tiny_weights["vision_model.encoder.layers.3.mlp.fc1.weight"].T,
    )
    np.testing.assert_array_equal(
        clip.params["vision_model"]["embeddings"]["patch_embedding"]["kernel"][1, 2],
        tiny_weights["vision_model.embeddings.patch_embedding.weight"][:, :, 1, 2].T,
    )


def test_own_sizes_and_constants(clip: Clip, wide_clip: Clip) -> None:
    assert (clip.depth, clip.image_size, clip.grid) == (4, 32, 4)
    assert (wide_clip.image_size, wide_clip.grid) == (72, 9)
    assert clip.mean == (0.5, 0.4, 0.3)
    assert clip.std == (0.25, 0.2, 0.3)
    assert len(clip.fingerprint) == 64


def test_pixels_are_normalised_with_the_own_constants(clip: Clip) -> None:
    found = clip.normalise(jax.numpy.asarray([[[[255, 0, 51]]]], np.uint8))
    np.testing.assert_allclose(found, [[[[2.0, -2.0, -1 / 3]]]], atol=1e-6)


def test_constants_default_to_openai(directory: Path) -> None:
    (directory / "preprocessor_config.json").unlink()
    found = load_clip(str(directory))
    assert found.mean == (0.48145466, 0.4578275, 0.40821073)
    assert found.std == (0.26862954, 0.26130258, 0.27577711)


def test_size_leaves_the_fingerprint(clip: Clip, wide_clip: Clip) -> None:
    assert clip.fingerprint == wide_clip.fingerprint


def test_other_weights_have_another_fingerprint(
    clip: Clip, directory: Path, tiny_weights: Weights
) -> None:
    changed = {**tiny_weights, "logit_scale": np.float32(2.5)[()]}
    changed["logit_scale"] = np.asarray(2.5, np.float32)
    save_file(changed, directory / "model.safetensors")
    assert load_clip(str(directory)).fingerprint != clip.fingerprint


def test_msgpack_is_the_same(clip: Clip, directory: Path) -> None:
    (directory / "model.safetensors").unlink()
    tree = jax.tree.map(np.asarray, clip.params)
    content = flax.serialization.msgpack_serialize(tree)
    (directory / "flax_model.msgpack").write_bytes(content)
    assert_same(load_clip(str(directory)), clip)


def test_sharded_safetensors_are_the_same(
    clip: Clip, directory: Path, tiny_weights: Weights
) -> None:
    (directory / "model.safetensors").unlink()
    names = sorted(tiny_weights)
    place = {}
    for index, part in enumerate((names[::2], names[1::2]), start=1):
        file = f"model-0000{index}-of-00002.safetensors"
        save_file({name: tiny_weights[name] for name in part}, directory / file)
        place |= dict.fromkeys(part, file)
    index_file = directory / "model.safetensors.index.json"
    index_file.write_text(json.dumps({"metadata": {}, "weight_map": place}))
    assert_same(load_clip(str(directory)), clip)


def test_buffers_of_old_checkpoints_are_ignored(
    clip: Clip, directory: Path, tiny_weights: Weights
) -> None:
    buffers = {
        f"{tower}_model.embeddings.position_ids": np.arange(9)[None]
        for tower in ("text", "vision")
    }
    save_file({**tiny_weights, **buffers}, directory / "model.safetensors")
    assert_same(load_clip(str(directory)), clip)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_torch_file_is_the_same_as_safetensors(
    directory: Path, tiny_weights: Weights, dtype: Any
) -> None:
    """Written by torch itself, some tensors as views into one shared storage."""
    torch = pytest.importorskip("torch")
    rounded = {name: np.asarray(x, dtype) for name, x in tiny_weights.items()}
    save_file(rounded, directory / "model.safetensors")
    expected = load_clip(str(directory))
    kind = getattr(torch, np.dtype(dtype).name)
    state = {
        name: torch.from_numpy(np.asarray(x, np.float32)).to(kind)
        for name, x in rounded.items()
    }
    projections = ("text_projection.weight", "visual_projection.weight")
    shared = torch.cat([state[name].ravel() for name in projections])
    size = state[projections[0]].numel()
    state[projections[0]] = shared[:size].view(48, 32)
    state[projections[1]] = torch.nn.Parameter(shared[size:].view(48, 64))
    name = "vision_model.encoder.layers.0.mlp.fc1.weight"
    state[name] = state[name].T.contiguous().T
    (directory / "model.safetensors").unlink()
    torch.save(state, directory / "pytorch_model.bin")
    found = load_clip(str(directory))
    assert_same(found, expected)
    assert {leaf.dtype for leaf in jax.tree.leaves(found.params)} == {
        np.dtype(np.float32)
    }


def test_safest_file_is_preferred(clip: Clip, directory: Path) -> None:
    (directory / "flax_model.msgpack").write_bytes(b"broken")
    (directory / "pytorch_model.bin").write_bytes(b"broken")
    assert_same(load_clip(str(directory)), clip)


def test_missing_weight_is_named(directory: Path, tiny_weights: Weights) -> None:
    kept = {k: v for k, v in tiny_weights.items() if "post_layernorm" not in k}
    save_file(kept, directory / "model.safetensors")
    with pytest.raises(
        InputError, match=r"lacks 2 .*vision_model\.post_layernorm\.bias"
    ):
        load_clip(str(directory))


def test_wrong_shape_is_named(directory: Path, tiny_weights: Weights) -> None:
    changed = {
        **tiny_weights,
        "visual_projection.weight": np.zeros((7, 64), np.float32),
    }
    save_file(changed, directory / "model.safetensors")
    message = r"visual_projection\.kernel is \(64, 7\), not \(64, 48\)"
    with pytest.raises(InputError, match=message):
        load_clip(str(directory))


def test_config_of_another_size_is_refused(directory: Path) -> None:
    config = tiny_clip.change(vision_config={"num_hidden_layers": 5})
    (directory / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"lacks 16 .*layers\.4\."):
        load_clip(str(directory))


@pytest.mark.parametrize("kind", ["siglip", "clip_vision_model", None])
def test_other_models_are_refused(directory: Path, kind: str | None) -> None:
    config = tiny_clip.change(model_type=kind)
    (directory / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=f"describes a {kind!r} model; only 'clip'"):
        load_clip(str(directory))


def test_broken_config_is_refused(directory: Path) -> None:
    (directory / "config.json").write_text("{")
    with pytest.raises(InputError, match="config.json cannot be read as JSON"):
        load_clip(str(directory))


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_broken_weights_are_refused(directory: Path, file: str) -> None:
    (directory / "model.safetensors").unlink()
    (directory / file).write_bytes(b"\x80\x02neither of the two")
    with pytest.raises(InputError, match=file):
        load_clip(str(directory))


@pytest.mark.parametrize(
    ("size", "nearest"),
    [(50, "48 and 56"), (7, "8 and 16"), (-8, "8 and 16")],
)
def test_size_off_the_patch_names_the_nearest(
    tiny_directory: Path, size: int, nearest: str
) -> None:
    message = f"image_size {size} is not a multiple of the patch, 8 px; .* {nearest}"
    with pytest.raises(InputError, match=message):
        load_clip(str(tiny_directory), size)


def test_size_below_one_patch_is_refused(tiny_directory: Path) -> None:
    with pytest.raises(InputError, match="image_size 7 is smaller than the patch, 8"):
        load_clip(str(tiny_directory), 7, multiple=False)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"position_grid": "nearest"}, "bilinear, bicubic, bicubic_antialias"),
        ({"activation": "relu"}, "'', quick_gelu, gelu"),
        ({"input_range": "imagenet"}, "clip, unit"),
    ],
)
def test_unknown_option_names_those_that_exist(
    tiny_directory: Path, option: dict[str, str], message: str
) -> None:
    ((key, value),) = option.items()
    with pytest.raises(
        InputError, match=f"clip.{key} is '{value}'; allowed: {message}$"
    ):
        load_clip(str(tiny_directory), **option)


def test_unit_range_leaves_pixels_between_0_and_1(tiny_directory: Path) -> None:
    unit = load_clip(str(tiny_directory), input_range="unit")
    found = unit.normalise(jax.numpy.asarray([[[[255, 0, 51]]]], np.uint8))
    np.testing.assert_allclose(found, [[[[1.0, 0.0, 0.2]]]], atol=1e-7)


def test_options_leave_the_fingerprint(clip: Clip, tiny_directory: Path) -> None:
    other = load_clip(
        str(tiny_directory),
        50,
        position_grid="bicubic_antialias",
        activation="gelu",
        input_range="unit",
        multiple=False,
    )
    assert other.fingerprint == clip.fingerprint
    assert (other.image_size, other.grid) == (50, 6)


def bilinear(grid: np.ndarray, side: int) -> np.ndarray:
    """Half-pixel centres, borders repeated, by plain loops in float64."""
    old = len(grid)
    out = np.zeros((side, side, grid.shape[-1]))
    for row in range(side):
        for column in range(side):
            y, x = ((i + 0.5) * old / side - 0.5 for i in (row, column))
            for i in (int(np.floor(y)), int(np.floor(y)) + 1):
                for j in (int(np.floor(x)), int(np.floor(x)) + 1):
                    weight = (1 - abs(y - i)) * (1 - abs(x - j))
                    inside = np.clip((i, j), 0, old - 1)
                    out[row, column] += weight * grid[*inside]
    return out


@pytest.mark.parametrize("side", [3, 9, 4])
def test_position_grid_equals_plain_bilinear(side: int) -> None:
    embedding = np.random.default_rng(0).normal(size=(17, 5)).astype(np.float32)
    found = resize_position_grid(embedding, side, "bilinear")
    np.testing.assert_array_equal(found[0], embedding[0])
    expected = bilinear(embedding[1:].reshape(4, 4, 5), side)
    np.testing.assert_allclose(found[1:], expected.reshape(-1, 5), atol=1e-5)


def test_antialiased_position_grid_equals_hand_computation() -> None:
    """From 4 to 2: Keys' kernel with a = -1/2, twice as wide, at 1/4, 1/4, 3/4, 5/4."""
    rows = np.zeros((4, 4, 1), np.float32)
    rows[0] = 242.0
    embedding = np.concatenate([[[7.0]], rows.reshape(16, 1)])
    found = resize_position_grid(embedding, 2, "bicubic_antialias")
    np.testing.assert_allclose(found[:, 0], [7, 111, 111, -9, -9], rtol=1e-5)
    columns = np.concatenate([[[7.0]], rows.transpose(1, 0, 2).reshape(16, 1)])
    found = resize_position_grid(columns, 2, "bicubic_antialias")
    np.testing.assert_allclose(found[:, 0], [7, 111, -9, 111, -9], rtol=1e-5)


@pytest.mark.parametrize("method", ["bilinear", "bicubic", "bicubic_antialias"])
@pytest.mark.parametrize("side", [3, 9])
def test_position_grid_equals_torch(method: str, side: int) -> None:
    torch = pytest.importorskip("torch")
    embedding = np.random.default_rng(0).normal(size=(17, 5)).astype(np.float32)
    found = resize_position_grid(embedding, side, method)
    grid = torch.from_numpy(embedding[1:].T.reshape(1, 5, 4, 4))
    kind, _, antialias = method.partition("_")
    expected = torch.nn.functional.interpolate(
        grid, (side, side), mode=kind, align_corners=False, antialias=bool(antialias)
    )
    expected = expected[0].reshape(5, -1).T.numpy()
    np.testing.assert_allclose(found[1:], expected, atol=1e-5)


def test_position_grid_option_reaches_the_weights(
    tiny_directory: Path, wide_clip: Clip, tiny_weights: Weights
) -> None:
    cubic = load_clip(str(tiny_directory), 72, position_grid="bicubic")
    grids = [
        np.asarray(
            model.params["vision_model"]["embeddings"]["position_embedding"][
                "embedding"
            ]
        )
        for model in (wide_clip, cubic)
    ]
    for grid, method in zip(grids, ("bilinear", "bicubic"), strict=True):
        expected = resize_position_grid(tiny_weights[POSITIONS], 9, method)
        np.testing.assert_array_equal(grid, expected)
    assert np.abs(grids[0] - grids[1]).max() > 0.01
