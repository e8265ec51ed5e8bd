"""AdaCLIP's own: its size, its sentences, and the images of a batch by themselves."""

import dataclasses
import math

import jax
import numpy as np
import pytest

from kanoclip_jax.backbones import Clip, DualPathCLIP
from kanoclip_jax.backbones.towers import make_config
from kanoclip_jax.errors import InputError
from kanoclip_jax.models.adaclip import AdaClip


def test_parameters_with_a_large_clip(clip: Clip) -> None:
    config = make_config(
        projection_dim=768,
        vision_config={"hidden_size": 1024, "num_hidden_layers": 24},
        text_config={"hidden_size": 768},
    )
    method = AdaClip(dataclasses.replace(clip, module=DualPathCLIP(config)))
    shapes = jax.tree.map(lambda leaf: leaf.shape, method.abstract_params)
    linear = {"kernel": (5, 768, 768), "bias": (5, 768)}
    assert shapes == {
        "prompts": {"text": (4, 5, 768), "visual": (4, 5, 1024)},
        "dynamic": {
            "text": linear,
            "visual": {"kernel": (5, 768, 1024), "bias": (5, 1024)},
        },
        "heads": {
            "patches": {"kernel": (4, 1024, 768), "bias": (4, 768)},
            "cls": {"kernel": (768, 768), "bias": (768,)},
        },
    }
    leaves = jax.tree.leaves(shapes, is_leaf=lambda node: isinstance(node, tuple))
    assert sum(math.prod(shape) for shape in leaves) == 10_665_472


def test_parameters_are_drawn_as_torch_draws_them(clip: Clip) -> None:
    method = AdaClip(clip)
    params = jax.jit(method.init)(jax.random.key(0), method.frozen)
    assert np.std(params["prompts"]["visual"]) == pytest.approx(0.02, rel=0.1)
    # The tiny CLIP's joint space has 48 dimensions, its image tower 64.
    for layers, bound in (
        (params["dynamic"]["visual"], 48**-0.5),
        (params["heads"]["patches"], 64**-0.5),
        (params["heads"]["cls"], 48**-0.5),
    ):
        for leaf in layers.values():
            assert 0.8 * bound < np.abs(leaf).max() <= bound
            assert abs(np.mean(leaf)) < 0.2 * bound


def test_images_alone_and_classes_of_other_lengths(
    clip: Clip, images: np.ndarray
) -> None:
    """Rows of text come one by one, as the engine encodes them."""
    method = AdaClip(clip, prompt_length=3, clusters=2)
    frozen = method.frozen
    params = jax.jit(method.init)(jax.random.key(1), frozen)
    rows = []
    for name in ("cup", "metal nut", ""):
        text = method.text(frozen, params, method.prompts(frozen, [name]))
        rows.append(jax.tree.map(lambda leaf: np.asarray(leaf)[0], text))
    lengths = {row.ids.shape[-1] for row in rows}
    assert len(lengths) > 1 and all(length % 8 == 0 for length in lengths)
    visual = jax.jit(method.visual)(frozen, images)
    detect = jax.jit(method.detect)
    found = detect(frozen, params, visual, method.join(rows))
    assert np.ptp(found.score) > 0
    for index in range(2):
        own = jax.tree.map(lambda leaf: leaf[index : index + 1], visual)  # noqa: B023
        alone = detect(frozen, params, own, method.join(rows[index : index + 1]))
        for ours, theirs in zip(alone, found, strict=True):
            np.testing.assert_allclose(ours[0], theirs[index], rtol=1e-4, atol=1e-6)


def test_prompts_leave_something_of_every_sentence(clip: Clip) -> None:
    method = AdaClip(clip, prompt_length=60)
    with pytest.raises(InputError, match="model.prompt_length is 60.*at most"):
        method.prompts(method.frozen, ["object"])


@pytest.mark.parametrize("key", ["prompt_length", "prompt_depth", "clusters"])
def test_settings_that_cannot_be(clip: Clip, key: str) -> None:
    with pytest.raises(InputError, match=f"model.{key} is 0"):
        AdaClip(clip, **{key: 0})
    with pytest.raises(InputError, match="model.hsf_weight is 1.5"):
        AdaClip(clip, hsf_weight=1.5)
