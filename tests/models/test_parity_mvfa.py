"""MVFA against what its public torch code computes, step by step; wrong details miss."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from parity import Reference

from kanoclip_jax.backbones.walks import enter_to, through
from kanoclip_jax.models import mvfa
from kanoclip_jax.models.base import TrainBatch
from kanoclip_jax.models.mvfa import Mvfa, Visual
from kanoclip_jax.nn import anomaly_map

TOWER = {k: v for k, v in Mvfa.published_tower.items() if k != "image_size"}
# Theirs by ours.
WEIGHTS = {
    ("seg", "down"): "seg_fc1",
    ("seg", "up"): "seg_fc2",
    ("det", "down"): "det_fc1",
    ("det", "up"): "det_fc2",
}


def close(found: Any, expected: np.ndarray, tolerance: float) -> None:
    assert np.shape(found) == expected.shape
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def far(found: Any, expected: np.ndarray, distance: float) -> None:
    assert np.abs(np.asarray(found) - expected).max() > distance


def build(reference: Reference, folder: Path, **changes: Any) -> Mvfa:
    clip = reference.clip(folder, multiple=False, **TOWER | changes)
    return Mvfa(clip, taps=tuple(reference.config["taps"]))


def weights(reference: Reference) -> Any:
    """The reference's parameters, as their file would hold them and ours is read."""
    archive = {
        f"{part}_adapters": {
            f"{stage}.{layer}.0.weight": reference[f"param/{part}_{layer}"][stage]
            for stage in range(4)
            for layer in ("fc1", "fc2")
        }
        for part in ("seg", "det")
    }
    found = Mvfa.from_archive(archive)
    assert found is not None and found.settings == {}
    return jax.tree.map(jnp.asarray, found.params)


def features(method: Mvfa, params: Any, visual: Visual) -> mvfa.Stages:
    return jax.jit(method._stages)(method.frozen, params, visual)


def theirs(reference: Reference, part: str) -> np.ndarray:
    """Patches of all images and stages, without the CLS token."""
    both = [reference[f"image{image}/{part}_tokens"] for image in range(2)]
    return np.concatenate(both)[:, :, 1:]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Any:
    reference = Reference("mvfa")
    # It was made with a note behind the name.
    reference.config["activation"] = "gelu"
    method = build(reference, tmp_path_factory.mktemp("mvfa") / "model")
    visual = jax.jit(method.visual)(method.frozen, reference["in/images_uint8"])
    text = method.prompts(method.frozen, [str(reference["in/object"])])
    return reference, method, weights(reference), visual, text


def test_pixels_and_positions(world: Any) -> None:
    reference, method, *_ = world
    pixels = method.clip.normalise(reference["in/images_uint8"])
    close(jnp.moveaxis(pixels, 3, 1), reference["in/pixels"], 1e-6)
    assert (method.image_size, method.clip.grid) == (87, 6)
    positions = method.frozen["clip"]["vision_model"]["embeddings"]
    close(
        positions["position_embedding"]["embedding"],
        reference["visual/positional_embedding_resized"],
        1e-5,
    )


def test_text(world: Any) -> None:
    reference, method, *_, text = world
    assert str(reference["in/object"]) == "retinal OCT"
    close(text[0], reference["text/features"], 1e-5)
    ids, end = method.clip.tokenizer(
        [str(sentence) for sentence in reference["text/abnormal/sentences"]]
    )
    expected = reference["text/abnormal/ids"]
    for own, row, last in zip(ids, expected, end, strict=True):
        np.testing.assert_array_equal(own[: last + 1], row[: last + 1])


def test_stage_features(world: Any) -> None:
    reference, method, params, visual, _ = world
    assert visual.tokens.shape == (2, 37, 128)
    found = features(method, params, visual)
    close(found.seg, theirs(reference, "seg"), 5e-5)
    close(found.det, theirs(reference, "det"), 5e-5)


def test_detection(world: Any) -> None:
    reference, method, params, visual, text = world
    rows = text[[0, 0]]
    found = features(method, params, visual)
    maps, scores = jax.jit(method._abnormal)(found, rows)
    for image in range(2):
        close(maps[image], reference[f"image{image}/stage_maps"], 4e-5)
        close(scores[image], reference[f"image{image}/det_stage_score"], 4e-5)
    detection = jax.jit(method.detect)(method.frozen, params, visual, rows)
    # Ours are means of four stages, theirs sums.
    close(4 * detection.anomaly_map, reference["pixel/anomaly_map"], 4e-5)
    close(4 * detection.score, reference["image/score"], 4e-5)


