"""Ported methods against what the public torch code computes, step by step."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from parity import Reference

from kanoclip_jax.models.anomalyclip import AnomalyClip
from kanoclip_jax.models.april_gan import AprilGan
from kanoclip_jax.models.base import Method, TrainBatch
from kanoclip_jax.models.clip import ClipAC, PlainClip
from kanoclip_jax.models.winclip import WinClip
from kanoclip_jax.nn import anomaly_map

CLASSES = ("bottle", "metal_nut")


def close(found: Any, expected: np.ndarray, tolerance: float) -> None:
    assert np.shape(found) == expected.shape
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def batch_of(reference: Reference, classes: np.ndarray) -> TrainBatch:
    labels = reference["in/labels"].astype(np.int32)
    return TrainBatch(
        reference["in/masks"], labels, classes, np.ones(len(labels), bool)
    )


def differentiate(
    method: Method, params: Any, visual: Any, batch: TrainBatch, classes: Any
) -> Any:
    objective = jax.value_and_grad(method.objective, argnums=1, has_aux=True)
    return jax.jit(objective)(method.frozen, params, visual, batch, classes)


def step(params: Any, gradient: Any, rate: float) -> Any:
    adam = optax.adam(rate, b1=0.5, b2=0.999)
    updates, _ = adam.update(gradient, adam.init(params), params)
    return optax.apply_updates(params, updates)


# --- CLIP and CLIP-AC


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Any:
    reference = Reference("clip")
    return reference, reference.clip(tmp_path_factory.mktemp("clip") / "model")


@pytest.mark.parametrize(("kind", "build"), [("clip", PlainClip), ("clip_ac", ClipAC)])
def test_clip(plain: Any, kind: str, build: type[PlainClip]) -> None:
    reference, clip = plain
    method = build(clip)
    visual = jax.jit(method.visual)(method.frozen, reference["in/images_uint8"])
    close(visual.cls, reference["visual/tokens"][:, 0], 5e-5)
    close(visual.patches, reference["visual/tokens"][:, 1:], 5e-5)
    names = [str(name) for name in reference["in/classes"]]
    text = method.prompts(method.frozen, names)
    close(text, reference[f"{kind}/text_features"], 1e-5)
    index = reference["in/class_index"]
    found = jax.jit(method.detect)(method.frozen, {}, visual, text[index])
    close(found.score, reference[f"{kind}/image_score"], 3e-5)
    close(found.anomaly_map, reference[f"{kind}/anomaly_map_sigma4"], 4e-5)


# --- WinCLIP


@pytest.fixture(scope="module")
def winclip(tmp_path_factory: pytest.TempPathFactory) -> Any:
    reference = Reference("winclip")
    clip = reference.clip(tmp_path_factory.mktemp("winclip") / "model")
    method = WinClip(clip)
    visual = jax.jit(method.visual)(method.frozen, reference["in/images_uint8"])
    return reference, method, visual


def test_winclip_windows(winclip: Any) -> None:
    reference, _, visual = winclip
    close(visual.cls, reference["visual/cls"], 5e-5)
    close(visual.windows[:, :16], reference["visual/windows_2x2"], 5e-5)
    close(visual.windows[:, 16:], reference["visual/windows_3x3"], 5e-5)


def test_winclip_maps(winclip: Any) -> None:
    reference, method, visual = winclip
    names = [str(name) for name in reference["in/classes"]]
    text = method.prompts(method.frozen, names)
    means = np.stack([reference["text/mean_normal"], reference["text/mean_abnormal"]])
    unit = means / np.linalg.norm(means, axis=-1, keepdims=True)
    close(text, unit.swapaxes(0, 1), 1e-5)
    rows = text[reference["in/class_index"]]
    found = jax.jit(method.detect)(method.frozen, {}, visual, rows)
    close(found.score, reference["image/score"], 3e-5)
    close(found.anomaly_map, reference["pixel/anomaly_map"], 4e-5)


def test_winclip_means_are_harmonic(winclip: Any) -> None:
    """With arithmetic means the reference is missed."""
    reference, _method, _visual = winclip
    scores = [reference[f"pixel/window_score_{side}x{side}"] for side in (2, 3)]
    wrong = []
    for side, score in zip((2, 3), scores, strict=True):
        members = reference[f"visual/mask_{side}x{side}"]
        sums, counts = np.zeros((3, 25)), np.zeros(25)
        for window, patches in enumerate(members):
            sums[:, patches] += score[:, window, None]
            counts[patches] += 1
        wrong.append(sums / counts)
    mean = (sum(wrong) + reference["image/score"][:, None]) / 3
    difference = np.abs(mean.reshape(3, 5, 5) - reference["pixel/multiscale"])
    assert difference.max() > 1e-3


# --- APRIL-GAN


@pytest.fixture(scope="module")
def april(tmp_path_factory: pytest.TempPathFactory) -> Any:
    reference = Reference("aprilgan")
    folder = tmp_path_factory.mktemp("april") / "model"
    clip = reference.clip(folder, position_grid="bicubic_antialias", activation="gelu")
    method = AprilGan(clip, taps=tuple(reference.config["taps"]))
    visual = jax.jit(method.visual)(method.frozen, reference["in/images_uint8"])
    params = {
        "heads": {
            "kernel": jnp.asarray(reference["param/weight"].swapaxes(1, 2)),
            "bias": jnp.asarray(reference["param/bias"]),
        }
    }
    classes = method.prompts(method.frozen, CLASSES)
    return reference, method, visual, params, classes


def test_april_gan_features(april: Any) -> None:
    reference, method, visual, _, text = april
    positions = method.frozen["clip"]["vision_model"]["embeddings"]
    close(
        positions["position_embedding"]["embedding"],
        reference["visual/positional_embedding_resized"],
        1e-5,
    )
    close(visual.cls, reference["visual/cls"], 5e-5)
    for index, tap in enumerate(method.tapped):
        close(visual.taps[:, index], reference[f"visual/tap{tap}_raw"][:, 1:], 2e-4)
    close(text, reference["text/features"], 1e-5)


def test_april_gan_detection(april: Any) -> None:
    reference, method, visual, params, text = april
    rows = text[reference["in/class_index"]]
    found = jax.jit(method.detect)(method.frozen, params, visual, rows)
    close(found.score, reference["image/score"], 3e-5)
    # Ours is the mean of four stages, theirs the sum.
    close(4 * found.anomaly_map, reference["pixel/anomaly_map"], 4e-5)


def test_april_gan_trains(april: Any) -> None:
    reference, method, visual, params, text = april
    batch = batch_of(reference, reference["in/class_index"].astype(np.int32))
    (loss, terms), gradient = differentiate(method, params, visual, batch, text)
    assert terms["focal"] == pytest.approx(reference["loss/focal"].sum(), abs=3e-5)
    dice = reference["loss/dice_abnormal"].sum()
    assert terms["dice"] == pytest.approx(dice, abs=3e-5)
    assert loss == pytest.approx(float(reference["loss/total"]), abs=3e-5)
    heads = gradient["heads"]
    for found, expected in (
        (heads["kernel"].swapaxes(1, 2), reference["grad/weight"]),
        (heads["bias"], reference["grad/bias"]),
    ):
        assert np.abs(found - expected).max() <= 1e-3 * np.abs(expected).max()
    after = step(params, gradient, 1e-3)
    large = np.abs(reference["grad/weight"]) > 1e-6
    moved = after["heads"]["kernel"].swapaxes(1, 2)
    np.testing.assert_allclose(
        moved[large], reference["step1/weight"][large], atol=2e-5
    )
    again = method.objective(method.frozen, after, visual, batch, text)[0]
    assert again == pytest.approx(float(reference["step1/loss_total"]), abs=1e-3)


@pytest.mark.parametrize(
    "wrong", [{"activation": "quick_gelu"}, {"position_grid": "bilinear"}], ids=str
)
def test_april_gan_misses_with_another_tower(
    april: Any, tmp_path: Any, wrong: dict[str, str]
) -> None:
    """A wrong activation is the reference's own «quickgelu»; a wrong grid is neither."""
    reference, method, _visual, *_ = april
    options = {"position_grid": "bicubic_antialias", "activation": "gelu"} | wrong
    other = AprilGan(reference.clip(tmp_path / "model", **options), method.taps)
    found = jax.jit(other.visual)(other.frozen, reference["in/images_uint8"])
    assert np.abs(found.cls - reference["visual/cls"]).max() > 1e-3
    if "activation" in wrong:
        close(found.cls, reference["quickgelu/visual/cls"], 5e-5)


