"""MVFA through the engine: its tower's settings, pieces of a batch, and a killed run."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kanoclip_jax import engine
from kanoclip_jax.backbones import Clip
from kanoclip_jax.configs import mvtec
from kanoclip_jax.engine.build import load_method
from kanoclip_jax.engine.settings import resolve
from kanoclip_jax.engine.sharding import Devices
from kanoclip_jax.engine.step import fresh_state, make_features, make_train_step
from kanoclip_jax.engine.suite import _changed, _rows, _say_what_rows_overrule
from kanoclip_jax.engine.writer import MetricWriter
from kanoclip_jax.errors import InputError
from kanoclip_jax.models.base import TrainBatch
from kanoclip_jax.models.mvfa import Mvfa

# What the tests set, which a row would bring.
BY_HAND = frozenset(
    {
        "method",
        "clip.image_size",
        "clip.input_range",
        "train.epochs",
        "train.learning_rate",
    }
)


def test_the_row_is_as_published_and_any_size_is_an_option() -> None:
    config = mvtec.get_config("mvfa")
    assert config.clip.image_size == 240 and config.clip.input_range == "unit"
    assert (config.train.epochs, config.train.learning_rate) == (50, 1e-4)
    # In a table, a row's own settings hold, and it is said how they are changed.
    config = mvtec.get_config()
    config.rows, config.clip.image_size = "mvfa,kanoclip", 336
    config.row_settings.mvfa.clip.input_range = "clip"
    resolved = resolve(config)
    found = {
        row: _changed(resolved, row, changes, {"rows": ()}).clip
        for row, changes in _rows(resolved).items()
    }
    assert found["mvfa"].image_size == 240 and found["kanoclip"].image_size == 336
    assert found["mvfa"].input_range == "clip"


def test_the_size_that_the_row_overrules_is_said(capsys) -> None:
    config = mvtec.get_config()
    config.rows, config.clip.image_size = "mvfa", 336
    _say_what_rows_overrule(resolve(config), frozenset({"clip.image_size"}))
    said = capsys.readouterr().out
    assert "row mvfa has its own clip.image_size=240" in said
    assert "--config.row_settings.mvfa.clip.image_size=…" in said


def test_a_method_named_by_flag_brings_the_tower_that_it_was_published_with() -> None:
    config = mvtec.get_config()
    config.method = "mvfa"
    found = resolve(config, frozenset({"method"})).clip
    assert (found.image_size, found.input_range, found.activation) == (
        240,
        "unit",
        "gelu",
    )


def test_only_mvfa_drops_what_is_beside_whole_patches(settings) -> None:
    config = settings(method="mvfa", clip__image_size=36, clip__input_range="unit")
    method = load_method(resolve(config, BY_HAND))
    assert (method.image_size, method.clip.grid) == (36, 4)
    assert method.clip.mean == (0.0, 0.0, 0.0)
    with pytest.raises(InputError, match="image_size 36 is not a multiple"):
        load_method(resolve(settings(clip__image_size=36)))


def test_four_pieces_have_the_gradients_of_one_batch(
    clip: Clip, images: np.ndarray
) -> None:
    """The last of four images is padding."""
    method = Mvfa(clip, taps=(2, 4))
    pictures = np.concatenate([images, images[:1]])
    masks = np.random.default_rng(0).integers(0, 2, (4, 32, 32), np.uint8)
    labels = np.array([1, 0, 1, 0], np.int32)
    batch = TrainBatch(masks, labels, labels, np.arange(4) < 3)
    devices = Devices(4, "train.batch_size", 1)
    frozen = devices.copy(method.frozen)
    features = make_features(method, devices)(frozen, devices.put(pictures))
    text = np.random.default_rng(1).normal(size=(2, 2, 48)).astype(np.float32)
    # One step of this rate has the gradient as its difference.
    rule = optax.sgd(1.0)
    start = jax.device_get(fresh_state(method, rule, devices).params)
    moved = []
    for parts in (1, 4):
        step = make_train_step(method, rule, devices, parts)
        state = fresh_state(method, rule, devices)
        after, terms = step(frozen, state, features, devices.put(batch), text)
        moved.append(
            jax.tree.map(lambda new, old: new - old, after.params, start)
            | {"loss": terms["loss"]}
        )
    whole, pieces = moved
    np.testing.assert_allclose(pieces.pop("loss"), whole.pop("loss"), rtol=1e-5)
    for own, other in zip(*map(jax.tree.leaves, (pieces, whole)), strict=True):
        # A difference of weights inherits their rounding.
        assert float(jnp.abs(own - other).max()) <= 1e-6 + 1e-4 * float(
            jnp.abs(other).max()
        )


class Killed(BaseException):
    """Stands in for a signal: nothing in the code may catch it."""


@pytest.mark.slow
def test_a_killed_training_ends_as_if_nothing_had_been(
    settings, tmp_path: Path, monkeypatch
) -> None:
    config = settings(
        method="mvfa",
        clip__image_size=36,
        clip__input_range="unit",
        train__epochs=1,
        train__learning_rate=1e-3,
    )
    assert engine.run("train", config, tmp_path / "whole", BY_HAND) == 0
    original = MetricWriter.write

    def write(self, step, values):
        original(self, step, values)
        if step == 4:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(MetricWriter, "write", write)
        with pytest.raises(Killed):
            engine.run("train", config, tmp_path / "broken", BY_HAND)
    assert engine.run("train", config, tmp_path / "broken", BY_HAND) == 0
    whole, broken = (
        json.loads((tmp_path / run / "report.json").read_text())["datasets"]
        for run in ("whole", "broken")
    )
    assert whole == broken
