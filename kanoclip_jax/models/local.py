"""The local losses of a batch, for methods that say {normal, abnormal} by patch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from kanoclip_jax import losses
from kanoclip_jax.models.base import TrainBatch
from kanoclip_jax.nn import anomaly_map


def local_terms(
    states: Float[Array, "b l 2 n"], batch: TrainBatch, size: int, gamma: float
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Eq. 15: focal and dice of each tap's map at `size` pixels, unblurred, averaged.

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


def nearest_terms(
    states: Float[Array, "b l 2 n"], batch: TrainBatch, size: int, gamma: float
) -> tuple[Float[Array, " l"], Float[Array, " l"]]:
    """Focal, and dice of the abnormal side alone, of maps whose pixels are squares.

    Each pixel has the probability of its patch (nearest neighbour, as Crane trains), so
    a patch need only know how many of its pixels the mask holds: exact, and a loss of
    patches instead of pixels.

    Args:
        states: of each tap.
        batch: masks, and which rows are real.
        size: of the masks, in pixels.
        gamma: the focal exponent.
    """
    weights = batch.is_real.astype(jnp.float32)
    cells = nearest_cells(round(states.shape[-1] ** 0.5), size)
    area = jnp.asarray(np.outer(cells.sum(0), cells.sum(0)).reshape(-1))
    held = jnp.einsum(
        "yh,byx,xw->bhw",
        jnp.asarray(cells),
        batch.mask.astype(jnp.float32),
        jnp.asarray(cells),
        precision=jax.lax.Precision.HIGHEST,
    ).reshape(batch.mask.shape[0], -1)
    none = jnp.zeros(held.shape, jnp.int32)
    focal, dice = [], []
    for tap in range(states.shape[1]):
        own = states[:, tap]
        clear = losses.focal_terms(own, none, gamma)
        broken = losses.focal_terms(own, none + 1, gamma)
        terms = ((area - held) * clear + held * broken).sum(1) / size**2
        focal.append(losses.weighted_mean(terms, weights))
        abnormal = (1.0 - own[:, 0] + own[:, 1]) / 2.0
        overlap = (abnormal * held).sum(1)
        total = (abnormal * area).sum(1) + held.sum(1)
        terms = 1.0 - (2.0 * overlap + 1.0) / (total + 1.0)
        dice.append(losses.weighted_mean(terms, weights))
    return jnp.stack(focal), jnp.stack(dice)


@functools.cache
def nearest_cells(grid: int, size: int) -> Float[np.ndarray, "size grid"]:
    """Which patch each pixel of an axis lies in, as rows with a single 1."""
    patches = np.arange(size) * grid // size
    return np.eye(grid, dtype=np.float32)[patches]
