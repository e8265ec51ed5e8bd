"""Attention against a loop over heads in numpy, and the choice of its backend."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import numpy_clip
import pytest
from jax._src.cudnn import fused_attention_stablehlo

from kanoclip_jax.ops import attention, lowering
from kanoclip_jax.ops.attention import attend, backend, merge_heads, split_heads


@pytest.mark.parametrize(
    ("tokens", "causal"), [(5, False), (5, True), (130, False), (130, True)]
)
def test_heads_attend_as_in_numpy(tokens: int, causal: bool) -> None:
    """Few tokens and many, which a CPU takes one head at a time."""
    draw = np.random.default_rng(0)
    query, key, value = draw.normal(size=(3, 2, tokens, 12)).astype(np.float32)
    heads = (split_heads(jnp.asarray(x), 3) for x in (query, key, value))
    found = attend(*heads, causal=causal)
    expected = numpy_clip.attention(query, key, value, 3, causal)
    np.testing.assert_allclose(merge_heads(found), expected, atol=1e-6)


def test_heads_are_contiguous_parts_of_the_width() -> None:
    tokens = jnp.arange(12, dtype=jnp.float32).reshape(1, 2, 6)
    heads = split_heads(tokens, 3)
    np.testing.assert_array_equal(heads[0, 1, 2], [10, 11])
    np.testing.assert_array_equal(merge_heads(heads), tokens)


def test_the_last_queries_alone_see_what_they_see_among_all() -> None:
    query, key, value = np.random.default_rng(0).normal(size=(3, 2, 7, 3, 4))
    every = attend(query, key, value, causal=True)
    last = attend(query[:, 4:], key, value, causal=True)
    np.testing.assert_allclose(last, every[:, 4:], atol=1e-6)


@pytest.mark.parametrize(
    ("target", "dtype", "head_size", "tokens", "expected"),
    [
        ("cpu", jnp.float32, 64, 577, "loop"),
        ("cpu", jnp.bfloat16, 64, 20, "xla"),
        ("cuda", jnp.float32, 64, 577, "xla"),
        ("cuda", jnp.bfloat16, 64, 577, "cudnn"),
        ("cuda", jnp.float16, 128, 128, "cudnn"),
        ("cuda", jnp.bfloat16, 64, 127, "xla"),
        ("cuda", jnp.bfloat16, 20, 577, "xla"),
        ("cuda", jnp.bfloat16, 136, 577, "xla"),
        ("other", jnp.bfloat16, 64, 577, "xla"),
        ("any", jnp.bfloat16, 64, 577, "xla"),
        ("onnx", jnp.float32, 64, 577, "xla"),
    ],
)
def test_each_backend_is_chosen_only_where_it_runs(
    target: lowering.Target,
    dtype: jnp.dtype,
    head_size: int,
    tokens: int,
    expected: str,
) -> None:
    with lowering.tracing_for(target):
        assert backend(jnp.dtype(dtype), head_size, tokens) == expected


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    ("tokens", "keys", "backward"), [(577, 577, 0), (1370, 1370, 1), (200, 201, 0)]
)
def test_cudnn_is_differentiated_at_even_lengths_alone(
    monkeypatch: pytest.MonkeyPatch, tokens: int, keys: int, backward: int, causal: bool
) -> None:
    """It runs forward at any; fewer queries than keys are causal by a mask, XLA's."""
    monkeypatch.setattr(fused_attention_stablehlo, "check_cudnn_version", lambda: 91000)
    query, key = (
        jax.ShapeDtypeStruct((2, n, 4, 64), jnp.bfloat16) for n in (tokens, keys)
    )

    def run(*heads: jax.Array) -> jax.Array:
        return attend(*heads, causal=causal)

    def total(*heads: jax.Array) -> jax.Array:
        return run(*heads).astype(jnp.float32).sum()

    with lowering.tracing_for("cuda"):
        once, both = (
            jax.jit(function)
            .trace(query, key, key)
            .lower(lowering_platforms=("cuda",))
            .as_text()
            for function in (run, jax.grad(total, argnums=(0, 1, 2)))
        )
    assert ("__cudnn$fmhaSoftmax" in once) == (not causal or tokens == keys)
    assert both.count("__cudnn$fmhaSoftmaxBackward") == backward


@pytest.mark.parametrize("tokens", [130, 131])
def test_the_gradient_is_that_of_plain_attention(
    monkeypatch: pytest.MonkeyPatch, tokens: int
) -> None:
    """Whichever way a GPU takes; here XLA stands in for cuDNN."""
    monkeypatch.setattr(attention, "_fused", attention._plain)
    heads = np.random.default_rng(0).normal(size=(3, 1, tokens, 2, 8))
    heads = jnp.asarray(heads, jnp.bfloat16)

    def total(heads: jax.Array) -> jax.Array:
        return jnp.square(attend(*heads).astype(jnp.float32)).sum()

    with lowering.tracing_for("cuda"):
        found = jax.jit(jax.value_and_grad(total))(heads)
    with lowering.tracing_for("other"):
        expected = jax.jit(jax.value_and_grad(total))(heads)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-3)
    np.testing.assert_allclose(found[1], expected[1], atol=1e-2)


@pytest.mark.parametrize("target", ["any", "onnx"])
def test_what_is_traced_for_others_says_the_same(target: lowering.Target) -> None:
    heads = np.random.default_rng(0).normal(size=(3, 2, 130, 3, 4)).astype(np.float32)
    with lowering.tracing_for(target):
        found = jax.jit(attend)(*heads)
    np.testing.assert_allclose(found, attend(*heads), atol=1e-6)


def test_a_program_for_any_platform_loops_on_cpu_alone() -> None:
    """One head at a time is a loop; on CUDA there is none."""
    heads = [jax.ShapeDtypeStruct((2, 130, 3, 4), jnp.float32)] * 3
    loops = {}
    for platform in ("cpu", "cuda"):
        with lowering.tracing_for("any"):
            exported = jax.export.export(jax.jit(attend), platforms=[platform])(*heads)
        loops[platform] = "stablehlo.while" in exported.mlir_module()
    assert loops == {"cpu": True, "cuda": False}
