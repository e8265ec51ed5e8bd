"""Losses by hand, against a plain numpy port, and where they must not act."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kanoclip_jax.losses import (
    dice_loss,
    focal_loss,
    global_loss,
    knowledge_loss,
    local_loss,
    weighted_mean,
)

DRAW = np.random.default_rng(0)
ABNORMAL = DRAW.random((8, 5, 6), np.float32)
STATES = jnp.stack([1 - ABNORMAL, ABNORMAL], 1)
MASK = jnp.asarray(DRAW.random((8, 5, 6)) > 0.7, jnp.int32)


def plain_focal(states: np.ndarray, mask: np.ndarray, gamma: float) -> np.ndarray:
    """AnomalyCLIP's formula, pixel by pixel, for each image."""
    losses = np.zeros(len(states))
    for image in range(len(states)):
        terms = []
        for position, truth in np.ndenumerate(mask[image]):
            onehot = np.clip(np.float64([1 - truth, truth]), 1e-5, 1 - 1e-5)
            likelihood = onehot @ states[(image, slice(None), *position)] + 1e-5
            miss = max(1 - likelihood, 0.0)
            terms.append(-(miss**gamma) * np.log(likelihood))
        losses[image] = np.mean(terms)
    return losses


@pytest.mark.parametrize("gamma", [0.0, 1.5, 2.0])
def test_focal_equals_anomalyclips_formula(gamma: float) -> None:
    found = focal_loss(STATES, MASK, gamma)
    np.testing.assert_allclose(
        found, plain_focal(np.asarray(STATES), np.asarray(MASK), gamma), rtol=1e-5
    )


def test_focal_by_hand() -> None:
    """A coin's toss at every pixel: ¼ · ln 2, up to the smoothing."""
    found = focal_loss(jnp.full((1, 2, 3, 3), 0.5), MASK[:1, :3, :3])
    np.testing.assert_allclose(found, [0.25 * 0.69314718], atol=1e-4)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.5])
def test_focal_is_finite_at_certainty(gamma: float) -> None:
    """Right and wrong without doubt, at a fractional power, with their gradients."""
    states = jnp.asarray([[[[1.0, 0.0]], [[0.0, 1.0]]]])
    mask = jnp.asarray([[[0, 0]]])
    value, gradient = jax.value_and_grad(
        lambda states: focal_loss(states, mask, gamma).sum()
    )(states)
    # The wrong pixel's likelihood is 2e-5, the right one's loss is 0.
    np.testing.assert_allclose(value, 0.5 * -np.log(2e-5), rtol=1e-3)
    assert np.isfinite(gradient).all()


def test_dice_by_hand() -> None:
    probability = jnp.float32([[[0.5, 1.0], [0.0, 0.0]]])
    target = jnp.float32([[[1.0, 1.0], [0.0, 1.0]]])
    # 1 - (2 · 1.5 + 1) / (1.5 + 3 + 1)
    np.testing.assert_allclose(dice_loss(probability, target), [1 - 4 / 5.5], rtol=1e-6)


def test_dice_of_nothing_found_in_nothing_is_zero() -> None:
    nothing = jnp.zeros((1, 4, 4))
    np.testing.assert_array_equal(dice_loss(nothing, nothing), [0.0])


def test_local_loss_has_dice_on_both_maps() -> None:
    focal, dice = local_loss(STATES, MASK)
    np.testing.assert_array_equal(focal, focal_loss(STATES, MASK))
    for image in range(8):
        p, g = ABNORMAL[image].astype(np.float64), np.asarray(MASK[image])
        abnormal = 1 - (2 * (p * g).sum() + 1) / (p.sum() + g.sum() + 1)
        p, g = 1 - p, 1 - g
        normal = 1 - (2 * (p * g).sum() + 1) / (p.sum() + g.sum() + 1)
        np.testing.assert_allclose(dice[image], abnormal + normal, rtol=1e-5)


def test_one_image_alone_has_its_loss_of_the_batch() -> None:
    """The peers' `squeeze` makes rows of a single image's mask; ours must not."""
    batch = local_loss(STATES, MASK)
    for image in (0, 7):
        alone = local_loss(STATES[image : image + 1], MASK[image : image + 1])
        for together, single in zip(batch, alone, strict=True):
            assert single.shape == (1,)
            np.testing.assert_allclose(single[0], together[image], rtol=1e-6)


def test_global_loss_by_hand() -> None:
    score, label = jnp.float32([0.8, 0.8, 0.5]), jnp.int32([1, 0, 1])
    expected = [0.22314355, 1.60943791, 0.69314718]
    np.testing.assert_allclose(global_loss(score, label), expected, rtol=1e-5)


def test_global_loss_is_clipped_at_certainty() -> None:
    found = global_loss(jnp.float32([1.0, 0.0]), jnp.int32([0, 1]))
    np.testing.assert_allclose(found, [13.815511] * 2, rtol=0.01)


def test_padding_does_not_count() -> None:
    values, weights = jnp.float32([1, 5, 1e30]), jnp.float32([1, 1, 0])
    assert weighted_mean(values, weights) == 3.0
    assert weighted_mean(values, jnp.zeros(3)) == 0.0


