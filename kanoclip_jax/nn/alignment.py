"""Tap alignment: a trainable LayerNorm and projection that start as CLIP's own."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def project(
    taps: Float[Array, "b l n d"],
    *,
    scale: Float[Array, "l d"],
    bias: Float[Array, "l d"],
    kernel: Float[Array, "l d joint"],
    epsilon: float,
) -> tuple[Float[Array, "b n joint"], ...]:
    """`LN(tap) @ W` for each tap, with its own parameters.

    The paper is silent on how taps come into the joint space; this is our reading.

    The affine part of the norm is multiplied into the projection, so that its gradient
    needs no pass over the patches; the taps stay apart, since stacking them would cost
    as much as projecting them. Statistics are float32.

    Args:
        taps: raw patch tokens of each tap.
        scale: of the norms.
        bias: of the norms.
        kernel: of the projections.
        epsilon: of CLIP's LayerNorm.
    """
    folded = scale[..., None] * kernel
    constant = jnp.einsum("ld,ldj->lj", bias, kernel)
    return tuple(
        _normalise(taps[:, tap], epsilon) @ folded[tap] + constant[tap]
        for tap in range(taps.shape[1])
    )


def _normalise(tokens: Float[Array, "b n d"], epsilon: float) -> Float[Array, "b n d"]:
    tokens = tokens.astype(jnp.float32)
    centred = tokens - tokens.mean(-1, keepdims=True)
    variance = jnp.square(centred).mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt(variance + epsilon)


def from_clip(frozen: Mapping[str, Any], taps_count: int) -> dict[str, Array]:
    """The parameters of `project` as CLIP's `post_layernorm` and `visual_projection`.

    Args:
        frozen: CLIP's parameters.
        taps_count: number of taps.
    """
    norm = frozen["vision_model"]["post_layernorm"]
    tree = {
        "scale": norm["scale"],
        "bias": norm["bias"],
        "kernel": frozen["visual_projection"]["kernel"],
    }
    return {
        name: jnp.repeat(value[None], taps_count, axis=0)
        for name, value in tree.items()
    }