# --- AnomalyCLIP


@pytest.fixture(scope="module")
def anomalyclip(tmp_path_factory: pytest.TempPathFactory) -> Any:
    reference = Reference("anomalyclip")
    config = reference.config
    method = AnomalyClip(
        reference.clip(tmp_path_factory.mktemp("anomalyclip") / "model"),
        vv_start=config["first_vv_block"],
        deep_prompt_depth=config["deep_depth"],
    )
    visual = jax.jit(method.visual)(method.frozen, reference["in/images_uint8"])
    archive = {
        "prompt_learner": {
            "ctx_pos": reference["param/ctx_pos"],
            "ctx_neg": reference["param/ctx_neg"],
            **{
                f"compound_prompts_text.{index}": tensor
                for index, tensor in enumerate(reference["param/deep"])
            },
            # In the file, and used by nothing.
            "compound_prompt_projections.0.weight": np.zeros((2, 2), np.float32),
        }
    }
    params = jax.tree.map(jnp.asarray, AnomalyClip.from_archive(archive).params)
    return reference, method, visual, params, method.prompts(method.frozen, CLASSES)


def test_anomalyclip_features(anomalyclip: Any) -> None:
    reference, method, visual, params, classes = anomalyclip
    close(visual.cls, reference["visual/cls"], 1e-4)
    close(visual.patches, reference["visual/tap8"][:, 1:], 5e-5)
    for state in range(2):
        end = int(reference["text/eot"][state])
        assert int(classes.end[state]) == end
        # Behind the learned vectors stand the same words.
        words = reference["text/ids"][state, 13 : end + 1]
        np.testing.assert_array_equal(classes.ids[state, 13 : end + 1], words)
    text = jax.jit(method.text)(method.frozen, params, classes)
    close(text, np.repeat(reference["text/features"], 2, axis=0), 1e-5)


