"""Scaled dot-product attention for every path, with its backend chosen here alone."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from kanoclip_jax.ops import lowering

# Below this many tokens on either side, a CPU's batched products are as fast, and a
# GPU's attention matrices are small.
_FUSED_FROM = 128
# The largest head that cuDNN takes on every GPU that it runs on.
_CUDNN_HEAD = 128

_plain = functools.partial(jax.nn.dot_product_attention, implementation="xla")
_fused = functools.partial(jax.nn.dot_product_attention, implementation="cudnn")


def backend(dtype: DTypeLike, head_size: int, tokens: int) -> str:
    """The fastest implementation that the device, dtype and shape allow.

    cuDNN's fused attention needs an NVIDIA GPU, half precision and a head size that is
    a multiple of 8 and not too large. On a CPU, XLA writes the attention matrices of
    all heads to memory and multiplies them slowly; one head after another stays in the
    cache and is two to four times as fast. Everything else takes XLA's.

    Args:
        dtype: of the operands.
        head_size: width of a head.
        tokens: the smaller number of queries and keys.

    Returns:
        `"cudnn"` or `"xla"`, as `jax.nn.dot_product_attention` names them, or `"loop"`.
    """
    target = lowering.target()
    half = jnp.dtype(dtype) in (jnp.dtype(jnp.bfloat16), jnp.dtype(jnp.float16))
    if tokens < _FUSED_FROM:
        return "xla"
    if target == "cuda" and half and head_size % 8 == 0 and head_size <= _CUDNN_HEAD:
        return "cudnn"
    return "loop" if target == "cpu" else "xla"


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
    onnx = lowering.target() == "onnx"
    if causal and (tokens < keys or onnx):
        # A constant there: ONNX Runtime cannot choose between truth values.
        numbers = np if onnx else jnp
        mask = numbers.tril(numbers.ones((1, 1, tokens, keys), bool), keys - tokens)
        return _plain(query, key, value, mask=jnp.asarray(mask))
    fewer = min(tokens, keys)
    if lowering.target() == "any" and fewer >= _FUSED_FROM and not causal:
        return jax.lax.platform_dependent(
            query, key, value, cpu=_one_head_at_a_time, default=_plain
        )
    chosen = backend(query.dtype, size, fewer)
    if chosen == "cudnn":
        return _cudnn(causal)(query, key, value)
    if chosen == "loop" and not causal:
        return _one_head_at_a_time(query, key, value)
    return _plain(query, key, value, is_causal=causal)


def _cudnn(causal: bool) -> Callable[[Array, Array, Array], Array]:
    """Attention by cuDNN, at any length; its gradient at even ones.

    JAX refuses to differentiate it at odd lengths (`check_is_flash_attention`), and an
    image with an even number of patches has an odd number of tokens: there, what is
    differentiated is XLA's.
    """
    fused = functools.partial(_fused, is_causal=causal)

    def forward(
        query: Array, key: Array, value: Array
    ) -> tuple[Array, Callable[[Array], tuple[Array, Array, Array]]]:
        even = query.shape[1] % 2 == key.shape[1] % 2 == 0
        chosen = fused if even else functools.partial(_plain, is_causal=causal)
        return jax.vjp(chosen, query, key, value)

    attention = jax.custom_vjp(fused)
    attention.defvjp(forward, lambda pullback, gradient: pullback(gradient))
    return attention


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
