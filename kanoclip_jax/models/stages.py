"""Stages of patches against text, each with a map of its own (APRIL-GAN, MVFA).

Logits are up-sampled with the corners aligned, and the softmax comes after; the local
loss is summed over stages, without the normal map's dice.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kanoclip_jax import losses
from kanoclip_jax.models.base import TrainBatch
from kanoclip_jax.nn import anomaly_map


def abnormal_logits(
    tokens: Float[Array, "b l n joint"],
    text: Float[Array, "b 2 joint"],
    temperature: float,
) -> Float[Array, "b l n"]:
    """How much nearer a patch is to «abnormal»: its sigmoid is the softmax's share.

    Args:
        tokens: patches of each stage in the joint space, of any length.
        text: features of {normal, abnormal}, of any length.
        temperature: τ of the softmax over states.
    """
    unit = anomaly_map.normalise
    # Of two states only the difference counts, and it commutes with up-sampling.
    difference = unit(text)[:, 1] - unit(text)[:, 0]
    return jnp.einsum("blnj,bj->bln", unit(tokens), difference) / temperature


def stage_maps(
    logits: Float[Array, "b l n"], size: int, sigma: float = 0.0
) -> Float[Array, "b l {size} {size}"]:
    """Each stage's map: logits are up-sampled, corners aligned, then the softmax.

    Args:
        logits: see `abnormal_logits`.
        size: side of the maps in pixels.
        sigma: of the maps' Gaussian in pixels; 0 for none.
    """
    maps = jax.nn.sigmoid(anomaly_map.render(logits, size, align_corners=True))
    return anomaly_map.smooth(maps, sigma) if sigma else maps


def summed_terms(
    maps: Float[Array, "b l h w"], batch: TrainBatch, gamma: float
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Focal, and dice of the abnormal map, summed over stages.

    Args:
        maps: of each stage, unblurred.
        batch: masks, and which rows are real.
        gamma: the focal exponent.
    """
    weights = batch.is_real.astype(jnp.float32)
    truth = batch.mask.astype(jnp.float32)
    focal, dice = 0.0, 0.0
    for stage in range(maps.shape[1]):
        own = maps[:, stage]
        states = jnp.stack([1 - own, own], axis=1)
        focal += losses.weighted_mean(
            losses.focal_loss(states, batch.mask, gamma), weights
        )
        dice += losses.weighted_mean(losses.dice_loss(own, truth), weights)
    return focal, dice
