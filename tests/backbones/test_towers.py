"""The port against transformers' own forward, and against equations in numpy."""

import dataclasses
import functools
import math
from pathlib import Path
from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp
import numpy as np
import numpy_clip
import pytest
import tiny_clip
from transformers import CLIPConfig, FlaxCLIPModel
from transformers.modeling_flax_pytorch_utils import rename_key_and_reshape_tensor

from kanoclip_jax.backbones import Clip, VisualTokens, load_clip

DEPTH = 4
PROMPTS = ("normal object.", "a photo of a defective bottle, perfect.")


def draw_pixels(size: int) -> np.ndarray:
    draw = np.random.default_rng(2)
    return draw.normal(size=(2, size, size, 3)).astype(np.float32)


PIXELS = draw_pixels(32)


class Reference(NamedTuple):
    """What transformers says of some pixels."""

    hidden_states: list[np.ndarray]
    image_features: np.ndarray


def transformers_params(weights: dict[str, np.ndarray], config: dict) -> Any:
    """Torch-named weights in transformers' Flax tree, by its own renaming."""
    model = FlaxCLIPModel(CLIPConfig.from_dict(config), _do_init=False)
    shapes = flax.traverse_util.flatten_dict(model.params_shape_tree)
    flat = dict(
        rename_key_and_reshape_tensor(tuple(name.split(".")), value, shapes, "")
        for name, value in weights.items()
    )
    return model, model.to_fp32(flax.traverse_util.unflatten_dict(flat))


def run_transformers(
    weights: dict[str, np.ndarray], config: dict, pixels: np.ndarray
) -> Reference:
    model, params = transformers_params(weights, config)

    @jax.jit
    def forward(params: Any, pixels: jax.Array) -> Any:
        def both(module: Any, pixels: jax.Array) -> Any:
            out = module.vision_model(pixels, output_hidden_states=True)
            return out.hidden_states, module.visual_projection(out.pooler_output)

        return model.module.apply({"params": params}, pixels, method=both)

    hidden, features = forward(params, pixels)
    return Reference([np.asarray(x) for x in hidden], np.asarray(features))


@functools.cache
def encode(
    clip: Clip,
    vv_start: int,
    taps: tuple[int, ...] = (1, 2, 3, 4),
    feature: str = "post_layernorm",
    size: int = 32,
) -> VisualTokens:
    @jax.jit
    def run(params: Any, pixels: jax.Array) -> VisualTokens:
        return clip.module.apply(
            {"params": params},
            pixels,
            vv_start=vv_start,
            taps=taps,
            image_feature=feature,
            method="encode_image",
        )

    return jax.tree.map(np.asarray, run(clip.params, draw_pixels(size)))


def encode_text(
    clip: Clip,
    ids: np.ndarray,
    end: np.ndarray,
    context: np.ndarray | None = None,
    deep: np.ndarray | None = None,
    inserted: np.ndarray | None = None,
) -> np.ndarray:
    @jax.jit
    def run(params: Any, *inputs: jax.Array | None) -> jax.Array:
        return clip.module.apply({"params": params}, *inputs, method="encode_text")

    return np.asarray(run(clip.params, ids, end, context, deep, inserted))


@pytest.fixture(scope="module")
def reference(tiny_weights: dict[str, np.ndarray]) -> Reference:
    return run_transformers(tiny_weights, tiny_clip.CONFIG, PIXELS)


@pytest.fixture(scope="module")
def plain(clip: Clip) -> VisualTokens:
    """Plain CLIP: the value path would start behind the last block."""
    return encode(clip, DEPTH + 1)


def test_embedding_equals_numpy(
    clip: Clip, tiny_weights: dict[str, np.ndarray]
) -> None:
    found = clip.module.apply({"params": clip.params}, PIXELS, method="embed")
    expected = numpy_clip.embed_image(PIXELS, tiny_weights)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_blocks_and_tower_equal_transformers(
    plain: VisualTokens, reference: Reference
) -> None:
    for depth in range(1, DEPTH + 1):
        np.testing.assert_allclose(
            plain.taps[:, depth - 1],
            reference.hidden_states[depth][:, 1:],
            atol=1e-5,
            err_msg=f"block {depth}",
        )


def test_image_feature_equals_transformers(
    plain: VisualTokens, reference: Reference
) -> None:
    np.testing.assert_allclose(plain.cls, reference.image_features, atol=1e-5)


@pytest.mark.parametrize("vv_start", [1, 2])
def test_value_path_equals_numpy(
    clip: Clip, tiny_weights: dict[str, np.ndarray], vv_start: int
) -> None:
    found = encode(clip, vv_start)
    _, streams = numpy_clip.image_streams(
        PIXELS, tiny_weights, tiny_clip.CONFIG, vv_start
    )
    for depth in range(1, DEPTH + 1):
        np.testing.assert_allclose(
            found.taps[:, depth - 1], streams[depth][:, 1:], atol=1e-5
        )


