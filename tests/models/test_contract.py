"""What the engine relies on, of every method and of KAnoCLIP's rows."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kanoclip_jax.backbones import Clip, load_clip
from kanoclip_jax.configs import base, methods
from kanoclip_jax.models import METHODS, build_method
from kanoclip_jax.models.base import Method, TrainBatch
from kanoclip_jax.models.settings import annotations

# Smaller than published, so that the tiny CLIP of the tests can have them.
SMALL: dict[str, dict[str, Any]] = {
    "kanoclip": {
        "taps": "2,4",
        "bica_width": 16,
        "bica_heads": 2,
        "bica_groups": 2,
        "bica_stride": 2,
        "context_length": 4,
    },
    "anomalyclip": {"context_length": 4, "deep_prompt_depth": 3},
    "adaclip": {"prompt_length": 3, "clusters": 2},
    "crane": {"context_length": 4, "deep_prompt_depth": 3},
    "crane_plus": {"context_length": 4, "deep_prompt_depth": 3},
    "probe": {"taps": "2,4"},
    "median": {"taps": "2,4"},
    "april_gan": {"taps": "2,4"},
    "mvfa": {"taps": "2,4"},
}
CASES = [(name, {}) for name in METHODS] + [
    ("kanoclip", row["model"])
    for name, row in base.ROW_SETTINGS.items()
    if row["model"] and (name in base.ROWS or name == "both")
]
NAMES = ["bottle", "metal nut", ""]


# Of a module, so that tests of one method share what is traced.
@pytest.fixture(
    params=CASES,
    ids=lambda case: f"{case[0]}-{'-'.join(case[1]) or 'all'}",
    scope="module",
)
def method(request: pytest.FixtureRequest, backbones: Callable[[str], dict]) -> Method:
    name, changes = request.param
    return build_method(name, SMALL.get(name, {}) | changes, **backbones(name))


def run(method: Method, images: np.ndarray, params: Any = None) -> Any:
    """Detections of images of classes 0, 1, 2; fresh parameters where none are given."""
    frozen = method.frozen
    if params is None:
        params = jax.jit(method.init)(jax.random.key(1), frozen)
    visual = jax.jit(method.visual)(frozen, images)
    classes = method.prompts(frozen, NAMES)
    text = jax.jit(method.text)(frozen, params, classes)
    return jax.jit(method.detect)(frozen, params, visual, text)


def test_maps_and_scores_are_shares(method: Method, images: np.ndarray) -> None:
    found = run(method, images)
    size = method.image_size
    assert found.anomaly_map.shape == (3, size, size) and found.score.shape == (3,)
    for part in found:
        assert np.isfinite(part).all() and part.min() >= 0 and part.max() <= 1


def test_rows_do_not_see_their_neighbours(method: Method, images: np.ndarray) -> None:
    others = images.copy()
    others[1:] = 255 - others[1:]
    before, after = run(method, images), run(method, others)
    np.testing.assert_array_equal(before.anomaly_map[0], after.anomaly_map[0])
    assert before.score[0] == after.score[0]
    assert not np.array_equal(before.anomaly_map[1], after.anomaly_map[1])


def test_training_moves_all_parameters_and_no_backbone(
    method: Method, images: np.ndarray
) -> None:
    if not method.learns:
        assert method.init(jax.random.key(0), method.frozen) == {}
        return
    frozen = method.frozen
    params = jax.jit(method.init)(jax.random.key(1), frozen)
    shapes = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), params)
    assert shapes == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), method.abstract_params
    )
    batch = TrainBatch(
        mask=np.random.default_rng(0).integers(0, 2, (3, 32, 32), np.uint8),
        label=np.array([1, 0, 1], np.int32),
        class_index=np.array([0, 1, 2], np.int32),
        is_real=np.array([True, True, False]),
    )
    classes = method.prompts(frozen, NAMES)
    if method.needs_knowledge:
        width = method.clip.module.config.projection_dim
        shaped = jax.tree.map(jnp.shape, classes)
        classes = method.learning_from(classes, np.ones((3, width), np.float32))
        assert jax.tree.map(jnp.shape, classes) == shaped
    visual = jax.jit(method.visual)(frozen, images)

    def loss(frozen: Any, params: Any, visual: Any) -> Any:
        return method.objective(frozen, params, visual, batch, classes)

    learn = jax.jit(jax.value_and_grad(loss, argnums=1, has_aux=True))
    (value, terms), gradient = learn(frozen, params, visual)
    assert np.isfinite(value) and value == terms["loss"]
    reached = {
        part: max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(tree))
        for part, tree in gradient.items()
    }
    assert set(reached) == set(params) and min(reached.values()) > 0
    # Padding weighs nothing, whatever is in it.
    other = jax.tree.map(lambda leaf: leaf.at[2].multiply(0.5), visual)
    (same, _), _ = learn(frozen, params, other)
    assert same == pytest.approx(float(value), rel=1e-5)


def test_features_are_shared_by_those_who_compute_them_alike(
    clip: Clip, backbones: Callable[[str], dict]
) -> None:
    """Other passes are kept apart, and a method that says nothing shares with none."""
    built = {
        name: build_method(name, SMALL.get(name, {}), **backbones(name))
        for name in METHODS
    }
    seen = {name: str(method.visual_settings()) for name, method in built.items()}
    assert seen.pop("clip") == seen["clip_ac"]
    assert len(set(seen.values())) == len(seen)

    @dataclasses.dataclass(frozen=True, eq=False)
    class Careless(METHODS["median"]):
        strength: float = 1.0
        visual_options = Method.visual_options

        def visual(self, frozen: Any, images: Any) -> Any:
            return super().visual(frozen, images) * self.strength

    one, two = Careless(clip, taps=(2, 4)), Careless(clip, taps=(2, 4), strength=2.0)
    keys = {str(m.visual_settings()) for m in (built["median"], one, two)}
    assert len(keys) == 3
    exact = dataclasses.replace(one, clip=load_clip(clip.name, activation="gelu"))
    assert exact.visual_settings() != one.visual_settings()


def test_sections_of_the_configurations_are_the_constructors(
    backbones: Callable[[str], dict],
) -> None:
    """Every setting stands in configs, with its default, and no other does."""
    for name, row in methods.ROWS.items():
        own = backbones(row["method"])
        built = build_method(row["method"], row["model"], **own)
        plain = build_method(row["method"], {}, **own)
        for key in row["model"]:
            assert getattr(built, key) == getattr(plain, key), (name, key)
        assert set(row["model"]) == set(annotations(type(built)))
        tower = {k: v for k, v in row.get("clip", {}).items()}
        assert tower == dict(type(built).published_tower)
    own = set(annotations(METHODS["kanoclip"]))
    assert set(base.get_config().model) == own