NORMAL, OTHER = jnp.float32([1, 0]), jnp.float32([0, 1])


def test_knowledge_loss_by_hand() -> None:
    """Abnormal prompts at √2 and at 0, normal ones at 0 and at √2."""
    text = jnp.asarray([[NORMAL, OTHER], [OTHER, NORMAL]])
    found = knowledge_loss(jnp.stack([NORMAL, NORMAL]), text)
    np.testing.assert_allclose(found.loss, 2**0.5 / 2, atol=1e-5)
    np.testing.assert_allclose(found.distance_abnormal, 2**0.5 / 2, atol=1e-5)
    np.testing.assert_allclose(found.distance_normal, 2**0.5 / 2, atol=1e-5)
    assert found.active == 0.5


def test_knowledge_loss_rests_where_abnormal_is_nearer() -> None:
    text = jnp.asarray([[OTHER, NORMAL]])
    value, gradient = jax.value_and_grad(
        lambda text: knowledge_loss(jnp.asarray([NORMAL]), text).loss
    )(text)
    assert value == 0.0
    np.testing.assert_array_equal(gradient, np.zeros((1, 2, 2)))
    assert knowledge_loss(NORMAL[None], text).active == 0.0


def test_margin_keeps_the_knowledge_loss_awake() -> None:
    text = jnp.asarray([[OTHER, NORMAL]])
    found = knowledge_loss(NORMAL[None], text, margin=2.0)
    np.testing.assert_allclose(found.loss, 2 - 2**0.5, atol=1e-5)
    assert found.active == 1.0


def test_global_scope_by_hand() -> None:
    """Two classes that disagree: apart one of them is active, together neither."""
    knowledge = jnp.asarray([[1.0, 0, 0], [0, 1, 0]])
    text = jnp.asarray([[[1.0, 0, 0], [0, 1, 0]], [[0, 0, 1.0], [0, 1, 0]]])
    apart = knowledge_loss(knowledge, text)
    np.testing.assert_allclose(apart.loss, 2**0.5 / 2, atol=1e-5)
    assert apart.active == 0.5
    together = knowledge_loss(knowledge, text, scope="global")
    # k = (1, 1, 0) / √2, normal (1, 0, 1) / √2 at 1, abnormal (0, 1, 0) at √(2 − √2).
    np.testing.assert_allclose(together.distance_normal, 1.0, atol=1e-5)
    np.testing.assert_allclose(together.distance_abnormal, 0.76536686, atol=1e-5)
    assert (together.loss, together.active) == (0.0, 0.0)
    held = knowledge_loss(knowledge, text, 0.5, "global")
    np.testing.assert_allclose(held.loss, 0.26536686, atol=1e-5)
    assert held.active == 1.0


def test_global_scope_rests_without_a_gradient() -> None:
    """Where only one class would be active, none is pulled."""
    knowledge = jnp.asarray([[1.0, 0, 0], [0, 1, 0]])
    text = jnp.asarray([[[1.0, 0, 0], [0, 1, 0]], [[0, 0, 1.0], [0, 1, 0]]])
    gradient = {
        scope: jax.grad(lambda t, s=scope: knowledge_loss(knowledge, t, scope=s).loss)
        for scope in ("class", "global")
    }
    np.testing.assert_array_equal(gradient["global"](text), np.zeros((2, 2, 3)))
    own = gradient["class"](text)
    assert np.abs(own[0]).max() > 0
    np.testing.assert_array_equal(own[1], np.zeros((2, 3)))


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.5]))
@settings(max_examples=15, deadline=None)
def test_scopes_agree_on_one_class(seed: int, margin: float) -> None:
    vectors = np.random.default_rng(seed).normal(size=(3, 6)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    knowledge, text = jnp.asarray(vectors[:1]), jnp.asarray(vectors[None, 1:])
    own = knowledge_loss(knowledge, text, margin, "class")
    together = knowledge_loss(knowledge, text, margin, "global")
    np.testing.assert_allclose(together, own, atol=1e-5)


def test_knowledge_loss_is_finite_at_coincident_points() -> None:
    text = jnp.asarray([[NORMAL, NORMAL]])
    value, gradient = jax.value_and_grad(
        lambda text: knowledge_loss(jnp.asarray([NORMAL]), text, 0.1).loss
    )(text)
    np.testing.assert_allclose(value, 0.1, atol=1e-6)
    assert np.isfinite(gradient).all()


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_knowledge_gradient_points_to_the_knowledge(seed: int) -> None:
    """A step against the gradient lowers the gap, wherever the loss is active."""
    draw = np.random.default_rng(seed)
    vectors = jnp.asarray(draw.normal(size=(3, 6)), jnp.float32)
    knowledge, normal, abnormal = vectors / jnp.linalg.norm(vectors, axis=1)[:, None]
    text = jnp.asarray([[normal, abnormal]])
    gradient = jax.grad(lambda t: knowledge_loss(knowledge[None], t, 3.0).loss)(text)
    before, after = (
        knowledge_loss(knowledge[None], t, 3.0) for t in (text, text - 1e-2 * gradient)
    )
    assert after.distance_abnormal < before.distance_abnormal
    assert after.distance_normal > before.distance_normal
