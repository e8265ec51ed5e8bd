"""AdaCLIP against what its public code computes without half precision, step by step."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import Reference

from kanoclip_jax import losses
from kanoclip_jax.backbones.prompted import prompted_image
from kanoclip_jax.engine.optimizer import make_optimizer
from kanoclip_jax.models.adaclip import AdaClip, Sentences, Visual
from kanoclip_jax.models.base import TrainBatch

TOWER = {"activation": "gelu", "position_grid": "bicubic"}
CLASSES = ["bottle", "metal_nut"]
TAPS = (3, 6, 9, 12)


def close(found: Any, expected: np.ndarray, tolerance: float) -> None:
    assert np.shape(found) == expected.shape
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def row(tree: Any, index: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[index : index + 1], tree)


class Case:
    """The method with the reference's weights, and what both images give."""

    def __init__(self, reference: Reference, folder: Any) -> None:
        self.reference = reference
        self.method = AdaClip(
            reference.clip(folder / "model", **TOWER),
            prompt_length=reference.config["prompt_length"],
            clusters=reference.config["k_clusters"],
        )
        archive = {
            key.replace("param/", "clip_model."): reference[key]
            for key in reference
            if key.startswith("param/")
        }
        self.params = jax.tree.map(jnp.asarray, AdaClip.from_archive(archive).params)
        self.frozen = self.method.frozen
        self.visual = jax.jit(self.method.visual)(
            self.frozen, reference["in/images_uint8"]
        )
        self.text = self.method.prompts(self.frozen, CLASSES)
        self.run = jax.jit(self.method.features)
        self.found = self.features(self.params)

    def features(self, params: Any) -> Any:
        return self.run(self.frozen, params, self.visual, self.text)

    def both(self, name: str) -> np.ndarray:
        """An array of each image, as one."""
        pair = (self.reference[f"exact/image{i}/{name}"] for i in range(2))
        return np.concatenate(list(pair))

    def labels(self, index: int) -> np.ndarray:
        return self.reference[f"exact/image{index}/hsf_labels"][None]


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    reference = Reference("adaclip")
    return Case(reference, tmp_path_factory.mktemp("adaclip"))


def test_the_plain_pass_and_what_is_made_from_it(case: Case) -> None:
    reference, params = case.reference, case.params
    positions = case.frozen["clip"]["vision_model"]["embeddings"]
    close(
        positions["position_embedding"]["embedding"],
        reference["visual/positional_embedding_resized"],
        1e-5,
    )
    prompts = case.method.image_prompts(params, case.visual.cls)
    for index in range(2):
        own = f"image{index}/"
        close(case.visual.cls[index], reference[f"{own}plain_cls"][0], 5e-5)
        for tower in ("visual", "text"):
            dynamic = reference[f"{own}dynamic_{tower}"]
            static = np.asarray(params["prompts"][tower])
            close(prompts[tower][index], static + dynamic, 5e-5)


def test_sentences(case: Case) -> None:
    for index, name in enumerate(CLASSES):
        sides = [case.reference[f"text/{name}/{s}/ids"] for s in ("normal", "abnormal")]
        ids = np.concatenate(sides)
        end = ids.argmax(-1)
        np.testing.assert_array_equal(case.text.end[index], end)
        for ours, theirs, last in zip(case.text.ids[index], ids, end, strict=True):
            np.testing.assert_array_equal(ours[: last + 1], theirs[: last + 1])


def test_prompted_taps(case: Case) -> None:
    def walk(frozen: Any, visual: Visual, prompts: Any) -> Any:
        return case.method.clip.module.apply(
            {"params": frozen["clip"]},
            *(visual.tokens, prompts, TAPS),
            method=prompted_image,
        )

    prompts = case.method.image_prompts(case.params, case.visual.cls)["visual"]
    found = jax.jit(walk)(case.frozen, case.visual, prompts)
    close(found.cls, case.both("prompted_cls"), 1e-4)
    for index, tap in enumerate(TAPS):
        close(found.taps[:, index], case.both(f"tap{tap}_raw")[:, 1:], 2e-4)


def test_features(case: Case) -> None:
    found = case.found
    close(found.text, case.both("text_features").swapaxes(1, 2), 1e-5)
    close(found.cls, case.both("cls_projected_unit"), 1e-5)
    for index, tap in enumerate(TAPS):
        close(found.patches[:, index], case.both(f"tap{tap}_projected_unit"), 1e-5)


