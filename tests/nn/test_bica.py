"""BiCA: the identity at the start, then what its equations say."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy_clip
import pytest

from kanoclip_jax.nn.bica import BiCA, CrossAttention, expand_text

SIDE, WIDTH = 5, 12
# Its bits compile in half of the time of jax's default generator.
KEY = jax.random.key(0, impl="rbg")
DRAW = np.random.default_rng(0)
TEXT = DRAW.normal(size=(2, 2, WIDTH)).astype(np.float32)
VISUAL = DRAW.normal(size=(2, SIDE**2, WIDTH)).astype(np.float32)


def small(**changes: Any) -> BiCA:
    return BiCA(**({"width": 8, "heads": 2, "groups": 2, "stride": 2} | changes))


def draw_params(module: BiCA) -> dict[str, Any]:
    shapes = jax.eval_shape(module.init, KEY, TEXT, VISUAL)["params"]
    draw = np.random.default_rng(1)
    return jax.tree.map(
        lambda leaf: 0.5 * draw.normal(size=leaf.shape).astype(np.float32), shapes
    )


def test_block_starts_as_the_identity() -> None:
    (text, visual), params = jax.jit(small().init_with_output)(KEY, TEXT, VISUAL)
    np.testing.assert_array_equal(text, TEXT)
    np.testing.assert_array_equal(visual, VISUAL)
    assert set(params["params"]) == {
        "text_norm",
        "text_self",
        "text_cross_norm",
        "visual_norm",
        "visual_self",
        "visual_cross_norm",
        "visual_to_text",
        "text_to_visual",
    }


def norm(x: np.ndarray, params: dict[str, Any], name: str) -> np.ndarray:
    weights = {"n.weight": params[name]["scale"], "n.bias": params[name]["bias"]}
    return numpy_clip.layer_norm(x, weights, "n", epsilon=1e-6)


def attend(
    queries: np.ndarray, context: np.ndarray, params: dict[str, Any]
) -> np.ndarray:
    def dense(x: np.ndarray, name: str) -> np.ndarray:
        return x @ params[name]["kernel"] + params[name].get("bias", 0.0)

    query = dense(queries, "query")
    key, value = dense(context, "key"), dense(context, "value")
    return dense(numpy_clip.attention(query, key, value, heads=2), "output")


def test_both_directions_read_the_same_inputs() -> None:
    """In numpy, offsets at rest: neither side sees what the other has just become."""
    module = small()
    params = draw_params(module)
    deformable = params["visual_self"]
    deformable["offset"]["kernel"] = np.zeros_like(deformable["offset"]["kernel"])
    found_text, found_visual = jax.jit(module.apply)({"params": params}, TEXT, VISUAL)

    normed = norm(TEXT, params, "text_norm")
    text = TEXT + attend(normed, normed, params["text_self"])
    normed = norm(VISUAL, params, "visual_norm")
    samples = normed.reshape(2, SIDE, SIDE, WIDTH)[:, ::2, ::2].reshape(2, -1, WIDTH)
    visual = VISUAL + attend(normed, samples, deformable)
    text_in = norm(text, params, "text_cross_norm")
    visual_in = norm(visual, params, "visual_cross_norm")
    text = text + attend(text_in, visual_in, params["visual_to_text"])
    visual = visual + attend(visual_in, text_in, params["text_to_visual"])

    np.testing.assert_allclose(found_text, text, atol=1e-5)
    np.testing.assert_allclose(found_visual, visual, atol=1e-5)


def test_layer_scale_starts_near_the_identity() -> None:
    module = small(layer_scale=1e-4)
    (text, visual), params = jax.jit(module.init_with_output)(KEY, TEXT, VISUAL)
    for found, before in ((text, TEXT), (visual, VISUAL)):
        change = np.abs(found - before).max()
        assert 1e-8 < change < 1e-2
    scales = [name for name in params["params"] if name.endswith("_scale")]
    assert len(scales) == 4
    for name in scales:
        np.testing.assert_array_equal(
            params["params"][name]["scale"], np.full(WIDTH, np.float32(1e-4))
        )


def test_feed_forward_adds_a_branch_on_either_side() -> None:
    module = small(feed_forward=True)
    params = draw_params(module)
    added = {"text_feed_forward", "visual_feed_forward"}
    assert added == set(params) - set(draw_params(small()))
    kernels = [params["text_feed_forward"][f"Dense_{i}"]["kernel"] for i in (0, 1)]
    assert [kernel.shape for kernel in kernels] == [(12, 48), (48, 12)]
    run = jax.jit(module.apply)
    text, visual = run({"params": params}, TEXT, VISUAL)
    silent = jax.tree.map(np.zeros_like, {name: params[name] for name in added})
    base_text, base_visual = run({"params": params | silent}, TEXT, VISUAL)
    assert text.shape == TEXT.shape and visual.shape == VISUAL.shape
    assert np.abs(text - base_text).max() > 0.01
    assert np.abs(visual - base_visual).max() > 0.01


def test_cross_attention_takes_a_context_of_another_width() -> None:
    module = CrossAttention(width=8, heads=2)
    context = VISUAL[..., :5]
    output, variables = jax.jit(module.init_with_output)(KEY, TEXT, context)
    assert output.shape == TEXT.shape
    assert variables["params"]["key"]["kernel"].shape == (5, 8)


@pytest.mark.parametrize("shape", [(2, 6), (3, 2, 6)])
def test_text_is_expanded_to_the_batch(shape: tuple[int, ...]) -> None:
    text = jnp.arange(np.prod(shape), dtype=jnp.float32).reshape(shape)
    found = expand_text(text, 3)
    assert found.shape == (3, 2, 6)
    np.testing.assert_array_equal(found[2], text if text.ndim == 2 else text[2])