def test_value_path_leaves_the_image_feature(clip: Clip, plain: VisualTokens) -> None:
    """Beside it the last block computes the CLS token alone, which rounds otherwise."""
    found = encode(clip, 1)
    np.testing.assert_allclose(found.cls, plain.cls, atol=1e-6)


def test_value_path_is_plain_before_its_first_block(
    clip: Clip, plain: VisualTokens
) -> None:
    found = encode(clip, 2)
    np.testing.assert_array_equal(found.taps[:, 0], plain.taps[:, 0])
    assert np.abs(found.taps[:, 1] - plain.taps[:, 1]).max() > 0.1


def test_four_taps_differ_pairwise(clip: Clip) -> None:
    taps = np.asarray(encode(clip, 1).taps)
    for left in range(DEPTH):
        for right in range(left):
            assert np.abs(taps[:, left] - taps[:, right]).max() > 0.1


def test_taps_are_picked_by_block(clip: Clip) -> None:
    every = encode(clip, 2)
    some = encode(clip, 2, (2, 4), "vv")
    assert some.taps.shape == (2, 2, 16, 64)
    np.testing.assert_allclose(some.taps, every.taps[:, 1::2], atol=1e-5)


@pytest.mark.parametrize(
    ("feature", "path", "norm"),
    [("plain", "original", False), ("vv", "value", True)],
)
def test_image_feature_options(
    clip: Clip,
    tiny_weights: dict[str, np.ndarray],
    feature: str,
    path: str,
    norm: bool,
) -> None:
    found = encode(clip, 2, (2, 4), feature)
    streams = numpy_clip.image_streams(PIXELS, tiny_weights, tiny_clip.CONFIG, 2)
    tokens = streams[path == "value"][-1][:, 0]
    expected = numpy_clip.image_feature(tokens, tiny_weights, norm)
    np.testing.assert_allclose(found.cls, expected, atol=1e-5)


def test_config_is_honoured(
    tmp_path: Path, tiny_weights: dict[str, np.ndarray], plain: VisualTokens
) -> None:
    """Exact GELU and another epsilon; `plain` has QuickGELU and 1e-5."""
    config = tiny_clip.change(
        vision_config={"hidden_act": "gelu", "layer_norm_eps": 0.1}
    )
    directory = tiny_clip.write_directory(tmp_path, config, tiny_weights)
    found = encode(load_clip(str(directory)), DEPTH + 1)
    expected = run_transformers(tiny_weights, config, PIXELS)
    np.testing.assert_allclose(found.cls, expected.image_features, atol=1e-5)
    assert np.abs(found.cls - plain.cls).max() > 0.01


@pytest.mark.parametrize("tower", ["vision_model", "text_model"])
def test_gelu_is_the_exact_one_in_both_towers(
    tiny_directory: Path, tiny_weights: dict[str, np.ndarray], tower: str
) -> None:
    exact = load_clip(str(tiny_directory), activation="gelu")
    width = {"vision_model": 64, "text_model": 32}[tower]
    hidden = np.random.default_rng(6).normal(size=(1, 50, width))
    found = exact.module.apply(
        {"params": exact.params},
        hidden.astype(np.float32),
        method=lambda module, x: getattr(module, tower).encoder.layers.layers[0].mlp(x),
    )
    prefix = f"{tower}.encoder.layers.0.mlp"
    inner = numpy_clip.linear(hidden, tiny_weights, f"{prefix}.fc1")
    inner *= (1 + np.vectorize(math.erf)(inner / 2**0.5)) / 2
    expected = numpy_clip.linear(inner, tiny_weights, f"{prefix}.fc2")
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_pixels_beyond_the_last_whole_patch_are_not_seen(tmp_path: Path) -> None:
    """As MVFA: 240 px in patches of 14 are 17 × 17 of them, the top left 238 px."""
    config = tiny_clip.change(vision_config={"image_size": 28, "patch_size": 14})
    directory = str(tiny_clip.write_directory(tmp_path, config))
    floored = load_clip(directory, 240, multiple=False)
    assert (floored.image_size, floored.grid) == (240, 17)
    pixels = draw_pixels(240)[:1]
    found, expected = (
        clip.module.apply({"params": clip.params}, x, method="embed")
        for clip, x in (
            (floored, pixels),
            (load_clip(directory, 238), pixels[:, :238, :238]),
        )
    )
    assert found.shape == (1, 290, 64)
    np.testing.assert_array_equal(found, expected)


def test_resized_tower_equals_transformers(
    wide_clip: Clip, tiny_weights: dict[str, np.ndarray]
) -> None:
    """The grid itself is checked in test_weights.py; here, that the tower takes it."""
    name = "vision_model.embeddings.position_embedding.weight"
    positions = wide_clip.params["vision_model"]["embeddings"]["position_embedding"]
    weights = {**tiny_weights, name: np.asarray(positions["embedding"])}
    config = tiny_clip.change(vision_config={"image_size": 72})
    expected = run_transformers(weights, config, draw_pixels(72))
    found = encode(wide_clip, DEPTH + 1, (4,), size=72)
    np.testing.assert_allclose(
        found.taps[:, 0], expected.hidden_states[4][:, 1:], atol=1e-5
    )
    np.testing.assert_allclose(found.cls, expected.image_features, atol=1e-5)


