"""The Conv-Adapter against eq. 11 in numpy, and its options."""

from typing import Any

import jax
import numpy as np
import numpy_clip
import pytest
from scipy.ndimage import correlate

from kanoclip_jax.nn.conv_adapter import ConvAdapter

# Its bits compile in half of the time of jax's default generator.
KEY = jax.random.key(0, impl="rbg")
DRAW = np.random.default_rng(0)
IMAGE = DRAW.normal(size=(3, 8)).astype(np.float32)
PATCHES = DRAW.normal(size=(3, 16, 8)).astype(np.float32)


def draw_params(module: ConvAdapter) -> dict[str, Any]:
    shapes = jax.eval_shape(module.init, KEY, IMAGE, PATCHES)["params"]
    draw = np.random.default_rng(1)
    return jax.tree.map(
        lambda leaf: draw.normal(size=leaf.shape).astype(np.float32), shapes
    )


def bottleneck(x: np.ndarray, params: dict[str, Any]) -> np.ndarray:
    weights = {f"n.{k}": params["norm"][v] for k, v in _NORM.items()}
    normed = numpy_clip.layer_norm(x, weights, "n", epsilon=1e-6)
    return normed @ params["down"]["kernel"] + params["down"]["bias"]


_NORM = {"weight": "scale", "bias": "bias"}


def test_adapter_starts_as_the_identity() -> None:
    found, _ = jax.jit(ConvAdapter().init_with_output)(KEY, IMAGE, PATCHES)
    np.testing.assert_array_equal(found, IMAGE)


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("spatial", [True, False])
def test_adapter_equals_numpy(residual: bool, spatial: bool) -> None:
    module = ConvAdapter(reduction=2, residual=residual, spatial=spatial)
    params = draw_params(module)
    found = jax.jit(module.apply)({"params": params}, IMAGE, PATCHES)
    hidden = np.maximum(bottleneck(IMAGE, params) * params["depthwise"], 0)
    if spatial:
        grid = bottleneck(PATCHES, params).reshape(3, 4, 4, 4)
        window = params["window"]
        for channel in range(4):
            kernel = window["kernel"][:, :, 0, channel]
            for image in range(3):
                convolved = correlate(
                    grid[image, :, :, channel], kernel, mode="constant"
                )
                convolved = np.maximum(convolved + window["bias"][channel], 0)
                hidden[image, channel] += convolved.mean()
    expected = hidden @ params["up"]["kernel"] + params["up"]["bias"]
    expected = expected + IMAGE if residual else expected
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_literal_adapter_does_not_start_as_the_identity() -> None:
    module = ConvAdapter(residual=False)
    found, _ = jax.jit(module.init_with_output)(KEY, IMAGE, PATCHES)
    assert found.shape == IMAGE.shape
    assert np.abs(found - IMAGE).max() > 0.1


@pytest.mark.parametrize(("reduction", "width"), [(4, 2), (1, 8), (100, 1)])
def test_reduction_sets_the_bottleneck(reduction: int, width: int) -> None:
    params = draw_params(ConvAdapter(reduction=reduction))
    assert params["down"]["kernel"].shape == (8, width)
    assert params["depthwise"].shape == (width,)
    assert params["up"]["kernel"].shape == (width, 8)
