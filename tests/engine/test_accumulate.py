"""A batch in pieces: its loss and gradients are those of the whole batch."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kanoclip_jax.backbones import load_clip
from kanoclip_jax.engine.sharding import Devices
from kanoclip_jax.engine.step import fresh_state, make_features, make_train_step
from kanoclip_jax.models.base import TrainBatch
from kanoclip_jax.models.kanoclip import Kanoclip

# An optimiser that moves nothing and keeps the gradients where a state would be.
KEEP_GRADIENTS = optax.GradientTransformation(
    lambda params: jax.tree.map(jnp.zeros_like, params),
    lambda gradients, state, params: (
        jax.tree.map(jnp.zeros_like, gradients),
        gradients,
    ),
)


@pytest.mark.slow
def test_eight_pieces_have_the_gradients_of_one_batch(tiny_directory: Path) -> None:
    """The last of eight images is padding, and labels and areas differ by image."""
    clip = load_clip(str(tiny_directory))
    method = Kanoclip(
        clip, taps=(2, 4), bica_width=16, bica_heads=2, bica_groups=2, layer_scale=0.5
    )
    size = clip.image_size
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (8, size, size, 3), np.uint8)
    masks = (draw.random((8, size, size)) < np.linspace(0, 0.7, 8)[:, None, None]) * 1
    labels = np.arange(8, dtype=np.int32) % 2
    batch = TrainBatch(masks.astype(np.uint8), labels, labels, np.arange(8) < 7)
    prompts = method.learning_from(
        method.prompts(method.frozen, ["bottle", "object"]),
        np.full((2, method.joint), method.joint**-0.5, np.float32),
    )
    devices = Devices(8, "train.batch_size", 1)
    frozen = devices.copy(method.frozen)
    features = make_features(method, devices)(frozen, devices.put(images))
    whole, pieces = (
        make_train_step(method, KEEP_GRADIENTS, devices, parts)(
            frozen,
            fresh_state(method, KEEP_GRADIENTS, devices),
            features,
            devices.put(batch),
            prompts,
        )
        for parts in (1, 8)
    )
    np.testing.assert_allclose(pieces[1]["loss"], whole[1]["loss"], rtol=1e-5)
    ours, expected = (jax.tree.leaves(state.optimizer) for state, _ in (pieces, whole))
    norms = [float(jnp.linalg.norm(leaf)) for leaf in expected]
    assert sum(norm > 0 for norm in norms) > 20
    # A small gradient is a difference of larger ones, whose rounding it inherits: at
    # most 1.1e-5 of it without AVX-512, and less with it.
    floor = 0.01 * float(np.linalg.norm(norms))
    for own, other, norm in zip(ours, expected, norms, strict=True):
        assert float(jnp.linalg.norm(own - other)) <= 2e-5 * max(norm, floor)
