"""The optimiser's rule, by hand."""

import jax
import numpy as np
import optax
import pytest

from kanoclip_jax.engine.optimizer import make_optimizer

PARAMS = {"prompts": np.float32([2.0, -4.0, 8.0]), "heads": np.float32([1.0])}
GRADIENTS = {"prompts": np.float32([0.5, -3.0, 0.0]), "heads": np.float32([7.0])}


def first_step(**options: float) -> dict[str, np.ndarray]:
    optimizer = make_optimizer(
        prompt_learning_rate=0.1, learning_rate=0.01, betas=(0.5, 0.999), **options
    )
    updates, _ = optimizer.update(GRADIENTS, optimizer.init(PARAMS), PARAMS)
    return optax.apply_updates(PARAMS, updates)


def test_adam_s_first_step_is_the_rate() -> None:
    found = first_step()
    np.testing.assert_allclose(found["prompts"], [1.9, -3.9, 8.0], rtol=1e-6)
    np.testing.assert_allclose(found["heads"], [0.99], rtol=1e-6)


def test_decay_is_beside_the_gradient() -> None:
    """AdamW: in proportion to the rate, and of what has no gradient too."""
    found = first_step(weight_decay=0.5)
    np.testing.assert_allclose(
        found["prompts"], [1.9 - 0.1, -3.9 + 0.2, 8 - 0.4], rtol=1e-6
    )
    np.testing.assert_allclose(found["heads"], [0.99 - 0.005], rtol=1e-6)


@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_without_decay_the_state_is_adam_s(decay: float) -> None:
    """Checkpoints of runs that had no such setting are continued."""
    optimizer = make_optimizer(
        prompt_learning_rate=1e-3,
        learning_rate=1e-3,
        betas=(0.5, 0.999),
        weight_decay=decay,
    )
    state = optimizer.init(PARAMS)
    own = jax.tree.structure(state.inner_states["rest"].inner_state)
    plain = optax.adam(1e-3).init({**PARAMS, "prompts": optax.MaskedNode()})
    assert (own == jax.tree.structure(plain)) == (decay == 0)
