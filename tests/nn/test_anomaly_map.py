"""Maps and scores against scipy and torch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from kanoclip_jax.nn.anomaly_map import (
    anomaly_map,
    combine_taps,
    global_score,
    normalise,
    relate_to_picture,
    render,
    state_probabilities,
    upsampling_matrix,
)


@given(
    st.integers(1, 40),
    st.integers(1, 90),
    st.sampled_from([0.0, 0.7, 4.0]),
    st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_rows_of_the_matrix_are_means(
    grid: int, size: int, sigma: float, align_corners: bool
) -> None:
    """No weight is negative and a constant map stays what it is."""
    matrix = upsampling_matrix(grid, size, sigma, align_corners)
    assert matrix.shape == (size, grid)
    assert (matrix >= 0).all()
    np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-6)


def test_rows_of_the_matrix_by_hand() -> None:
    edges = upsampling_matrix(2, 4)
    np.testing.assert_array_equal(edges, [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]])
    corners = upsampling_matrix(3, 5, align_corners=True)
    np.testing.assert_array_equal(
        corners,
        [[1, 0, 0], [0.5, 0.5, 0], [0, 1, 0], [0, 0.5, 0.5], [0, 0, 1]],
    )
    # Five pixels over three steps: 0, 3/4, 3/2, 9/4, 3.
    np.testing.assert_array_equal(
        upsampling_matrix(4, 5, align_corners=True) @ np.arange(4),
        [0, 0.75, 1.5, 2.25, 3],
    )
    # As torch: a single pixel is the first patch's.
    np.testing.assert_array_equal(
        upsampling_matrix(3, 1, align_corners=True), [[1, 0, 0]]
    )


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(
    ("grid", "size"), [(4, 32), (9, 72), (5, 7), (17, 240), (37, 518)]
)
def test_upsampling_equals_torch(grid: int, size: int, align_corners: bool) -> None:
    torch = pytest.importorskip("torch")
    maps = np.random.default_rng(0).random((2, 3, grid**2), np.float32)
    # In float32, torch's own pixel positions are off by more than the tolerance.
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(maps.reshape(2, 3, grid, grid)).double(),
        (size, size),
        mode="bilinear",
        align_corners=align_corners,
    )
    np.testing.assert_allclose(
        render(jnp.asarray(maps), size, align_corners=align_corners),
        expected.numpy(),
        atol=1e-6,
    )


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("size", [8, 32, 60])
def test_blur_equals_scipy(size: int, align_corners: bool) -> None:
    """Also where the kernel, 33 pixels wide, is wider than the image."""
    maps = jnp.asarray(np.random.default_rng(1).random((2, 16), np.float32))
    upsampled = np.asarray(render(maps, size, 0.0, align_corners), np.float64)
    expected = [
        gaussian_filter(one, 4.0, truncate=4.0, mode="reflect") for one in upsampled
    ]
    found = render(maps, size, 4.0, align_corners)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_map_of_complementary_states_is_the_blurred_abnormal_one() -> None:
    abnormal = jnp.asarray(np.random.default_rng(2).random((2, 16), np.float32))
    states = jnp.stack([1 - abnormal, abnormal], 1)
    found = anomaly_map(states, 32, 4.0)
    np.testing.assert_allclose(found, render(abnormal, 32, 4.0), atol=1e-6)


def test_map_weighs_both_states_alike() -> None:
    """Eq. 10 by hand, on constant maps: (0.9 + 1 - 0.3) / 2."""
    states = jnp.stack([jnp.full((1, 4), 0.3), jnp.full((1, 4), 0.9)], 1)
    np.testing.assert_allclose(anomaly_map(states, 6, 0.0), np.full((1, 6, 6), 0.8))


def test_probabilities_by_hand() -> None:
    """Cosines 1 and 0 at temperature ½: 1 / (1 + e⁻²)."""
    visual = jnp.float32([[[3, 0], [0, 5], [1, 1]]])
    text = jnp.float32([[[0.1, 0], [0, 7]]])
    found = state_probabilities(visual, text, 0.5)
    high = 0.8807970779778823
    expected = [[[high, 1 - high, 0.5], [1 - high, high, 0.5]]]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_score_is_half_of_the_sum() -> None:
    maps = np.zeros((2, 3, 3), np.float32)
    maps[0, 1, 2], maps[1] = 0.6, 1.0
    found = global_score(jnp.float32([0.2, 1.0]), jnp.asarray(maps))
    np.testing.assert_allclose(found, [0.4, 1.0])


def test_unit_vectors_and_a_finite_gradient_at_zero() -> None:
    vectors = jnp.float32([[3, 4], [-6, 8]])
    np.testing.assert_allclose(normalise(vectors), [[0.6, 0.8], [-0.6, 0.8]])
    gradient = jax.grad(lambda x: normalise(x).sum())(jnp.zeros(3))
    assert np.isfinite(gradient).all()


def test_taps_are_combined_by_probability_or_by_log_odds() -> None:
    abnormal = np.array([[0.5, 0.9, 0.2], [0.5, 0.1, 1e-9]])
    states = jnp.asarray(np.stack([1 - abnormal, abnormal], 1)[None], jnp.float32)
    mean = combine_taps(states, "probability")
    np.testing.assert_allclose(mean[0, 1], [0.5, 0.5, 0.1], atol=1e-6)
    # Odds of 1 and 1; 9 and 1/9; 1/4 and 1e-9: their geometric means.
    odds = np.array([1.0, 1.0, np.sqrt(0.25e-9)])
    logit = combine_taps(states, "logit")
    np.testing.assert_allclose(logit[0, 1], odds / (1 + odds), rtol=1e-4)
    for found in (mean, logit):
        np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)


@pytest.mark.parametrize("combine", ["probability", "logit"])
def test_certain_taps_have_finite_gradients(combine: str) -> None:
    """Cosines of 1 and -1 at the usual temperature, on every tap."""
    logits = jnp.array([[[[1.0, -1.0], [-1.0, 1.0]]] * 4]) / 0.07

    def total(logits: jax.Array) -> jax.Array:
        return combine_taps(jax.nn.softmax(logits, axis=2), combine)[:, 1].sum()

    value, gradient = jax.value_and_grad(total)(logits)
    assert np.isfinite(value) and np.isfinite(gradient).all()


def test_the_median_patch_of_every_tap_becomes_typical() -> None:
    """Odds are multiplied by one factor for each tap; their ratios stay."""
    abnormal = np.random.default_rng(0).uniform(0.1, 0.9, (2, 3, 25))
    states = jnp.asarray(np.stack([1 - abnormal, abnormal], 2), jnp.float32)
    found = np.asarray(relate_to_picture(states, 0.03))
    np.testing.assert_allclose(found.sum(2), 1, atol=1e-6)
    np.testing.assert_allclose(np.median(found[:, :, 1], -1), 0.03, rtol=1e-4)
    before = abnormal / (1 - abnormal)
    after = found[:, :, 1] / found[:, :, 0]
    factor = (0.03 / 0.97) / np.median(before, -1, keepdims=True)
    np.testing.assert_allclose(after, before * factor, rtol=1e-4)


def test_spread_counts_in_the_patches_own_deviations() -> None:
    """Of log-odds, whatever their scale; a picture without any is not blown up."""
    odds = np.random.default_rng(0).normal(size=(2, 3, 25))
    for scale in (0.1, 1.0, 3.0):
        abnormal = 1 / (1 + np.exp(-scale * odds))
        states = jnp.asarray(np.stack([1 - abnormal, abnormal], 2), jnp.float32)
        found = np.asarray(relate_to_picture(states, 0.03, spread=1.0), np.float64)
        after = np.log(found[:, :, 1] / found[:, :, 0]) - np.log(0.03 / 0.97)
        centred = odds - np.median(odds, -1, keepdims=True)
        deviation = np.median(np.abs(centred), -1, keepdims=True)
        np.testing.assert_allclose(after, centred / deviation, rtol=1e-3, atol=1e-3)
    flat = jnp.full((1, 1, 2, 25), 0.5).at[0, 0, 1, ::2].add(1e-6)
    found = relate_to_picture(flat, 0.03, spread=1.0)[:, :, 1]
    np.testing.assert_allclose(found, 0.03, rtol=1e-3)


def test_a_tap_that_is_certain_everywhere_says_nothing() -> None:
    states = jnp.asarray([[np.stack([np.zeros(4), np.ones(4)])]], jnp.float32)
    certain = jnp.clip(states, 1e-12, 1 - 1e-6)
    np.testing.assert_allclose(relate_to_picture(certain, 0.03)[0, 0, 1], 0.03, 1e-3)
