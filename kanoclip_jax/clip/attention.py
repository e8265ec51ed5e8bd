"""Scaled dot-product attention for every path, with its backend chosen here alone."""

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float


def backend(dtype: DTypeLike, head_size: int) -> str:
    """The fastest implementation that this device, dtype and head size allow.

    cuDNN's fused attention needs a GPU, half precision and a head size that is a
    multiple of 8; everything else takes XLA's.

    Returns:
        `"cudnn"` or `"xla"`, as `jax.nn.dot_product_attention` names them.
    """
    half = jnp.dtype(dtype) in (jnp.dtype(jnp.bfloat16), jnp.dtype(jnp.float16))
    on_gpu = jax.default_backend() == "gpu"
    return "cudnn" if on_gpu and half and head_size % 8 == 0 else "xla"


def attend(
    query: Float[Array, "b t heads size"],
    key: Float[Array, "b s heads size"],
    value: Float[Array, "b s heads size"],
    *,
    causal: bool = False,
) -> Float[Array, "b t heads size"]:
    """Multi-head attention with scale 1/√size (the paper's eq. 4)."""
    return jax.nn.dot_product_attention(
        query,
        key,
        value,
        is_causal=causal,
        implementation=backend(query.dtype, query.shape[-1]),
    )


def split_heads(
    tokens: Float[Array, "b n d"], heads: int
) -> Float[Array, "b n {heads} size"]:
    """Split the width into heads."""
    return tokens.reshape(*tokens.shape[:2], heads, -1)


def merge_heads(tokens: Float[Array, "b n heads size"]) -> Float[Array, "b n d"]:
    """Join the heads back into one width."""
    return tokens.reshape(*tokens.shape[:2], -1)