def test_scores_with_the_reference_s_clusters(case: Case) -> None:
    method, found = case.method, case.found
    logits = case.both("patch_logits")
    odds = jax.jit(method.odds)(found)
    # A hundred times a cosine.
    close(odds, logits[..., 1] - logits[..., 0], 1e-3)
    mean = odds.mean(1)
    expected = (
        case.reference["image0/hsf_top_index"],
        case.reference["image1/hsf_top_index"],
    )
    _, index = jax.lax.top_k(mean, 25)
    np.testing.assert_array_equal(index, np.concatenate(expected))
    labels = np.concatenate([case.labels(0), case.labels(1)])
    chosen = method.abnormal_patches(found, mean)
    close(method.centre(chosen, labels), case.both("hsf_center"), 1e-5)
    close(method.score(found, mean, labels), case.both("score"), 3e-5)
    # Clusters change the score, and ours are not those of scikit-learn's chance.
    ours = method.score(found, mean)
    assert 1e-3 < np.abs(ours - case.both("score")).max() < 0.05


def test_detection(case: Case) -> None:
    method = AdaClip(case.method.clip, prompt_length=3, hsf=False)
    found = jax.jit(method.detect)(case.frozen, case.params, case.visual, case.text)
    close(found.score, case.both("score_without_hsf"), 3e-5)
    expected = [case.reference[f"exact/image{i}/anomaly_map_sigma4"] for i in range(2)]
    close(found.anomaly_map, np.stack(expected), 4e-5)
    odds = method.odds(case.found)
    # Before the Gaussian: of logits' mean, one stage in place of all.
    states = method.maps_for_the_loss(odds.mean(1, keepdims=True))
    close(states[:, 0, 1], case.both("anomaly_map"), 4e-5)


def published_loss(case: Case, params: Any) -> Any:
    """One step on the second image as published: dice of each row of pixels."""
    method, reference = case.method, case.reference
    one = row(case.visual, 1), row(case.text, 1)
    found = method.features(case.frozen, params, *one, again=True)
    odds = method.odds(found)
    states = method.maps_for_the_loss(odds)[0]
    mask = reference["in/masks"][1]
    focal = losses.focal_loss(states, np.repeat(mask[None], 4, axis=0))
    truth = mask.astype(np.float32)[:, None]
    score = method.score(found, odds.mean(1), case.labels(1))
    terms = {
        "classification": method.image_loss(score, jnp.ones(1, int))[0],
        "focal": focal,
        "dice_abnormal_rows": [
            losses.dice_loss(stage[1][:, None], truth).mean() for stage in states
        ],
        "dice_normal_rows": [
            losses.dice_loss(stage[0][:, None], 1 - truth).mean() for stage in states
        ],
    }
    return sum(jnp.sum(jnp.asarray(term)) for term in terms.values()), terms


def under_our_names(reference: Reference, part: str) -> dict[str, np.ndarray]:
    """The reference's gradients as a tree; zeros for what has none."""
    tensors = {
        key.replace("param/", "clip_model."): reference[
            key.replace("param", part)
            if key.replace("param", part) in reference
            else key
        ]
        for key in reference
        if key.startswith("param/")
    }
    unused = "clip_model.text_prompter.static_prompts.0"
    tensors[unused] = np.zeros_like(tensors[unused])
    return AdaClip.from_archive(tensors).params


