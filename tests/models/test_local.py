"""Losses counted by patch against the same ones of every pixel."""

import numpy as np
import pytest

from kanoclip_jax.models.base import TrainBatch
from kanoclip_jax.models.local import nearest_terms


@pytest.mark.parametrize("size", [84, 40], ids=["whole patches", "uneven patches"])
def test_terms_of_patches_are_those_of_their_pixels(size: int) -> None:
    rng = np.random.default_rng(0)
    states = rng.dirichlet([1, 1], (4, 3, 36)).transpose(0, 1, 3, 2).astype(np.float32)
    mask = rng.integers(0, 2, (4, size, size), np.uint8)
    mask[1] = 0
    real = np.array([True, True, False, True])
    batch = TrainBatch(mask, mask.max((1, 2)), np.zeros(4, np.int32), real)
    focal, dice = nearest_terms(states, batch, size, 2.0)

    nearest = np.arange(size) * 6 // size
    pixels = states.astype(float).reshape(4, 3, 2, 6, 6)[..., nearest, :][..., nearest]
    pixels, truth = pixels[real], mask[real, None].astype(float)
    target = np.clip(truth, 1e-5, 1 - 1e-5)
    likely = target * pixels[:, :, 1] + (1 - target) * pixels[:, :, 0] + 1e-5
    expected = (-((1 - likely) ** 2) * np.log(likely)).mean((0, 2, 3))
    np.testing.assert_allclose(focal, expected, rtol=1e-5)
    abnormal = (1 - pixels[:, :, 0] + pixels[:, :, 1]) / 2
    both = 2 * (abnormal * truth).sum((2, 3)) + 1
    share = both / (abnormal.sum((2, 3)) + truth.sum((2, 3)) + 1)
    np.testing.assert_allclose(dice, (1 - share).mean(0), rtol=1e-5)
