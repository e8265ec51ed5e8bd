"""E-Attn and D-Attn by their equations, where no reference is needed."""

import numpy as np
import pytest

from kanoclip_jax.backbones import Clip, DualPathCLIP, eattn

DRAW = np.random.default_rng(7)
TOKENS = DRAW.normal(size=(3, 16, 8)).astype(np.float32) + 0.4


def expected_weights(tokens: np.ndarray, mean: float) -> np.ndarray:
    unit = tokens / np.linalg.norm(tokens, axis=-1, keepdims=True)
    logits = 3.0 * (unit @ unit.T - 1.2 * mean)
    weights = np.where(logits >= 0, np.exp(logits), 0.0)
    return weights / weights.sum(-1, keepdims=True)


@pytest.mark.parametrize("centring", ["image", "batch"])
def test_guided_attention(centring: str) -> None:
    found = eattn.guided_attention(TOKENS, 1.2, 3.0, centring)
    unit = TOKENS / np.linalg.norm(TOKENS, axis=-1, keepdims=True)
    means = (unit @ unit.swapaxes(1, 2)).mean((1, 2))
    if centring == "batch":
        means = np.full(3, means.mean())
    for row, mean in enumerate(means):
        expected = expected_weights(TOKENS[row].astype(np.float64), mean)
        np.testing.assert_allclose(found[row], expected, atol=1e-5)
    assert (np.asarray(found) == 0).any()


def test_a_patch_like_none_keeps_its_own_value() -> None:
    """Where all are alike, their mean lies above 1 / β: nothing exceeds it."""
    same = np.ones((1, 16, 8), np.float32) + 0.01 * TOKENS[:1]
    np.testing.assert_array_equal(
        eattn.guided_attention(same, 1.2, 3.0)[0], np.eye(16, dtype=np.float32)
    )
    # One that points elsewhere is alone, and its neighbours are not.
    mixed = np.concatenate([same, TOKENS[1:2]])
    found = eattn.guided_attention(mixed, 1.2, 3.0)
    np.testing.assert_array_equal(
        found[1], eattn.guided_attention(mixed[1:], 1.2, 3)[0]
    )
    assert np.isfinite(eattn.guided_attention(mixed, 1.2, 3.0, "batch")).all()


def test_values_alone_are_the_v_v_path(clip: Clip) -> None:
    pixels = DRAW.normal(size=(2, 32, 32, 3)).astype(np.float32)
    params = {"params": clip.params}
    expected = clip.module.apply(
        params, pixels, vv_start=2, taps=(4,), method="encode_image"
    )

    def walk(module: DualPathCLIP, pixels: np.ndarray) -> eattn.Streams:
        return eattn.walk(module, pixels, first=2, products="vv")

    found = clip.module.apply(params, pixels, method=walk)
    np.testing.assert_allclose(found.patches, expected.taps[:, 0], atol=1e-5)
    np.testing.assert_allclose(found.cls, expected.cls, atol=1e-5)
