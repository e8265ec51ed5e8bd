"""The joint loss: knowledge distance, global BCE, focal and dice (eq. 2-3 and 13-15)."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Integer

KnowledgeScope = Literal["class", "global"]
_SMOOTH = 1e-5


def weighted_mean(
    values: Float[Array, " b"], weights: Float[Array, " b"]
) -> Float[Array, ""]:
    """Mean over the images that count; padding has weight 0."""
    return jnp.sum(values * weights) / jnp.maximum(jnp.sum(weights), 1.0)


def focal_loss(
    states: Float[Array, "b 2 h w"],
    mask: Integer[Array, "b h w"],
    gamma: float = 2.0,
) -> Float[Array, " b"]:
    """Focal loss on softmax probabilities, mean over pixels, for each image."""
    return jnp.mean(focal_terms(states, mask, gamma), axis=(1, 2))


def focal_terms(
    states: Float[Array, "b 2 *n"], mask: Integer[Array, "b *n"], gamma: float = 2.0
) -> Float[Array, "b *n"]:
    """What each pixel adds to the focal loss.

    Without class weights, as AnomalyCLIP's loss.py: the one-hot target is clamped to
    [1e-5, 1 - 1e-5] and 1e-5 is added to p_t (Lin et al., 2017).
    """
    abnormal = mask.astype(states.dtype)
    target = jnp.clip(jnp.stack([1 - abnormal, abnormal], 1), _SMOOTH, 1 - _SMOOTH)
    likelihood = jnp.sum(target * states, axis=1) + _SMOOTH
    # p_t may exceed 1 by the smoothing: a fractional power of a negative is NaN, and so
    # is the gradient of a power below 1 at zero.
    miss = jnp.maximum(1 - likelihood, 1e-12)
    return -(miss**gamma) * jnp.log(likelihood)


def dice_loss(
    probability: Float[Array, "b h w"], target: Float[Array, "b h w"]
) -> Float[Array, " b"]:
    """1 - (2 Σ p g + 1) / (Σ p + Σ g + 1), over the pixels of each image."""
    overlap = jnp.sum(probability * target, axis=(1, 2))
    total = jnp.sum(probability, axis=(1, 2)) + jnp.sum(target, axis=(1, 2))
    return 1 - (2 * overlap + 1) / (total + 1)


def local_loss(
    states: Float[Array, "b 2 h w"], mask: Integer[Array, "b h w"], gamma: float = 2.0
) -> tuple[Float[Array, " b"], Float[Array, " b"]]:
    """Eq. 15: focal, and dice of the abnormal map with G and the normal with 1 - G.

    Returns:
        The focal and the summed dice term of each image.
    """
    truth = mask.astype(states.dtype)
    dice = dice_loss(states[:, 0], 1 - truth) + dice_loss(states[:, 1], truth)
    return focal_loss(states, mask, gamma), dice


def global_loss(
    score: Float[Array, " b"], label: Int[Array, " b"]
) -> Float[Array, " b"]:
    """Eq. 14: binary cross-entropy of the score in [0, 1], clipped at 1e-6."""
    score = jnp.clip(score, 1e-6, 1 - 1e-6)
    positive = label.astype(score.dtype)
    return -(positive * jnp.log(score) + (1 - positive) * jnp.log(1 - score))


class KnowledgeTerms(NamedTuple):
    """The knowledge loss and what tells whether it acts."""

    loss: Float[Array, ""]
    distance_abnormal: Float[Array, ""]
    distance_normal: Float[Array, ""]
    active: Float[Array, ""]


def knowledge_loss(
    knowledge: Float[Array, "c d"],
    text: Float[Array, "c 2 d"],
    margin: float = 0.0,
    scope: KnowledgeScope = "class",
) -> KnowledgeTerms:
    """Eq. 2: max(0, d(k, abnormal) − d(k, normal) + margin), mean over classes.

    Args:
        knowledge: unit mean of each class's knowledge features (eq. 3).
        text: unit features of the normal and abnormal prompts of each class.
        margin: 0 in the paper, where the loss and its gradient vanish as soon as a
            class's abnormal prompts are the nearer ones.
        scope: `class` compares each class with its own knowledge; `global` compares
            the means over all classes, each renormalised, as if they were one.

    Returns:
        The loss, both mean distances, and the fraction of classes where it is active.
    """
    if scope == "global":
        knowledge, text = (_unit(t.mean(0, keepdims=True)) for t in (knowledge, text))
    # The distance of unit vectors; the small constant keeps the gradient finite.
    square = jnp.sum(jnp.square(knowledge[:, None] - text), -1)
    distance = jnp.sqrt(square + 1e-12)
    gap = distance[:, 1] - distance[:, 0] + margin
    return KnowledgeTerms(
        loss=jnp.mean(jnp.maximum(gap, 0.0)),
        distance_abnormal=jnp.mean(distance[:, 1]),
        distance_normal=jnp.mean(distance[:, 0]),
        active=jnp.mean((gap > 0).astype(jnp.float32)),
    )


def _unit(vectors: Float[Array, "*n d"]) -> Float[Array, "*n d"]:
    square = jnp.sum(jnp.square(vectors), -1, keepdims=True)
    return vectors * jax.lax.rsqrt(square + 1e-12)
