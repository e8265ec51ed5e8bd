"""Tap projections start as CLIP's own LayerNorm and projection."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
import numpy_clip

from kanoclip_jax.backbones import Clip
from kanoclip_jax.nn.alignment import from_clip, project

DRAW = np.random.default_rng(0)
TAPS = jnp.asarray(DRAW.normal(2.0, 3.0, (2, 3, 5, 64)), jnp.float32)


def test_start_equals_clips_own_projection(
    clip: Clip, tiny_weights: Mapping[str, np.ndarray]
) -> None:
    params = from_clip(clip.params, 3)
    found = jnp.stack(project(TAPS, **params, epsilon=1e-5), axis=1)
    expected = numpy_clip.image_feature(TAPS, tiny_weights)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_each_tap_has_its_own_parameters(clip: Clip) -> None:
    params = from_clip(clip.params, 3)
    before = project(TAPS, **params, epsilon=1e-5)
    params["bias"] = params["bias"].at[1].add(1.0)
    after = project(TAPS, **params, epsilon=1e-5)
    changed = [np.abs(new - old).max() for new, old in zip(after, before, strict=True)]
    assert changed[1] > 0.1
    assert changed[0] == changed[2] == 0


def test_half_precision_taps_are_normed_in_float32(
    clip: Clip, tiny_weights: Mapping[str, np.ndarray]
) -> None:
    """Values of 300 have squares beyond float16."""
    taps = (100 * TAPS).astype(jnp.float16)
    projected = project(taps, **from_clip(clip.params, 3), epsilon=1e-5)
    found = jnp.stack(projected, axis=1)
    expected = numpy_clip.image_feature(taps, tiny_weights)
    np.testing.assert_allclose(found, expected, atol=1e-4)