@pytest.mark.parametrize("end_id", [tiny_clip.END, 2], ids=["own", "old checkpoints"])
def test_text_feature_equals_transformers_at_full_length(
    tmp_path: Path, tiny_weights: dict[str, np.ndarray], end_id: int
) -> None:
    """Checkpoints from before eos_token_id was mended say 2 and mean the largest id."""
    config = tiny_clip.change(text_config={"eos_token_id": end_id})
    directory = tiny_clip.write_directory(tmp_path, config, tiny_weights)
    own = load_clip(str(directory))
    tokens = own.tokenizer(PROMPTS)
    found = encode_text(own, tokens.ids, tokens.end)
    model, params = transformers_params(tiny_weights, config)
    full = np.full((len(PROMPTS), 77), tiny_clip.END, np.int32)
    full[:, : tokens.ids.shape[1]] = tokens.ids
    assert tokens.ids.shape[1] < 77

    @jax.jit
    def forward(params: Any, ids: jax.Array) -> jax.Array:
        def text(module: Any, ids: jax.Array) -> jax.Array:
            positions = jnp.broadcast_to(jnp.arange(77), ids.shape)
            mask = jnp.ones_like(ids)
            out = module.text_model(ids, mask, positions)
            return module.text_projection(out.pooler_output)

        return model.module.apply({"params": params}, ids, method=text)

    np.testing.assert_allclose(found, forward(params, full), atol=1e-5)


def test_context_takes_the_place_of_the_placeholders(
    clip: Clip, tiny_weights: dict[str, np.ndarray]
) -> None:
    context = np.random.default_rng(4).normal(size=(3, 32)).astype(np.float32)
    tokens = clip.tokenizer(PROMPTS, placeholders=3)
    found = encode_text(clip, tokens.ids, tokens.end, context)
    embedded = tiny_weights["text_model.embeddings.token_embedding.weight"][tokens.ids]
    embedded[:, 1:4] = context
    expected = numpy_clip.text_feature(
        embedded, tokens.end, tiny_weights, tiny_clip.CONFIG
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("sets", [1, 2])
def test_deep_prompts_overwrite_the_beginning_of_later_blocks(
    clip: Clip, tiny_weights: dict[str, np.ndarray], sets: int
) -> None:
    """One set enters block 2 only; two enter blocks 2 and 3 of 3; none enters block 1."""
    draw = np.random.default_rng(5)
    context = draw.normal(size=(3, 32)).astype(np.float32)
    deep = draw.normal(size=(sets, 2, 32)).astype(np.float32)
    tokens = clip.tokenizer(PROMPTS, placeholders=3)
    found = encode_text(clip, tokens.ids, tokens.end, context, deep)
    embedded = tiny_weights["text_model.embeddings.token_embedding.weight"][tokens.ids]
    embedded[:, 1:4] = context
    expected = numpy_clip.text_feature(
        embedded, tokens.end, tiny_weights, tiny_clip.CONFIG, deep
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_vector_of_its_own_stands_between_a_prompt_s_context_and_words(
    clip: Clip, tiny_weights: dict[str, np.ndarray]
) -> None:
    draw = np.random.default_rng(8)
    context = draw.normal(size=(3, 32)).astype(np.float32)
    deep = draw.normal(size=(2, 2, 32)).astype(np.float32)
    own = draw.normal(size=(len(PROMPTS), 32)).astype(np.float32)
    tokens = clip.tokenizer(PROMPTS, placeholders=4)
    found = encode_text(clip, tokens.ids, tokens.end, context, deep, own)
    embedded = tiny_weights["text_model.embeddings.token_embedding.weight"][tokens.ids]
    embedded[:, 1:4], embedded[:, 4] = context, own
    expected = numpy_clip.text_feature(
        embedded, tokens.end, tiny_weights, tiny_clip.CONFIG, deep
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_weights_rounded_once_are_those_rounded_in_every_call(
    clip: Clip, tiny_directory: Path
) -> None:
    half = load_clip(str(tiny_directory), dtype=jnp.bfloat16)
    block = half.params["vision_model"]["encoder"]["layers"]["0"]
    assert block["self_attn"]["q_proj"]["kernel"].dtype == jnp.bfloat16
    assert block["layer_norm1"]["scale"].dtype == jnp.float32
    assert half.params["visual_projection"]["kernel"].dtype == jnp.float32
    whole = dataclasses.replace(half, params=clip.params)
    tokens = clip.tokenizer(PROMPTS)
    np.testing.assert_array_equal(encode(half, 2).taps, encode(whole, 2).taps)
    np.testing.assert_array_equal(
        encode_text(half, tokens.ids, tokens.end),
        encode_text(whole, tokens.ids, tokens.end),
    )
