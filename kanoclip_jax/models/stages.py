"""Stages of patches against text, each with a map of its own (APRIL-GAN, AdaCLIP, MVFA).

Logits are up-sampled with the corners aligned, and the softmax comes after; the local
loss is summed over stages, without the normal map's dice.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kanoclip_jax import losses
from kanoclip_jax.models.base import TrainBatch
from kanoclip_jax.nn import anomaly_map


def linear_layers(
    key: jax.Array, count: tuple[int, ...], inputs: int, outputs: int
) -> dict[str, Array]:
    """Fresh kernels and biases from U(±1/√inputs), as torch's Linear.

    Args:
        key: of the drawing.
        count: how many layers there are, as leading axes.
        inputs: width that a layer reads,
        outputs: and that it gives.
    """
    keys, bound = jax.random.split(key), inputs**-0.5
    shapes = {"kernel": (*count, inputs, outputs), "bias": (*count, outputs)}
    return {
        name: jax.random.uniform(own, shape, minval=-bound, maxval=bound)
        for own, (name, shape) in zip(keys, shapes.items(), strict=True)
    }


def project(
    layers: Mapping[str, Array], taps: Float[Array, "b l n d"]
) -> Float[Array, "b l n joint"]:
    """Patches of each stage through its own layer; see `linear_layers`."""
    tokens = jnp.einsum("blnd,ldj->blnj", taps, layers["kernel"])
    return tokens + layers["bias"][:, None]


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
    logits: Float[Array, "*b n"], size: int, sigma: float = 0.0
) -> Float[Array, "*b {size} {size}"]:
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
