"""Deformable attention: strided at rest, bilinear in between, with true gradients."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy_clip
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from kanoclip_jax.nn import deformable
from kanoclip_jax.nn.deformable import (
    DeformableAttention,
    StridedWindow,
    interpolation_weights,
    sample_bilinear,
)
from kanoclip_jax.ops import lowering

KEY = jax.random.key(0)
GRID = np.random.default_rng(0).normal(size=(2, 5, 7, 2, 3)).astype(np.float32)
POINTS = np.random.default_rng(1).uniform(-2, 8, (2, 11, 2, 2)).astype(np.float32)


@given(st.floats(-10, 20, width=32), st.integers(1, 9))
@settings(max_examples=50, deadline=None)
def test_weights_are_convex_and_centred_on_the_point(point: float, size: int) -> None:
    weights = np.asarray(interpolation_weights(jnp.asarray([point]), size))[0]
    assert weights.shape == (size,)
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(), 1, atol=1e-6)
    centre = weights @ np.arange(size)
    np.testing.assert_allclose(centre, np.clip(point, 0, size - 1), atol=1e-5)


def test_samples_equal_scipy_also_outside() -> None:
    found = np.asarray(jax.jit(sample_bilinear)(GRID, POINTS))
    for image in range(2):
        for group in range(2):
            for channel in range(3):
                expected = map_coordinates(
                    GRID[image, :, :, group, channel],
                    POINTS[image, :, group].T,
                    order=1,
                    mode="nearest",
                )
                np.testing.assert_allclose(
                    found[image, :, group, channel], expected, atol=1e-5
                )


@pytest.mark.parametrize(
    ("outside", "border"),
    [((-3.0, 2.0), (0, 2)), ((4.5, 6.0), (4, 6)), ((9.0, -0.1), (4, 0))],
)
def test_points_outside_are_moved_to_the_border(
    outside: tuple[float, float], border: tuple[int, int]
) -> None:
    points = np.broadcast_to(np.float32(outside), POINTS.shape)
    found = np.asarray(jax.jit(sample_bilinear)(GRID, points))
    np.testing.assert_allclose(found[:, 0], GRID[:, *border], atol=1e-6)


def test_gradient_of_points_equals_finite_differences() -> None:
    """At points inside and off the integers, where the derivative exists."""
    draw = np.random.default_rng(2)
    points = draw.integers(0, 4, (2, 11, 2, 2)) + draw.uniform(0.2, 0.8, (2, 11, 2, 2))
    direction = draw.normal(size=points.shape)
    readout = draw.normal(size=(2, 11, 2, 3))

    def total(points: jax.Array) -> jax.Array:
        return jnp.sum(sample_bilinear(grid, points) * readout)

    with jax.enable_x64(True):
        grid = jnp.asarray(GRID, jnp.float64)
        found = jnp.vdot(jax.grad(total)(jnp.asarray(points)), direction)
        step = 1e-5
        ahead, behind = (
            total(jnp.asarray(points + sign * step * direction)) for sign in (1, -1)
        )
        expected = (ahead - behind) / (2 * step)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def attention(**changes: Any) -> DeformableAttention:
    options = {"width": 8, "heads": 2, "groups": 2, "stride": 4, "kernel": 5}
    return DeformableAttention(
        **(options | changes), output_init=jax.nn.initializers.lecun_normal()
    )


def draw_params(
    module: DeformableAttention, tokens: jax.Array | np.ndarray
) -> dict[str, Any]:
    """Parameters without a zero bias, so that none can be forgotten."""
    shapes = jax.eval_shape(module.init, KEY, tokens)["params"]
    draw = np.random.default_rng(3)
    return jax.tree.map(
        lambda leaf: 0.5 * draw.normal(size=leaf.shape).astype(np.float32), shapes
    )


def dense(x: np.ndarray, params: dict[str, Any], name: str) -> np.ndarray:
    return x @ params[name]["kernel"] + params[name]["bias"]


@pytest.mark.parametrize(("side", "stride"), [(9, 4), (10, 4), (4, 4), (7, 2)])
def test_zero_offsets_are_strided_attention(side: int, stride: int) -> None:
    tokens = np.random.default_rng(4).normal(size=(2, side**2, 6)).astype(np.float32)
    module = attention(stride=stride)
    params = draw_params(module, tokens)
    params["offset"]["kernel"] = np.zeros_like(params["offset"]["kernel"])
    found = jax.jit(module.apply)({"params": params}, tokens)
    samples = tokens.reshape(2, side, side, 6)[:, ::stride, ::stride].reshape(2, -1, 6)
    attended = numpy_clip.attention(
        dense(tokens, params, "query"),
        dense(samples, params, "key"),
        dense(samples, params, "value"),
        heads=2,
    )
    np.testing.assert_allclose(found, dense(attended, params, "output"), atol=1e-5)


def test_offsets_move_the_result_and_learn() -> None:
    tokens = jnp.asarray(np.random.default_rng(5).normal(size=(1, 81, 6)), jnp.float32)
    module = attention()
    params = draw_params(module, tokens)

    def total(offset: jax.Array) -> jax.Array:
        moved = {**params, "offset": {"kernel": offset}}
        return jnp.sum(jnp.square(module.apply({"params": moved}, tokens)))

    value, gradient = jax.jit(jax.value_and_grad(total))(params["offset"]["kernel"])
    at_rest = jax.jit(total)(np.zeros_like(params["offset"]["kernel"]))
    assert abs(value - at_rest) > 1e-3
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 1e-4


def test_offsets_stay_within_their_range(monkeypatch: pytest.MonkeyPatch) -> None:
    """Huge offset weights saturate: half a stride of 4 is 2 cells, on either axis."""
    seen = []

    def record(grid: jax.Array, points: jax.Array) -> jax.Array:
        seen.append(points)
        return sample_bilinear(grid, points)

    @jax.jit
    def read_points(params: dict[str, Any], tokens: jax.Array) -> jax.Array:
        module.apply({"params": params}, tokens)
        return seen[-1]

    tokens = np.random.default_rng(6).normal(size=(1, 81, 6)).astype(np.float32)
    module = attention(offset_range=0.5)
    params = draw_params(module, tokens)
    params["offset"]["kernel"] = 1e6 * params["offset"]["kernel"]
    monkeypatch.setattr(deformable, "sample_bilinear", record)
    points = read_points(params, tokens)
    centres = np.stack(np.meshgrid([0, 4, 8], [0, 4, 8], indexing="ij"), -1)
    offsets = points - centres.reshape(1, 9, 1, 2)
    np.testing.assert_allclose(np.abs(offsets), np.full((1, 9, 2, 2), 2.0), atol=1e-4)


@pytest.mark.parametrize(
    ("kernel", "stride", "side"), [(5, 4, 9), (3, 2, 8), (5, 1, 6)]
)
def test_windows_equal_a_grouped_convolution(
    kernel: int, stride: int, side: int
) -> None:
    """As slices here, and as the convolution that is traced for ONNX."""
    grid = np.random.default_rng(3).normal(size=(2, side, side, 4)).astype(np.float32)
    window = StridedWindow(kernel, stride)
    params = window.init(KEY, grid)
    params["params"]["bias"] = jnp.arange(4.0)
    with lowering.tracing_for("onnx"):
        convolved = jax.jit(window.apply)(params, grid)
    assert convolved.shape == (2, -(-side // stride), -(-side // stride), 4)
    np.testing.assert_allclose(window.apply(params, grid), convolved, atol=1e-5)
