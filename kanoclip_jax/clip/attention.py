"""Scaled dot-product attention for every path, with its backend chosen here alone."""

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from kanoclip_jax.clip import lowering

# Below this many tokens on either side, a CPU's batched products are as fast.
_LOOP_FROM = 128


def backend(dtype: DTypeLike, head_size: int, tokens: int) -> str:
    """The fastest implementation that this process's device, dtype and shape allow.

    cuDNN's fused attention needs a GPU, half precision and a head size that is a
    multiple of 8. On a CPU, XLA writes the attention matrices of all heads to memory
    and multiplies them slowly; one head after another stays in the cache and is two to
    four times as fast. Everything else takes XLA's.

    Args:
        dtype: of the operands.
        head_size: width of a head.
        tokens: the smaller number of queries and keys.

    Returns:
        `"cudnn"` or `"xla"`, as `jax.nn.dot_product_attention` names them, or `"loop"`.
    """
    device = jax.default_backend()
    half = jnp.dtype(dtype) in (jnp.dtype(jnp.bfloat16), jnp.dtype(jnp.float16))
    if device == "gpu" and half and head_size % 8 == 0:
        return "cudnn"
    return "loop" if device == "cpu" and tokens >= _LOOP_FROM else "xla"


def attend(
    query: Float[Array, "b t heads size"],
    key: Float[Array, "b s heads size"],
    value: Float[Array, "b s heads size"],
    *,
    causal: bool = False,
) -> Float[Array, "b t heads size"]:
    """Multi-head attention with scale 1/√size (the paper's eq. 4).

    Args:
        query: split into heads.
        key: likewise.
        value: likewise.
        causal: the queries are the last `t` of the keys' positions, and see no later
            one.
    """
    tokens, keys, size = query.shape[1], key.shape[1], query.shape[-1]
    fewer, target = min(tokens, keys), lowering.target()
    if target == "any" and fewer >= _LOOP_FROM and not causal:
        return jax.lax.platform_dependent(
            query,
            key,
            value,
            cpu=_one_head_at_a_time,
            default=jax.nn.dot_product_attention,
        )
    chosen = backend(query.dtype, size, fewer) if target == "here" else "xla"
    if chosen == "loop" and not causal:
        return _one_head_at_a_time(query, key, value)
    mask = None
    if causal and tokens < keys:
        mask = jnp.tril(jnp.ones((1, 1, tokens, keys), bool), keys - tokens)
    return jax.nn.dot_product_attention(
        query,
        key,
        value,
        mask=mask,
        is_causal=causal and mask is None,
        implementation="xla" if chosen == "loop" else chosen,
    )


def _one_head_at_a_time(query: Array, key: Array, value: Array) -> Array:
    batch, tokens, heads, size = query.shape
    folded = (
        jnp.moveaxis(x, 2, 1).reshape(batch * heads, -1, size)
        for x in (query * size**-0.5, key, value)
    )

    def head(operands: tuple[Array, Array, Array]) -> Array:
        query, key, value = operands
        weights = jax.nn.softmax((query @ key.T).astype(jnp.float32))
        return weights.astype(value.dtype) @ value

    attended = jax.lax.map(head, tuple(folded))
    return jnp.moveaxis(attended.reshape(batch, heads, tokens, size), 1, 2)


def split_heads(
    tokens: Float[Array, "b n d"], heads: int
) -> Float[Array, "b n {heads} size"]:
    """Split the width into heads."""
    return tokens.reshape(*tokens.shape[:2], heads, -1)


def merge_heads(tokens: Float[Array, "b n heads size"]) -> Float[Array, "b n d"]:
    """Join the heads back into one width."""
    return tokens.reshape(*tokens.shape[:2], -1)
