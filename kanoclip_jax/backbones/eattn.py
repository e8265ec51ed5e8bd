"""E-Attn and D-Attn: tokens that attend to their like, and to what a guide finds alike.

Crane's walk through the image tower (Salehi et al., arXiv 2504.11055, whose code is
MIT). Functions of a bound module, for `module.apply({"params": params}, …, method=…)`.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from kanoclip_jax.backbones.blocks import block_attention, block_heads, block_mlp
from kanoclip_jax.backbones.towers import DualPathCLIP
from kanoclip_jax.ops.attention import attend, merge_heads

Products = Literal["qq+kk+vv", "qq+kk", "vv", "kk", "qq", "(q+k+v)^2"]
Centring = Literal["image", "batch"]
_CONCATENATED = "(q+k+v)^2"


class Streams(NamedTuple):
    """What one pass over an image leaves behind the last block.

    Attributes:
        cls: the image feature in the joint space, not normalised.
        patches: tokens of the E-Attn path, before `post_layernorm`.
        values: what D-Attn hands from patch to patch, the heads merged; None where
            nobody asked.
    """

    cls: Float[Array, "b joint"]
    patches: Float[Array, "b n d"]
    values: Float[Array, "b n d"] | None


def walk(
    module: DualPathCLIP,
    pixels: Float[Array, "b height width 3"],
    *,
    first: int,
    products: Products,
    with_values: bool = False,
) -> Streams:
    """CLIP as it is, and beside it from block `first` on a path of self-correlation.

    That path reads the original one through each block's own norm and projections, as
    a V-V path does, has no MLP, and what it adds is a *sum* over products of
    `softmax(z zᵀ / √size) v`, projected once.

    D-Attn's values are the last block's, of a stream to which that block's attention
    has been added already and its MLP not yet: the published code writes into the very
    tensor that it reads them from, and its weights were trained so.

    Args:
        module: bound.
        pixels: normalised images.
        first: block (from 1) where the second path leaves the original one.
        products: whose likeness it attends to.
        with_values: whether D-Attn follows.
    """
    original = path = module.enter(pixels)
    values = None
    for depth, block in enumerate(module.blocks, start=1):
        query, key, value = block_heads(block, block.layer_norm1(original))
        if depth >= first:
            attended = _attend_alike(query, key, value, products)
            path += block.self_attn.out_proj(merge_heads(attended))
        if depth == len(module.blocks) >= first and not with_values:
            # Of the last block only the CLS token is read, which is exact.
            original, query = original[:, :1], query[:, :1]
        original += block_attention(block, query, key, value)
        if depth == len(module.blocks) and with_values:
            (values,) = block_heads(block, block.layer_norm1(original[:, 1:]), "v")
            values = merge_heads(values)
        original += block_mlp(block, original)
        if depth < first:
            path = original
    return Streams(module.leave(original[:, 0]), path[:, 1:], values)


def _attend_alike(
    query: Float[Array, "b n heads size"],
    key: Float[Array, "b n heads size"],
    value: Float[Array, "b n heads size"],
    products: Products,
) -> Float[Array, "b n heads size"]:
    """The products' attentions, summed: with three of them a row of weights sums to 3."""
    if products == _CONCATENATED:
        # One softmax of the joint vectors; the values are padded to their width.
        joint = jnp.concatenate([query, key, value], -1)
        room = joint.shape[-1] - value.shape[-1]
        padded = jnp.pad(value, ((0, 0), (0, 0), (0, 0), (0, room)))
        return attend(joint, joint, padded)[..., : value.shape[-1]]
    found = {"q": query, "k": key, "v": value}
    return sum(
        attend(found[letter], found[letter], value) for letter, _ in products.split("+")
    )


def guided_attention(
    tokens: Float[Array, "b n width"],
    beta: float,
    gamma: float,
    centring: Centring = "image",
) -> Float[Array, "b n n"]:
    """D-Attn's weights: which patches a guide finds alike.

    `softmax(γ (S − β mean S))` over the cosines S that exceed β times their mean. A
    patch like no other, not even itself (which takes a mean of more than 1 / β), keeps
    its own value: published code makes the whole batch NaN of it.

    Args:
        tokens: a guide's, of patches.
        beta: how far above the mean a cosine must be.
        gamma: the softmax's sharpness.
        centring: over what the mean is taken. Over a batch, as published code does, an
            image's features depend on its neighbours, and on padding.
    """
    tokens = tokens.astype(jnp.float32)
    length = jnp.linalg.norm(tokens, axis=-1, keepdims=True)
    unit = tokens / jnp.maximum(length, 1e-12)
    # Half precision would move cosines across the bound.
    cosine = jnp.einsum("bmc,bnc->bmn", unit, unit, precision=jax.lax.Precision.HIGHEST)
    mean = cosine.mean(None if centring == "batch" else (1, 2), keepdims=True)
    logits = gamma * (cosine - beta * mean)
    alike = logits >= 0
    alone = ~alike.any(-1, keepdims=True)
    # A constant: runtimes of ONNX know no operation for it.
    alike |= alone & np.eye(tokens.shape[1], dtype=bool)
    return jax.nn.softmax(jnp.where(alike, logits, -jnp.inf), axis=-1)


def spread(
    module: DualPathCLIP,
    values: Float[Array, "b n d"],
    weights: Float[Array, "b n n"],
) -> Float[Array, "b n d"]:
    """D-Attn's tokens, before `post_layernorm`: all heads share the guide's weights.

    Args:
        module: bound.
        values: of `walk`, on the guide's grid.
        weights: of `guided_attention`.
    """
    attended = jnp.einsum("bmn,bnd->bmd", weights.astype(values.dtype), values)
    return module.blocks[-1].self_attn.out_proj(attended)
