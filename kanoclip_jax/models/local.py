"""The local loss of a batch (eq. 15), for methods that say {normal, abnormal} by patch."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from kanoclip_jax import losses
from kanoclip_jax.models.base import TrainBatch
from kanoclip_jax.nn import anomaly_map


def local_terms(
    states: Float[Array, "b l 2 n"], batch: TrainBatch, size: int, gamma: float
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Focal and dice of each tap's map at `size` pixels, unblurred, averaged.

    Args:
        states: of each tap, or of their combination as the only one.
        batch: masks, and which rows are real.
        size: of the masks, in pixels.
        gamma: the focal exponent.
    """
    weights = batch.is_real.astype(jnp.float32)
    focal, dice = 0.0, 0.0
    for tap in range(states.shape[1]):
        maps = anomaly_map.render(states[:, tap], size)
        tap_focal, tap_dice = losses.local_loss(maps, batch.mask, gamma)
        focal += losses.weighted_mean(tap_focal, weights) / states.shape[1]
        dice += losses.weighted_mean(tap_dice, weights) / states.shape[1]
    return focal, dice
