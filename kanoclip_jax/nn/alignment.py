"""Tap alignment: a trainable LayerNorm and projection that start as CLIP's own."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float


class TapProjection(nn.Module):
    """`LN(tap) @ W` for every tap, each with its own parameters (METHOD §4.3).

    Attributes:
        joint: width of CLIP's joint space.
        epsilon: of CLIP's LayerNorm.
    """

    joint: int
    epsilon: float

    @nn.compact
    def __call__(self, taps: Float[Array, "b l n d"]) -> Float[Array, "b l n joint"]:
        """Bring raw patch tokens of each tap into the joint space."""
        taps_count, width = taps.shape[1], taps.shape[3]
        scale = self.param("scale", nn.initializers.ones, (taps_count, width))
        bias = self.param("bias", nn.initializers.zeros, (taps_count, width))
        kernel = self.param(
            "kernel", nn.initializers.lecun_normal(), (taps_count, width, self.joint)
        )
        return project(taps, scale, bias, kernel, self.epsilon)


def project(
    taps: Float[Array, "b l n d"],
    scale: Float[Array, "l d"],
    bias: Float[Array, "l d"],
    kernel: Float[Array, "l d joint"],
    epsilon: float,
) -> Float[Array, "b l n joint"]:
    """LayerNorm with statistics in float32, then one projection for each tap."""
    taps = taps.astype(jnp.float32)
    centred = taps - taps.mean(-1, keepdims=True)
    variance = jnp.square(centred).mean(-1, keepdims=True)
    normed = centred / jnp.sqrt(variance + epsilon)
    normed = normed * scale[:, None] + bias[:, None]
    return jnp.einsum("blnd,ldj->blnj", normed, kernel)


def from_clip(frozen: Mapping[str, Any], taps_count: int) -> dict[str, Array]:
    """`TapProjection`'s parameters as CLIP's `post_layernorm` and `visual_projection`.

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
