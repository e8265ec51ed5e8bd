"""Tap projections start as CLIP's own LayerNorm and projection."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import numpy_clip

from kanoclip_jax.clip import Clip
from kanoclip_jax.nn.alignment import TapProjection, from_clip, project

DRAW = np.random.default_rng(0)
TAPS = jnp.asarray(DRAW.normal(2.0, 3.0, (2, 3, 5, 64)), jnp.float32)


def test_start_equals_clips_own_projection(
    clip: Clip, tiny_weights: Mapping[str, np.ndarray]
) -> None:
    params = from_clip(clip.params, 3)
    module = TapProjection(joint=48, epsilon=1e-5)
    found = jax.jit(module.apply)({"params": params}, TAPS)
    expected = numpy_clip.image_feature(TAPS, tiny_weights)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_parameters_have_the_modules_own_shapes(clip: Clip) -> None:
    module = TapProjection(joint=48, epsilon=1e-5)
    shapes = jax.eval_shape(module.init, jax.random.key(0), TAPS)["params"]
    found = jax.tree.map(lambda leaf: leaf.shape, from_clip(clip.params, 3))
    assert found == jax.tree.map(lambda leaf: leaf.shape, shapes)
    assert found == {"scale": (3, 64), "bias": (3, 64), "kernel": (3, 64, 48)}


def test_each_tap_has_its_own_parameters(clip: Clip) -> None:
    params = from_clip(clip.params, 3)
    before = project(TAPS, **params, epsilon=1e-5)
    params["bias"] = params["bias"].at[1].add(1.0)
    after = project(TAPS, **params, epsilon=1e-5)
    changed = np.abs(np.asarray(after - before)).max((0, 2, 3))
    assert changed[1] > 0.1
    np.testing.assert_array_equal(changed[[0, 2]], 0)


def test_half_precision_taps_are_normed_in_float32(
    clip: Clip, tiny_weights: Mapping[str, np.ndarray]
) -> None:
    """Values of 300 have squares beyond float16."""
    taps = (100 * TAPS).astype(jnp.float16)
    found = project(taps, **from_clip(clip.params, 3), epsilon=1e-5)
    expected = numpy_clip.image_feature(taps, tiny_weights)
    np.testing.assert_allclose(found, expected, atol=1e-4)
