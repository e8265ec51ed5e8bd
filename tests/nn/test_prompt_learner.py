"""The contexts: their shapes, their spread, and when deep ones exist."""

import jax
import numpy as np
import pytest

from kanoclip_jax.nn.prompt_learner import PromptLearner


@pytest.mark.parametrize(
    ("depth", "expected"), [(0, None), (1, None), (2, (1, 4, 32)), (9, (8, 4, 32))]
)
def test_deep_prompts_exist_from_the_second_block(
    depth: int, expected: tuple[int, ...] | None
) -> None:
    module = PromptLearner(width=32, deep_depth=depth)
    shapes = jax.eval_shape(module.init, jax.random.key(0))["params"]
    assert shapes["context"].shape == (2, 12, 32)
    assert (shapes["deep"].shape if "deep" in shapes else None) == expected


def test_contexts_are_drawn_as_in_coop() -> None:
    contexts, _ = PromptLearner(width=512).init_with_output(jax.random.key(0))
    assert contexts.deep is None
    assert abs(np.mean(contexts.polarity)) < 1e-3
    assert abs(np.std(contexts.polarity) - 0.02) < 1e-3
    assert np.abs(contexts.polarity[0] - contexts.polarity[1]).max() > 0.01
