"""What Crane refuses, and whose files it takes."""

from collections.abc import Callable

import numpy as np
import pytest

from kanoclip_jax.backbones import Clip
from kanoclip_jax.errors import InputError
from kanoclip_jax.models import build_method
from kanoclip_jax.models.anomalyclip import AnomalyClip
from kanoclip_jax.models.base import TrainBatch
from kanoclip_jax.models.crane import Crane, Visual
from kanoclip_jax.models.crane_plus import CranePlus


def test_features_that_depend_on_neighbours_are_not_trained_on(
    backbones: Callable[[str], dict],
) -> None:
    """Nor kept: the cache asks for all that they depend on before anything else."""
    method = CranePlus(**backbones("crane_plus"), centring="batch")
    with pytest.raises(InputError, match="centring is 'batch'.*centring=image"):
        method.visual_settings()
    visual = Visual(np.zeros((1, 32)), np.zeros((1, 2, 64, 32)))
    batch = TrainBatch(
        np.zeros((1, 32, 32), np.uint8), np.zeros(1, int), np.zeros(1, int), np.ones(1)
    )
    with pytest.raises(InputError, match="train with"):
        method.objective({}, {}, visual, batch, method.prompts({}, ["cup"]))


def test_the_guide_and_what_it_weighs_are_settings_of_the_features(
    backbones: Callable[[str], dict],
) -> None:
    found = backbones("crane_plus")
    seen = [CranePlus(**found).visual_settings()]
    for changes in ({"beta": 1.08}, {"gamma": 2.0}, {"attention": "vv"}):
        other = CranePlus(**found, **changes).visual_settings()
        assert other not in seen
        seen.append(other)
    assert CranePlus(**found, sigma=1.0).visual_settings() == seen[0]
    assert seen[0]["guide"]["guide"] == found["guide"].fingerprint
    assert found["guide"].grid != found["clip"].grid


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"attention": "qk"}, r"attention is 'qk'; allowed: qq\+kk\+vv, "),
        ({"aggregation": "max"}, "aggregation is 'max'; allowed: soft, logit"),
        ({"eattn_start": 6}, "eattn_start"),
        ({"loss_temperature": 0.0}, "loss_temperature is 0.0; it must be positive"),
        ({"context_length": 2}, "deep_prompt_length 4 exceeds"),
        ({"centring": "image"}, "centring is unknown"),
    ],
)
def test_settings_that_cannot_be(
    backbones: Callable[[str], dict], settings: dict, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        build_method("crane", settings, **backbones("crane"))


def test_an_image_is_no_word_of_another_width(clip: Clip) -> None:
    with pytest.raises(InputError, match="48 wide.*32 wide; .*context_in_training=Fal"):
        Crane(clip)
    without = Crane(clip, context_in_training=False)
    with pytest.raises(InputError, match="context_at_test=False"):
        Crane(clip, context_in_training=False, context_at_test=True)
    assert without.first_block == 1


def test_files_of_crane_and_of_anomalyclip_are_told_apart() -> None:
    learner = {
        "ctx_pos": np.ones((1, 1, 12, 8), np.float32),
        "ctx_neg": np.zeros((1, 1, 12, 8), np.float32),
        "compound_prompts_text.0": np.ones((4, 8), np.float32),
    }
    for side in ("pos", "neg"):
        learner[f"tokenized_prompts_{side}"] = np.arange(77).reshape(1, 1, 77)
        learner[f"token_prefix_{side}"] = np.full((1, 1, 1, 8), 2.0)
        learner[f"token_suffix_{side}"] = np.full((1, 1, 64, 8), 3.0)
    found = Crane.from_archive({"prompt_learner": learner})
    assert found.settings["deep_prompt_depth"] == 2
    assert found.params["prompts"]["context"].shape == (2, 12, 8)
    assert sorted(found.embeddings) == [0, *range(13, 77)]
    assert found.embeddings[0][0] == 2.0 and found.embeddings[13][0] == 3.0
    assert AnomalyClip.from_archive({"prompt_learner": learner}) is None
    learner["compound_prompt_projections.0.weight"] = np.zeros((2, 8))
    assert Crane.from_archive({"prompt_learner": learner}) is None
    assert CranePlus.from_archive({"fc": {}}) is None
