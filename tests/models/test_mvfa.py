"""MVFA's adapters: how many, drawn how, and what of the tower runs again."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kanoclip_jax.backbones import Clip
from kanoclip_jax.backbones.towers import DualPathCLIP, make_config
from kanoclip_jax.models.base import TrainBatch
from kanoclip_jax.models.mvfa import Mvfa


def sizes(tree: object) -> int:
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))


def test_parameters_beside_vit_l_14(clip: Clip) -> None:
    """Shapes alone: of that CLIP nothing is drawn."""
    config = make_config(
        projection_dim=768,
        vision_config={
            "hidden_size": 1024,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "image_size": 240,
            "patch_size": 14,
        },
    )
    large = dataclasses.replace(clip, module=DualPathCLIP(config), params={})
    method = Mvfa(large)
    params = method.abstract_params
    assert method.tapped == (6, 12, 18, 24) and large.grid == 17
    assert sizes(params) == 12_582_912
    assert params["seg"]["down"].shape == (4, 1024, 768)
    # Behind the last stage stand weights that nothing reads; theirs have them too.
    last = {part: leaves["up"].shape[1:] for part, leaves in params.items()}
    assert sum(map(np.prod, last.values())) == 1_572_864


def test_fresh_weights_are_torch_s(clip: Clip) -> None:
    """U(±1/√inputs), by torch.nn.Linear's own rule, without biases."""
    params = jax.jit(Mvfa(clip).init)(jax.random.key(0), clip.params)
    for part in ("seg", "det"):
        assert set(params[part]) == {"down", "up"}
        for name, inputs in (("down", 64), ("up", 48)):
            values, bound = np.asarray(params[part][name]), inputs**-0.5
            assert 0.99 * bound < np.abs(values).max() <= bound
            assert values.std() == pytest.approx(bound / 3**0.5, rel=0.02)
    assert not np.array_equal(params["seg"]["down"], params["det"]["down"])


@pytest.fixture
def batch() -> TrainBatch:
    masks = np.zeros((3, 32, 32), np.uint8)
    masks[0, 8:20, 4:16] = 1
    label = np.array([1, 0, 0], np.int32)
    return TrainBatch(masks, label, np.zeros(3, np.int32), np.ones(3, bool))


def test_blocks_behind_the_first_adapters_are_computed_again(
    clip: Clip, images: np.ndarray, batch: TrainBatch
) -> None:
    """In training alone: an exported model has nothing of it."""
    method = Mvfa(clip)
    params = jax.jit(method.init)(jax.random.key(0), method.frozen)
    visual = jax.eval_shape(method.visual, method.frozen, images)
    text = jax.ShapeDtypeStruct((3, 2, 48), np.float32)
    trains, detects = (
        str(jax.make_jaxpr(function)(method.frozen, params, visual, *rest))
        for function, rest in (
            (method.objective, (batch, text)),
            (method.detect, (text,)),
        )
    )
    again = re.compile(r"\b(?:remat2?|checkpoint)\[")
    assert method.tapped == (1, 2, 3, 4)
    assert len(again.findall(trains)) == 3 and not again.findall(detects)


def test_features_are_cached_up_to_the_first_adapters_alone(clip: Clip) -> None:
    plain, soft = Mvfa(clip), Mvfa(clip, temperature=0.07, taps=(1, 4))
    assert plain.visual_settings() == soft.visual_settings()
    assert plain.visual_settings() != Mvfa(clip, taps=(2, 4)).visual_settings()


def test_a_score_s_loss_reaches_the_other_adapters(
    clip: Clip, images: np.ndarray, batch: TrainBatch
) -> None:
    """Later blocks read what both have added; the last one's `up` is read by nobody."""
    method = Mvfa(clip)
    params = jax.jit(method.init)(jax.random.key(0), method.frozen)
    visual = jax.jit(method.visual)(method.frozen, images)
    text = jnp.asarray(np.random.default_rng(0).normal(size=(3, 2, 48)), jnp.float32)

    def score(params: object) -> jax.Array:
        return method.detect(method.frozen, params, visual, text).score.sum()

    gradient = jax.jit(jax.grad(score))(params)
    reached = np.asarray(jnp.abs(gradient["seg"]["down"]).max((1, 2)))
    assert (reached[:3] > 0).all() and reached[3] == 0
    for part in ("seg", "det"):
        up = np.asarray(jnp.abs(gradient[part]["up"]).max((1, 2)))
        assert (up[:3] > 0).all() and up[3] == 0
