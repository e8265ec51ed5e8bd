"""The linear probe against numpy, its gradients, and what every method owes."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import numpy_clip
import pytest
import tiny_clip
from scipy.ndimage import gaussian_filter, zoom

from kanoclip_jax.backbones import Clip
from kanoclip_jax.backbones.towers import VisualTokens
from kanoclip_jax.engine.step import count_parameters
from kanoclip_jax.errors import InputError
from kanoclip_jax.models.base import Detection, TrainBatch
from kanoclip_jax.models.probe import Probe

LABELS = TrainBatch(
    mask=np.pad(np.ones((1, 12, 8), np.uint8), ((0, 2), (4, 16), (0, 24))),
    label=np.array([1, 0, 0]),
    class_index=np.array([0, 1, 0]),
    is_real=np.array([True, True, False]),
)


@pytest.fixture(scope="module")
def method(clip: Clip) -> Probe:
    return Probe(clip, taps=(2, 4), vv_start=2, sigma=3.0, temperature=0.2)


@pytest.fixture(scope="module")
def params(method: Probe) -> Any:
    return jax.jit(method.init)(jax.random.key(0), method.frozen)


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.random.default_rng(4).integers(0, 256, (3, 32, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def visual(method: Probe, pictures: np.ndarray) -> VisualTokens:
    return jax.jit(method.visual)(method.frozen, pictures)


@pytest.fixture(scope="module")
def tokens(
    pictures: np.ndarray, tiny_weights: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Image feature and taps [l, b, n, d] by the equations."""
    pixels = (pictures / 255 - tiny_clip.MEAN) / tiny_clip.STD
    ordinary, value = numpy_clip.image_streams(
        pixels, tiny_weights, tiny_clip.CONFIG, vv_start=2
    )
    taps = [stream[block][:, 1:] for stream in (value, ordinary) for block in (2, 4)]
    return numpy_clip.image_feature(ordinary[-1][:, 0], tiny_weights), np.stack(taps)