def test_one_step_as_published(case: Case) -> None:
    reference = case.reference
    gradient_of = jax.jit(
        jax.value_and_grad(lambda params: published_loss(case, params), has_aux=True)
    )
    (loss, terms), gradient = gradient_of(case.params)
    for name, term in terms.items():
        close(jnp.asarray(term), reference[f"loss_exact/{name}"], 3e-5)
    close(loss, reference["loss_exact/total"], 1e-4)
    expected = under_our_names(reference, "grad_exact")
    unused = list(reference["grad_exact/without_gradient"])
    assert unused == ["text_prompter.static_prompts.0"]
    assert not np.any(gradient["prompts"]["text"][0])
    jax.tree.map(
        lambda ours, theirs: np.testing.assert_array_less(
            np.abs(ours - theirs).max(), 1e-3 * np.abs(theirs).max()
        ),
        gradient,
        expected,
    )
    optimizer = make_optimizer(
        prompt_learning_rate=1e-2,
        learning_rate=1e-2,
        betas=(0.5, 0.999),
        weight_decay=0.01,
    )
    updates, _ = optimizer.update(gradient, optimizer.init(case.params), case.params)
    after = jax.tree.map(jnp.add, case.params, updates)
    for name, ours, slope in (
        (
            "patch_token_layer.head.0.weight",
            after["heads"]["patches"]["kernel"][0].T,
            expected["heads"]["patches"]["kernel"][0].T,
        ),
        (
            "visual_prompter.static_prompts.0",
            after["prompts"]["visual"][0],
            expected["prompts"]["visual"][0],
        ),
    ):
        large = np.abs(slope) > 1e-6
        theirs = reference[f"step1_exact/{name}"]
        np.testing.assert_allclose(ours[large], theirs[large], atol=2e-5)
    # What nothing reads stays as it was there, and decays with the others here.
    kept = reference["step1_exact/text_prompter.static_prompts.0"]
    close(after["prompts"]["text"][0], kept * (1 - 1e-2 * 0.01), 1e-6)


def test_the_objective_has_dice_of_whole_images(case: Case) -> None:
    reference, method = case.reference, case.method
    batch = TrainBatch(
        reference["in/masks"][1:],
        np.ones(1, np.int32),
        np.ones(1, np.int32),
        np.ones(1, bool),
    )
    loss, terms = jax.jit(method.objective)(
        case.frozen, case.params, row(case.visual, 1), batch, case.text
    )
    dice = [
        reference[f"loss_exact/dice_{s}_image"].sum() for s in ("abnormal", "normal")
    ]
    close(terms["dice"], np.asarray(sum(dice)), 1e-4)
    close(terms["focal"], reference["loss_exact/focal"].sum(), 1e-4)
    score = float(method.score(case.found, method.odds(case.found).mean(1))[1])
    close(terms["global"], np.asarray(-((1 - score) ** 2) * np.log(score)), 1e-4)
    assert loss == pytest.approx(
        sum(float(terms[k]) for k in ("global", "focal", "dice"))
    )


@pytest.mark.parametrize(
    "wrong", [{"activation": "quick_gelu"}, {"position_grid": "bicubic_antialias"}]
)
def test_another_tower_misses(case: Case, tmp_path: Any, wrong: dict[str, str]) -> None:
    other = AdaClip(case.reference.clip(tmp_path / "model", **TOWER | wrong))
    found = jax.jit(other.visual)(other.frozen, case.reference["in/images_uint8"])
    assert np.abs(found.cls[0] - case.reference["image0/plain_cls"][0]).max() > 1e-3


def test_prompts_of_other_blocks_miss(case: Case) -> None:
    """Those of the text tower's first block are read by nobody; all others are."""

    def with_text(change: Any) -> Any:
        prompts = case.params["prompts"]
        changed = prompts | {"text": change(prompts["text"])}
        return case.features(case.params | {"prompts": changed}).text

    text = case.both("text_features").swapaxes(1, 2)
    close(with_text(lambda own: own.at[0].add(7.0)), text, 1e-5)
    assert np.abs(with_text(lambda own: jnp.roll(own, 1, 0)) - text).max() > 1e-3
    prompts = case.params["prompts"]
    rolled = prompts | {"visual": jnp.roll(prompts["visual"], 1, 0)}
    patches = case.features(case.params | {"prompts": rolled}).patches
    assert np.abs(patches - case.found.patches).max() > 1e-3


def test_more_padding_changes_nothing(case: Case) -> None:
    """Behind the ends of sentences; an image alone is what it is beside another."""
    longer = case.method.join(
        [
            row_of(case.text, 0),
            Sentences(np.zeros((48, 24), np.int32), case.text.end[1]),
        ]
    )
    assert longer.ids.shape == (2, 48, 24)
    alone = case.run(case.frozen, case.params, row(case.visual, 0), row(longer, 0))
    for ours, theirs in zip(alone, row(case.found, 0), strict=True):
        close(ours, np.asarray(theirs), 3e-6)


def row_of(tree: Any, index: int) -> Any:
    return jax.tree.map(lambda leaf: np.asarray(leaf)[index], tree)
