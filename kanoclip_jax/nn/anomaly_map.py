"""From features to maps and score: eq. 9, 10 and 12 as linear algebra on the patch grid.

Taps are combined on the small patch grid (their mean commutes with what follows, which
is linear), and up-sampling and Gaussian are one matrix, applied to rows and columns.
"""

import functools
import math
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.ndimage import gaussian_filter1d

Combine = Literal["probability", "logit"]

# Of log-odds: an empty picture's noise is not to fill the scale.
_LEAST_DEVIATION = 0.02


def normalise(features: Float[Array, "*n d"]) -> Float[Array, "*n d"]:
    """Scale vectors to unit length; the gradient is finite at zero."""
    square = jnp.sum(jnp.square(features), -1, keepdims=True)
    return features * jax.lax.rsqrt(square + 1e-12)


def state_probabilities(
    visual: Float[Array, "b n d"], text: Float[Array, "b s d"], temperature: float
) -> Float[Array, "b s n"]:
    """Softmax over states of cosine / temperature, for each token."""
    cosine = jnp.einsum("bnd,bsd->bsn", normalise(visual), normalise(text))
    return jax.nn.softmax(cosine / temperature, axis=1)


def relate_to_picture(
    states: Float[Array, "b l 2 n"], typical: float, spread: float = 0.0
) -> Float[Array, "b l 2 n"]:
    """Take each tap's log-odds against those of the picture's own patches.

    What is wrong with a picture is mostly a small part of it, so its median patch is
    normal, whatever a tap makes of a surface that it has never seen; and where a
    surface fills the picture, how far its patches lie from the median is how far normal
    ones do.

    Args:
        states: of {normal, abnormal} for each tap and patch.
        typical: the probability of «abnormal» that the median patch shall have.
        spread: power of the patches' median absolute deviation that distances from the
            median are divided by: 0 leaves them alone, 1 counts in deviations.
    """
    log = _log(states)
    odds = log[:, :, 1] - log[:, :, 0]
    odds -= jnp.median(odds, -1, keepdims=True)
    if spread:
        deviation = jnp.median(jnp.abs(odds), -1, keepdims=True)
        odds /= jnp.maximum(deviation, _LEAST_DEVIATION) ** spread
    odds += math.log(typical / (1 - typical))
    return jax.nn.softmax(jnp.stack([jnp.zeros_like(odds), odds], 2), axis=2)


def combine_taps(
    states: Float[Array, "b l 2 n"], combine: Combine
) -> Float[Array, "b 2 n"]:
    """`Norm` of eq. 9: the taps' probabilities as one, in [0, 1].

    Args:
        states: of {normal, abnormal} for each tap and patch.
        combine: `probability` is their mean over taps; `logit` the mean of log-odds,
            on which a tap that is sure of itself weighs more than one that is not.
    """
    if combine == "probability":
        return states.mean(1)
    return jax.nn.softmax(_log(states).mean(1), axis=1)


def _log(probability: Float[Array, "*n"]) -> Float[Array, "*n"]:
    # At low temperatures a probability may be 0 in single precision.
    return jnp.log(jnp.maximum(probability, jnp.finfo(probability.dtype).tiny))


@functools.cache
def upsampling_matrix(
    grid: int, size: int, sigma: float = 0.0, align_corners: bool = False
) -> np.ndarray:
    """Bilinear up-sampling of one axis, then a Gaussian, as one matrix [size, grid].

    Args:
        grid: patches along the axis.
        size: pixels along the axis.
        sigma: of the Gaussian in pixels, cut at 4 σ, with half-sample symmetric borders
            (scipy's `reflect`); 0 for none.
        align_corners: as torch's. True lays the centres of the outermost patches on
            those of the outermost pixels; False the edges on the edges.
    """
    if align_corners:
        centres = np.arange(size) * (grid - 1) / max(size - 1, 1)
    else:
        centres = (np.arange(size) + 0.5) * grid / size - 0.5
    centres = np.clip(centres, 0, grid - 1)
    left = np.floor(centres).astype(int)
    right = np.minimum(left + 1, grid - 1)
    fraction = centres - left
    matrix = np.zeros((size, grid))
    rows = np.arange(size)
    np.add.at(matrix, (rows, left), 1 - fraction)
    np.add.at(matrix, (rows, right), fraction)
    if sigma > 0:
        matrix = gaussian_filter1d(matrix, sigma, axis=0, mode="reflect", truncate=4.0)
    return matrix.astype(np.float32)


def render(
    maps: Float[Array, "*b n"],
    size: int,
    sigma: float = 0.0,
    align_corners: bool = False,
) -> Float[Array, "*b {size} {size}"]:
    """Up-sample maps on a square patch grid (row by row) to pixels, and smooth them.

    Args:
        maps: values of any kind for each patch.
        size: side of the result in pixels.
        sigma: as `upsampling_matrix` takes it.
        align_corners: the same.
    """
    side = round(maps.shape[-1] ** 0.5)
    matrix = jnp.asarray(upsampling_matrix(side, size, sigma, align_corners))
    # Half-precision products, an accelerator's default, would show in the metrics.
    rendered = jnp.einsum(
        "yh,bhw,xw->byx",
        matrix,
        maps.reshape(-1, side, side),
        matrix,
        precision=jax.lax.Precision.HIGHEST,
    )
    return rendered.reshape(*maps.shape[:-1], size, size)


def smooth(maps: Float[Array, "*b h h"], sigma: float) -> Float[Array, "*b h h"]:
    """The Gaussian of `render` on maps that have their size already."""
    size = maps.shape[-1]
    return render(maps.reshape(*maps.shape[:-2], size * size), size, sigma)


def anomaly_map(
    states: Float[Array, "b 2 n"], size: int, sigma: float
) -> Float[Array, "b {size} {size}"]:
    """Eq. 10: G_σ((M^a + 1 − M^n) / 2), from the taps combined (eq. 9)."""
    combined = (states[:, 1] + 1.0 - states[:, 0]) / 2.0
    return render(combined, size, sigma)


def global_score(
    abnormal: Float[Array, " b"], maps: Float[Array, "b h w"]
) -> Float[Array, " b"]:
    """Half of eq. 12, (p_abnormal + max M) / 2: in [0, 1], and it ranks the same."""
    return (abnormal + maps.max((1, 2))) / 2.0