@pytest.fixture(scope="module")
def stepped(world: Any) -> Any:
    """One step on the second image, as the reference takes it."""
    reference, method, params, visual, text = world
    batch = TrainBatch(
        reference["in/masks"][1:],
        reference["in/labels"][1:].astype(np.int32),
        np.zeros(1, np.int32),
        np.ones(1, bool),
    )
    one = jax.tree.map(lambda leaf: leaf[1:], visual)
    objective = jax.value_and_grad(method.objective, argnums=1, has_aux=True)
    (loss, terms), gradient = jax.jit(objective)(
        method.frozen, params, one, batch, text
    )
    return loss, terms, gradient


def test_loss(world: Any, stepped: Any) -> None:
    reference, (loss, terms, _) = world[0], stepped
    expected = {"global": "bce_with_logits", "focal": "focal", "dice": "dice_abnormal"}
    for own, name in expected.items():
        total = float(reference[f"loss/{name}"].sum())
        assert terms[own] == pytest.approx(total, abs=4e-5), name
    assert loss == pytest.approx(float(reference["loss/total"]), abs=1e-4)
    assert loss == terms["loss"]
    # Logits are asked for and a probability is given: never below log(1 + 1/e) a stage.
    assert reference["in/labels"][1] == 1
    assert terms["global"] > 4 * np.log1p(np.exp(-1))


def test_gradients_and_one_step(world: Any, stepped: Any) -> None:
    """Both adapters, since each one's loss reaches the other; nothing the last `up`."""
    reference, _, params, *_ = world
    gradient = stepped[2]
    adam = optax.adam(1e-4, b1=0.5, b2=0.999)
    updates, _ = adam.update(gradient, adam.init(params), params)
    after = optax.apply_updates(params, updates)
    for (part, name), key in WEIGHTS.items():
        expected = reference[f"grad/{key}"]
        found = gradient[part][name].swapaxes(1, 2)
        for stage in range(4):
            largest = np.abs(expected[stage]).max()
            assert np.abs(found[stage] - expected[stage]).max() <= 1e-3 * largest
            assert (largest > 0) == ((name, stage) != ("up", 3))
        large = np.abs(expected) > 1e-6
        moved = after[part][name].swapaxes(1, 2)
        np.testing.assert_allclose(
            moved[large], reference[f"step1/{key}"][large], atol=2e-6
        )
    np.testing.assert_array_equal(after["seg"]["up"][3], params["seg"]["up"][3])


@pytest.mark.parametrize(
    "wrong",
    [
        {"activation": "quick_gelu"},
        {"input_range": "clip"},
        {"position_grid": "bicubic"},
        {"position_grid": "bilinear"},
    ],
    ids=str,
)
def test_another_tower_misses(world: Any, tmp_path: Path, wrong: dict) -> None:
    reference, _, params, *_ = world
    other = build(reference, tmp_path / "model", **wrong)
    visual = jax.jit(other.visual)(other.frozen, reference["in/images_uint8"])
    found = features(other, params, visual)
    far(found.seg, theirs(reference, "seg"), 1e-3)


def test_a_squashed_picture_misses(world: Any, tmp_path: Path) -> None:
    """The pixels behind the last whole patch are cut off, not squeezed in."""
    reference, method, params, *_ = world
    squashed = jax.image.resize(
        reference["in/images_uint8"].astype(np.float32), (2, 84, 84, 3), "cubic"
    )
    padded = np.zeros((2, 87, 87, 3), np.uint8)
    padded[:, :84, :84] = np.clip(np.round(squashed), 0, 255)
    visual = jax.jit(method.visual)(method.frozen, padded)
    far(features(method, params, visual).seg, theirs(reference, "seg"), 1e-2)


def test_features_before_the_activation_miss(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference, method, params, visual, _ = world
    first = visual.tokens[:, 1:].astype(jnp.float32) @ params["seg"]["down"][0]
    far(first, theirs(reference, "seg")[:, 0], 1e-2)
    # And so does another slope, in both places.
    monkeypatch.setattr(mvfa, "_SLOPE", 0.2)
    steep = dataclasses.replace(method)
    far(features(steep, params, visual).seg, theirs(reference, "seg"), 1e-2)


def test_a_softmax_before_up_sampling_misses(world: Any) -> None:
    reference, method, params, visual, text = world
    found = features(method, params, visual).seg
    probabilities = [
        anomaly_map.state_probabilities(found[:, stage], text[[0, 0]], 0.01)[:, 1]
        for stage in range(4)
    ]
    total = anomaly_map.render(sum(probabilities), 87, align_corners=True)
    far(total, reference["pixel/anomaly_map"], 5e-3)


def test_the_frozen_part_is_the_walk_up_to_the_first_adapters(world: Any) -> None:
    reference, method, _, visual, _ = world
    variables = {"params": method.frozen["clip"]}
    pixels = method.clip.normalise(reference["in/images_uint8"])
    run = method.clip.module.apply
    close(run(variables, pixels, 3, method=enter_to), np.asarray(visual.tokens), 3e-5)
    on = run(variables, visual.tokens, 3, 12, method=through)
    close(run(variables, pixels, 12, method=enter_to), np.asarray(on), 1e-4)
