"""Rates that rest: full for some epochs, then half with each further one."""

import jax
import numpy as np
import pytest

from kanoclip_jax import engine
from kanoclip_jax.engine.build import load_method
from kanoclip_jax.engine.checkpoint import read_meta, read_params
from kanoclip_jax.engine.optimizer import make_schedule
from kanoclip_jax.engine.settings import resolve


@pytest.mark.parametrize(
    ("full", "step", "expected"),
    [
        # 686 images in batches of 8: four epochs end in the middle of no batch.
        (4, 0, 1.0),
        (4, 342, 1.0),
        (4, 343, 1.0),
        (4, 343 + 343, 2.0**-4),
        (1, 86 + 343, 2.0**-4),
        (0, 10**6, 1.0),
    ],
)
def test_rates_by_step(full: int, step: int, expected: float) -> None:
    schedule = make_schedule(85.75, full)
    assert float(schedule(step)) == pytest.approx(expected, rel=1e-6)


def test_a_long_training_comes_to_rest(quick, tmp_path) -> None:
    config = quick(train__epochs=12, train__full_epochs=2, train__checkpoint_every=55)
    assert engine.run("train", config, tmp_path) == 0
    method = load_method(resolve(config))
    early, late = (
        jax.tree.leaves(read_params(step, read_meta(step), method))
        for step in (tmp_path / "checkpoints" / name for name in ("55", "63"))
    )
    moved = max(float(np.abs(a - b).max()) for a, b in zip(early, late, strict=True))
    # Eight Adam steps at full rates move 8e-3; here they come after eight halvings.
    assert 0 < moved < 1e-4
