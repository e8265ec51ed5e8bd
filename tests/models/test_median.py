"""The median yardstick against numpy, and what every method owes."""

import dataclasses
from collections.abc import Mapping

import jax
import numpy as np
import numpy_clip
import pytest
import tiny_clip
from scipy.ndimage import gaussian_filter, zoom

from kanoclip_jax.backbones import Clip
from kanoclip_jax.errors import InputError
from kanoclip_jax.models.base import Detection
from kanoclip_jax.models.median import Median, Visual


@pytest.fixture(scope="module")
def method(clip: Clip) -> Median:
    return Median(clip, taps=(2, 4), sigma=3.0)


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (3, 32, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def visual(method: Median, pictures: np.ndarray) -> Visual:
    return jax.jit(method.visual)(method.frozen, pictures)


def detect(method: Median, visual: Visual) -> Detection:
    classes = method.prompts(method.frozen, ["bottle"] * 3)
    text = method.text(method.frozen, {}, classes)
    return jax.jit(method.detect)(method.frozen, {}, visual, text)


def test_maps_and_scores_equal_numpy(
    method: Median,
    visual: Visual,
    pictures: np.ndarray,
    tiny_weights: Mapping[str, np.ndarray],
) -> None:
    pixels = (pictures / 255 - tiny_clip.MEAN) / tiny_clip.STD
    streams, _ = numpy_clip.image_streams(
        pixels, tiny_weights, tiny_clip.CONFIG, vv_start=1
    )
    distances = []
    for block in (2, 4):
        tokens = numpy_clip.layer_norm(
            streams[block][:, 1:], tiny_weights, "vision_model.post_layernorm"
        )
        middle = np.median(tokens, axis=1)
        lengths = np.linalg.norm(tokens, axis=-1)
        cosine = np.einsum("bnd,bd->bn", tokens, middle) / lengths
        cosine /= np.linalg.norm(middle, axis=-1)[:, None]
        distances.append(np.sqrt((1 - cosine) / 2))
    expected = [
        gaussian_filter(
            zoom(grid, 8, order=1, mode="nearest", grid_mode=True),
            sigma=3.0,
            truncate=4.0,
            mode="reflect",
        )
        for grid in np.mean(distances, 0).reshape(3, 4, 4)
    ]
    found = detect(method, visual)
    np.testing.assert_allclose(found.anomaly_map, expected, atol=2e-5)
    np.testing.assert_allclose(found.score, np.max(expected, (1, 2)), atol=2e-5)
    assert np.ptp(expected) > 0.01


@pytest.mark.parametrize(("others", "value"), [(-1.0, 1.0), (1.0, 0.0)])
def test_values_end_at_0_and_1(method: Median, others: float, value: float) -> None:
    """A patch opposed to all others is as far as can be; one like them, not at all."""
    row = np.random.default_rng(0).normal(size=64)
    taps = np.broadcast_to(row, (1, 2, 16, 64)).copy()
    taps[:, :, 5] = others * row
    found = detect(dataclasses.replace(method, sigma=0.0), Visual(taps))
    maps = np.asarray(found.anomaly_map)[0]
    # Patch 5 is row 1, column 1 of four; no pixel's centre is a patch's.
    assert maps[12, 12] == maps.max() == pytest.approx((15 / 16) ** 2 * value, abs=1e-6)
    assert maps.min() == pytest.approx(0.0, abs=1e-6)


def test_a_picture_of_one_colour_is_no_error(method: Median) -> None:
    found = detect(method, Visual(np.zeros((1, 2, 16, 64))))
    assert np.isfinite(found.anomaly_map).all() and found.score[0] == 0


def test_rows_do_not_depend_on_their_neighbours(
    method: Median, visual: Visual, pictures: np.ndarray
) -> None:
    order = np.array([2, 0, 1])
    moved = jax.jit(method.visual)(method.frozen, pictures[order])
    for after, before in zip(
        detect(method, moved), detect(method, visual), strict=True
    ):
        np.testing.assert_array_equal(after, before[order])


def test_it_reads_no_text_and_learns_nothing(method: Median) -> None:
    assert method.init(jax.random.key(0), method.frozen) == {}
    assert not method.learns
    assert not method.needs_knowledge
    classes = method.prompts(method.frozen, ["bottle", "object"])
    assert method.text(method.frozen, {}, classes).shape == (2, 0)


def test_taps_are_blocks_of_the_tower(clip: Clip) -> None:
    assert Median(clip).tapped == (1, 2, 3, 4)
    with pytest.raises(InputError, match="taps holds 5; this CLIP has blocks 1 to 4"):
        Median(clip, taps=(5,))
