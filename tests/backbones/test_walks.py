"""Shared walks against equations in numpy."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import numpy_clip
import pytest
import tiny_clip

from kanoclip_jax.backbones import Clip
from kanoclip_jax.backbones.walks import encode_windows, plain_taps, window_patches
from kanoclip_jax.errors import InputError

PIXELS = np.random.default_rng(2).normal(size=(2, 32, 32, 3)).astype(np.float32)


def run(clip: Clip, walk: Callable[..., Any], pixels: np.ndarray, *rest: Any) -> Any:
    # Op by op: the blocks are alike, so that little is compiled.
    found = clip.module.apply({"params": clip.params}, pixels, *rest, method=walk)
    return jax.tree.map(np.asarray, found)


def test_plain_taps_equal_numpy(
    clip: Clip, tiny_weights: dict[str, np.ndarray]
) -> None:
    found = run(clip, plain_taps, PIXELS, (2, 4))
    streams, _ = numpy_clip.image_streams(PIXELS, tiny_weights, tiny_clip.CONFIG, 5)
    for index, depth in enumerate((2, 4)):
        expected = streams[depth][:, 1:]
        np.testing.assert_allclose(found.taps[:, index], expected, atol=1e-5)
    cls = numpy_clip.image_feature(streams[4][:, 0], tiny_weights)
    np.testing.assert_allclose(found.cls, cls, atol=1e-5)


def test_window_patches_in_reading_order() -> None:
    expected = [[0, 1, 3, 4], [1, 2, 4, 5], [3, 4, 6, 7], [4, 5, 7, 8]]
    np.testing.assert_array_equal(window_patches(3, 2), expected)
    np.testing.assert_array_equal(window_patches(3, 3), [range(9)])


@pytest.mark.parametrize("size", [0, 5])
def test_window_that_does_not_fit_is_refused(clip: Clip, size: int) -> None:
    with pytest.raises(InputError, match=f"windows of {size} .*allowed: 1 to 4"):
        run(clip, encode_windows, PIXELS, (size,))


def test_windows_equal_numpy(clip: Clip, tiny_weights: dict[str, np.ndarray]) -> None:
    """Each window by itself: its patches, at their positions, before any norm."""
    found = run(clip, encode_windows, PIXELS, (2, 3, 4))
    assert [part.shape for part in found] == [(2, 9, 48), (2, 4, 48), (2, 1, 48)]
    embedded = numpy_clip.embed_image(PIXELS, tiny_weights)
    for part, size in zip(found, (2, 3, 4), strict=True):
        per_row = 4 - size + 1
        for window in range(per_row**2):
            top, left = divmod(window, per_row)
            rows = [
                1 + 4 * (top + i) + left + j for i in range(size) for j in range(size)
            ]
            x = numpy_clip.layer_norm(
                embedded[:, [0, *rows]], tiny_weights, "vision_model.pre_layrnorm"
            )
            for index in range(4):
                prefix = f"vision_model.encoder.layers.{index}"
                x, _ = numpy_clip.block(x, tiny_weights, prefix, 4)
            expected = numpy_clip.image_feature(x[:, 0], tiny_weights)
            np.testing.assert_allclose(part[:, window], expected, atol=1e-5)