def test_anomalyclip_detection(anomalyclip: Any) -> None:
    reference, method, visual, params, classes = anomalyclip
    text = method.text(method.frozen, params, classes)[jnp.zeros(4, int)]
    found = jax.jit(method.detect)(method.frozen, params, visual, text)
    close(found.score, reference["image/score"], 3e-5)
    close(found.anomaly_map, reference["pixel/anomaly_last_sigma4"], 4e-5)


def test_anomalyclip_trains(anomalyclip: Any) -> None:
    reference, method, visual, params, classes = anomalyclip
    batch = batch_of(reference, np.array([0, 1, 0, 1], np.int32))
    (loss, terms), gradient = differentiate(method, params, visual, batch, classes)
    close(terms["global"], reference["loss/cross_entropy"], 3e-5)
    close(terms["focal"], reference["loss/focal"], 3e-5)
    dice = reference["loss/dice_abnormal"] + reference["loss/dice_normal"]
    close(terms["dice"], dice, 3e-5)
    close(loss, reference["loss/total"], 1e-4)
    context = np.stack([reference[f"grad_exact/ctx_{s}"][0, 0] for s in ("pos", "neg")])
    deep = reference["grad_exact/deep"]
    for name, expected in (("context", context), ("deep", deep)):
        found = gradient["prompts"][name]
        assert np.abs(found - expected).max() <= 1e-3 * np.abs(expected).max()
    after = step(params, gradient, 1e-3)["prompts"]
    large = np.abs(deep) > 1e-6
    np.testing.assert_allclose(
        after["deep"][large], reference["step1_exact/deep"][large], atol=2e-5
    )


def test_anomalyclip_without_the_value_path_misses(anomalyclip: Any) -> None:
    reference, _method, visual, *_ = anomalyclip
    states = anomaly_map.normalise(jnp.asarray(reference["plain/tap8"][:, 1:]))
    assert np.abs(states - anomaly_map.normalise(visual.patches)).max() > 1e-2