def detect(method: Probe, params: Any, visual: VisualTokens) -> Detection:
    classes = method.prompts(method.frozen, ["bottle"] * 3)
    text = method.text(method.frozen, params, classes)
    return jax.jit(method.detect)(method.frozen, params, visual, text)


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def plain_states(
    params: Any, cls: np.ndarray, taps: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """P(abnormal) of each patch [l, b, n] and of each image, in numpy."""
    taps = taps - taps.mean(-1, keepdims=True)
    vectors = unit(np.asarray(params["taps"], np.float64))
    cosine = np.einsum("lbnd,lsd->lbns", unit(taps), vectors)
    image = unit(cls) @ unit(np.asarray(params["cls"], np.float64)).T
    softmax = numpy_clip.softmax
    return softmax(cosine / 0.2)[..., 1], softmax(image / 0.2)[:, 1]


def upsampled(grid: np.ndarray) -> np.ndarray:
    return zoom(grid.reshape(4, 4), 8, order=1, mode="nearest", grid_mode=True)


def test_maps_and_scores_equal_numpy(
    method: Probe,
    params: Any,
    visual: VisualTokens,
    tokens: tuple[np.ndarray, np.ndarray],
) -> None:
    states, image = plain_states(params, *tokens)
    expected = np.stack(
        [
            gaussian_filter(upsampled(grid), sigma=3.0, truncate=4.0, mode="reflect")
            for grid in states.mean(0)
        ]
    )
    found = detect(method, params, visual)
    np.testing.assert_allclose(found.anomaly_map, expected, atol=1e-5)
    np.testing.assert_allclose(
        found.score, (image + expected.max((1, 2))) / 2, atol=1e-5
    )
    assert np.ptp(expected) > 0.01
    assert 0 <= expected.min() and expected.max() <= 1


def test_the_loss_equals_numpy(
    method: Probe,
    params: Any,
    visual: VisualTokens,
    tokens: tuple[np.ndarray, np.ndarray],
) -> None:
    """Focal and dice of each tap's unblurred map, averaged; BCE; no padded row."""
    states, image = plain_states(params, *tokens)
    focal, dice = [], []
    for tap in states:
        for grid, mask in list(zip(tap, LABELS.mask, strict=True))[:2]:
            abnormal, truth = upsampled(grid), mask.astype(float)
            likelihood = np.where(mask, abnormal, 1 - abnormal)
            focal.append(np.mean(-((1 - likelihood) ** 2) * np.log(likelihood)))
            dice.append(
                sum(
                    1 - (2 * (p * g).sum() + 1) / (p.sum() + g.sum() + 1)
                    for p, g in ((abnormal, truth), (1 - abnormal, 1 - truth))
                )
            )
    bce = -(np.log(image[0]) + np.log(1 - image[1])) / 2
    loss, terms = loss_of(method, params, visual)
    assert float(terms["focal"]) == pytest.approx(np.mean(focal), rel=1e-3)
    assert float(terms["dice"]) == pytest.approx(np.mean(dice), rel=1e-4)
    assert float(terms["global"]) == pytest.approx(bce, rel=1e-4)
    assert float(loss) == pytest.approx(np.mean(focal) + np.mean(dice) + bce, rel=1e-3)


def loss_of(method: Probe, params: Any, visual: VisualTokens) -> Any:
    return method.objective(
        method.frozen,
        params,
        visual,
        LABELS,
        method.prompts(method.frozen, ["bottle", "object"]),
    )


def test_gradients_equal_finite_differences(
    method: Probe, params: Any, visual: VisualTokens
) -> None:
    loss = jax.jit(lambda p: loss_of(method, p, visual)[0])
    gradient = jax.grad(loss)(params)
    assert jax.tree.map(lambda g: bool((abs(g) > 0).any()), gradient) == {
        "taps": True,
        "cls": True,
    }
    for tap in range(4):
        assert abs(gradient["taps"][tap]).max() > 0
    way = jax.tree.map(
        lambda leaf: np.random.default_rng(5).normal(size=leaf.shape) * 2e-3, params
    )
    there, back = (
        loss(jax.tree.map(lambda p, w, s=sign: p + s * w, params, way))
        for sign in (1, -1)
    )
    slope = sum(
        float((g * w).sum())
        for g, w in zip(jax.tree.leaves(gradient), jax.tree.leaves(way), strict=True)
    )
    assert float(there - back) / 2 == pytest.approx(slope, rel=0.05)


def test_no_gradient_reaches_the_backbone(
    method: Probe, params: Any, visual: VisualTokens
) -> None:
    gradient = jax.grad(
        lambda frozen: method.objective(
            frozen,
            params,
            visual,
            LABELS,
            method.prompts(method.frozen, ["bottle", "object"]),
        )[0]
    )(method.frozen)
    assert all(float(abs(leaf).max()) == 0 for leaf in jax.tree.leaves(gradient))


def test_rows_do_not_depend_on_their_neighbours(
    method: Probe, params: Any, visual: VisualTokens, pictures: np.ndarray
) -> None:
    order = np.array([2, 0, 1])
    moved = jax.jit(method.visual)(method.frozen, pictures[order])
    for after, before in zip(
        detect(method, params, moved), detect(method, params, visual), strict=True
    ):
        np.testing.assert_array_equal(after, before[order])


def test_its_parameters_are_few(method: Probe, params: Any, clip: Clip) -> None:
    assert count_parameters(params) == 4 * 2 * 64 + 2 * 48
    assert float(np.std(params["taps"])) == pytest.approx(0.02, rel=0.15)
    every = Probe(clip).abstract_params
    assert every["taps"].shape == (8, 2, 64)
    assert not method.needs_knowledge


def test_taps_are_blocks_of_the_tower(clip: Clip) -> None:
    with pytest.raises(InputError, match="taps holds 0; this CLIP has blocks 1 to 4"):
        Probe(clip, taps=(0, 4))
