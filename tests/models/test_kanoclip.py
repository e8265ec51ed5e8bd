"""The composition: plain CLIP-VV at the start, a frozen backbone, and its options."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy_clip
import pytest
import tiny_clip
from scipy.ndimage import gaussian_filter, map_coordinates

from kanoclip_jax.backbones import Clip, DualPathCLIP
from kanoclip_jax.backbones.towers import make_config
from kanoclip_jax.errors import InputError
from kanoclip_jax.models.base import Detection, TrainBatch
from kanoclip_jax.models.kanoclip import ClassPrompts, Kanoclip, Visual
from kanoclip_jax.nn import anomaly_map

Weights = Mapping[str, np.ndarray]
SMALL: dict[str, Any] = {
    "taps": (2, 4),
    "bica_width": 8,
    "bica_heads": 2,
    "bica_groups": 2,
    "bica_stride": 2,
}
NAMES = ("bottle", "object")
# Its bits compile in half of the time of jax's default generator.
KEY = jax.random.key(0, impl="rbg")


@pytest.fixture(scope="module")
def method(clip: Clip) -> Kanoclip:
    """Everything on; unequal weights, so that no term can stand in for another."""
    return Kanoclip(
        clip,
        **SMALL,
        knowledge_weight=2.0,
        global_weight=3.0,
        local_weight=5.0,
        margin=3.0,
    )


@pytest.fixture(scope="module")
def params(method: Kanoclip) -> Any:
    return jax.jit(method.init)(KEY, method.frozen)


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def visual(method: Kanoclip, pictures: np.ndarray) -> Visual:
    return jax.jit(method.visual)(method.frozen, pictures)


@pytest.fixture(scope="module")
def prompts(method: Kanoclip) -> ClassPrompts:
    return method.prompts(method.frozen, NAMES)


@pytest.fixture(scope="module")
def text(method: Kanoclip, params: Any, prompts: ClassPrompts) -> np.ndarray:
    return np.asarray(jax.jit(method.text)(method.frozen, params, prompts))


@pytest.fixture(scope="module")
def detection(
    method: Kanoclip, params: Any, visual: Visual, text: np.ndarray
) -> Detection:
    return jax.jit(method.detect)(method.frozen, params, visual, text[0])


@pytest.fixture(scope="module")
def detection_by_row(
    method: Kanoclip, params: Any, visual: Visual, text: np.ndarray
) -> Detection:
    """With the prompts of each image's own class."""
    return jax.jit(method.detect)(
        method.frozen, params, visual, text[BATCH.class_index]
    )


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def plain_map(abnormal: np.ndarray, size: int) -> np.ndarray:
    """Patches to pixels, and the Gaussian, in scipy."""
    side = round(abnormal.shape[1] ** 0.5)
    centres = (np.arange(size) + 0.5) * side / size - 0.5
    points = np.meshgrid(centres, centres, indexing="ij")
    return np.stack(
        [
            gaussian_filter(
                map_coordinates(
                    one.reshape(side, side), points, order=1, mode="nearest"
                ),
                sigma=4.0,
                truncate=4.0,
                mode="reflect",
            )
            for one in abnormal
        ]
    )


def plain_detection(
    cls: np.ndarray, taps: list[np.ndarray], text: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Maps and scores from features in the joint space, in numpy and scipy.

    Maps are of log-odds against those of the picture's median patch, which is to be 3 %
    abnormal; the score's maximum is of the probabilities as they come.
    """
    states = [numpy_clip.softmax(unit(tap) @ unit(text).T / 0.07) for tap in taps]
    logits = [np.log(s[..., 1] / s[..., 0]) for s in states]
    above = [z - np.median(z, 1, keepdims=True) + np.log(0.03 / 0.97) for z in logits]
    maps = plain_map(np.mean([1 / (1 + np.exp(-z)) for z in above], 0), size)
    absolute = plain_map(np.mean([s[..., 1] for s in states], 0), size)
    probability = numpy_clip.softmax(unit(cls) @ unit(text).T / 0.07)[:, 1]
    return maps, (probability + absolute.max((1, 2))) / 2


def test_start_equals_plain_clip_with_a_value_path(
    detection: Detection, visual: Visual, text: np.ndarray, tiny_weights: Weights
) -> None:
    """BiCA, projections and adapter are there and change nothing yet."""
    cls, taps = (np.asarray(leaf, np.float64) for leaf in visual)
    projected = [
        numpy_clip.image_feature(taps[:, tap], tiny_weights) for tap in range(2)
    ]
    maps, score = plain_detection(cls, projected, text[0], 32)
    np.testing.assert_allclose(detection.anomaly_map, maps, atol=1e-5)
    np.testing.assert_allclose(detection.score, score, atol=1e-5)
    assert np.ptp(maps) > 0.01


def test_visual_equals_numpy(
    visual: Visual, pictures: np.ndarray, tiny_weights: Weights
) -> None:
    pixels = (pictures / 255 - tiny_clip.MEAN) / tiny_clip.STD
    original, value_path = numpy_clip.image_streams(
        pixels, tiny_weights, tiny_clip.CONFIG, vv_start=1
    )
    taps = np.stack([stream[:, 1:] for stream in value_path[2::2]], 1)
    np.testing.assert_allclose(visual.taps, taps, rtol=1e-4, atol=1e-5)
    cls = numpy_clip.image_feature(original[-1][:, 0], tiny_weights)
    np.testing.assert_allclose(visual.cls, cls, rtol=1e-4, atol=1e-5)


def test_visual_does_not_depend_on_its_neighbours(
    method: Kanoclip, visual: Visual, pictures: np.ndarray
) -> None:
    order = np.array([2, 0, 1])
    found = jax.jit(method.visual)(method.frozen, pictures[order])
    for after, before in zip(found, visual, strict=True):
        np.testing.assert_array_equal(after, before[order])


def test_text_is_the_mean_over_state_words(
    text: np.ndarray, params: Any, prompts: ClassPrompts, tiny_weights: Weights
) -> None:
    table = tiny_weights["text_model.embeddings.token_embedding.weight"]
    for polarity, tokens in enumerate((prompts.normal, prompts.abnormal)):
        for name in range(2):
            embedded = table[tokens.ids[name]]
            embedded[:, 1:13] = params["prompts"]["context"][polarity]
            features = numpy_clip.text_feature(
                embedded, tokens.end[name], tiny_weights, tiny_clip.CONFIG
            )
            expected = unit(unit(features).mean(0))
            np.testing.assert_allclose(text[name, polarity], expected, atol=1e-5)


def test_one_text_for_all_images_equals_a_row_for_each(
    method: Kanoclip,
    params: Any,
    visual: Visual,
    text: np.ndarray,
    detection: Detection,
) -> None:
    rows = np.stack([text[0]] * 3)
    found = jax.jit(method.detect)(method.frozen, params, visual, rows)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, detection
    )


def test_detection_is_a_probability(detection: Detection) -> None:
    assert detection.anomaly_map.shape == (3, 32, 32)
    for part in (detection.anomaly_map, detection.score):
        assert (part >= 0).all() and (part <= 1).all()


BATCH = TrainBatch(
    mask=np.random.default_rng(1).integers(0, 2, (3, 32, 32), np.uint8),
    label=np.array([1, 0, 1], np.int32),
    class_index=np.array([0, 1, 0], np.int32),
    is_real=np.array([True, True, False]),
)


@pytest.fixture(scope="module")
def differentiate(method: Kanoclip, prompts: ClassPrompts) -> Any:
    """The objective's value, terms and gradient; compiled once."""
    knowledge = unit(np.random.default_rng(2).normal(size=(2, 48))).astype(np.float32)
    compiled = jax.jit(jax.value_and_grad(method.objective, argnums=1, has_aux=True))

    classes = method.learning_from(prompts, knowledge)

    def run(params: Any, visual: Visual, batch: TrainBatch) -> Any:
        return compiled(method.frozen, params, visual, batch, classes)

    return run


def test_gradient_has_the_trainable_tree_and_reaches_every_part(
    differentiate: Any, params: Any, visual: Visual
) -> None:
    """At the start, behind zero outputs, only the outputs themselves can learn."""
    _, gradient = differentiate(params, visual, BATCH)
    assert jax.tree.structure(gradient) == jax.tree.structure(params)
    assert set(gradient) == {"prompts", "alignment", "bica", "adapter"}
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    reached = [gradient["prompts"]["context"], gradient["adapter"]["up"]["kernel"]]
    reached += jax.tree.leaves(gradient["alignment"])
    for tap in range(2):
        reached += [
            gradient["bica"][name]["output"]["kernel"][tap]
            for name in ("text_self", "visual_self", "visual_to_text", "text_to_visual")
        ]
    assert all(np.abs(leaf).max() > 0 for leaf in reached)


def test_objective_weighs_its_terms(
    differentiate: Any, params: Any, visual: Visual
) -> None:
    (loss, terms), _ = differentiate(params, visual, BATCH)
    expected = (
        2 * terms["knowledge"]
        + 3 * terms["global"]
        + 5 * (terms["focal"] + terms["dice"])
    )
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    np.testing.assert_allclose(terms["loss"], loss)
    assert terms["knowledge_active"] == 1.0
    gap = terms["distance_abnormal"] - terms["distance_normal"]
    np.testing.assert_allclose(terms["knowledge"], gap + 3.0, rtol=1e-5)


NO_KNOWLEDGE = np.zeros((2, 48), np.float32)


def terms_of(
    method: Kanoclip,
    params: Any,
    visual: Visual,
    prompts: ClassPrompts,
    knowledge: np.ndarray = NO_KNOWLEDGE,
) -> Any:
    classes = method.learning_from(prompts, knowledge)
    _, terms = jax.jit(method.objective)(method.frozen, params, visual, BATCH, classes)
    return terms


@pytest.fixture(scope="module")
def states(
    method: Kanoclip, params: Any, visual: Visual, text: np.ndarray
) -> np.ndarray:
    """Of both states at each tap and patch, as the maps are made of them."""
    found, _ = jax.jit(method._probabilities)(params, visual, text[BATCH.class_index])
    return np.asarray(found, np.float64)[:2]


@pytest.mark.parametrize("per_tap", [True, False])
def test_local_loss_is_of_each_tap_or_of_their_mean(
    method: Kanoclip,
    params: Any,
    visual: Visual,
    prompts: ClassPrompts,
    states: np.ndarray,
    per_tap: bool,
) -> None:
    chosen = dataclasses.replace(method, loss_per_tap=per_tap)
    terms = terms_of(chosen, params, visual, prompts)
    maps = [states[:, 0], states[:, 1]] if per_tap else [states.mean(1)]
    dice = []
    for one in maps:
        pixels = anomaly_map.render(jnp.asarray(one, jnp.float32), 32)
        for state, truth in ((0, 1 - BATCH.mask[:2]), (1, BATCH.mask[:2])):
            p = np.asarray(pixels[:, state], np.float64)
            overlap = (p * truth).sum((1, 2))
            total = p.sum((1, 2)) + truth.sum((1, 2), dtype=np.float64)
            dice.append(1 - (2 * overlap + 1) / (total + 1))
    expected = np.sum(dice) / len(maps) / 2
    np.testing.assert_allclose(terms["dice"], expected, rtol=1e-5)


@pytest.mark.parametrize("of", ["probability", "score"])
def test_global_loss_is_of_the_probability_or_of_the_score(
    method: Kanoclip,
    params: Any,
    visual: Visual,
    prompts: ClassPrompts,
    detection_by_row: Detection,
    states: np.ndarray,
    of: str,
) -> None:
    chosen = dataclasses.replace(method, global_loss_of=of)
    terms = terms_of(chosen, params, visual, prompts)
    judged = np.asarray(detection_by_row.score, np.float64)[:2]
    if of == "probability":
        judged = 2 * judged - plain_map(states[:, :, 1].mean(1), 32).max((1, 2))
    expected = -np.log([judged[0], 1 - judged[1]]).mean()
    np.testing.assert_allclose(terms["global"], expected, rtol=1e-5)


def test_the_probability_alone_pulls_no_map(
    clip: Clip, visual: Visual, prompts: ClassPrompts
) -> None:
    """Whatever the image loss asks, alignment and fusion do not hear of it."""
    quiet = {"local_weight": 0.0, "knowledge_weight": 0.0}
    method = Kanoclip(clip, **SMALL, **quiet)
    for of, heard in (("probability", False), ("score", True)):
        chosen = dataclasses.replace(method, global_loss_of=of)
        gradient = jax.jit(jax.grad(chosen.objective, argnums=1, has_aux=True))(
            chosen.frozen,
            jax.jit(chosen.init)(KEY, chosen.frozen),
            visual,
            BATCH,
            prompts,
        )[0]
        pulled = np.abs(gradient["alignment"]["kernel"]).max() > 0
        assert pulled == heard


def test_both_paths_are_tapped_in_one_pass(
    clip: Clip, pictures: np.ndarray, visual: Visual, tiny_weights: Weights
) -> None:
    method = Kanoclip(clip, **SMALL, paths="both")
    found = jax.jit(method.visual)(method.frozen, pictures)
    np.testing.assert_allclose(found.cls, visual.cls, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.taps[:, :2], visual.taps, rtol=1e-4, atol=1e-5)
    pixels = (pictures / 255 - tiny_clip.MEAN) / tiny_clip.STD
    original, _ = numpy_clip.image_streams(
        pixels, tiny_weights, tiny_clip.CONFIG, vv_start=1
    )
    ordinary = np.stack([stream[:, 1:] for stream in original[2::2]], 1)
    np.testing.assert_allclose(found.taps[:, 2:], ordinary, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("off", ["vv", "cmci"])
def test_both_paths_need_the_second_one_and_taps(clip: Clip, off: str) -> None:
    with pytest.raises(InputError, match="model.paths is 'both'"):
        Kanoclip(clip, **SMALL, paths="both", **{off: False})


def test_objective_passes_margin_and_scope_on(
    method: Kanoclip, params: Any, visual: Visual, prompts: ClassPrompts, text: Any
) -> None:
    knowledge = unit(np.random.default_rng(2).normal(size=(2, 48))).astype(np.float32)
    both = dataclasses.replace(method, knowledge_scope="global", margin=0.5)
    terms = terms_of(both, params, visual, prompts, knowledge)
    mean, words = unit(knowledge.mean(0)), unit(text.mean(0))
    normal, abnormal = np.linalg.norm(mean - words, axis=-1)
    np.testing.assert_allclose(terms["distance_normal"], normal, atol=1e-5)
    np.testing.assert_allclose(terms["distance_abnormal"], abnormal, atol=1e-5)
    expected = max(abnormal - normal + 0.5, 0)
    np.testing.assert_allclose(terms["knowledge"], expected, atol=1e-5)


def test_padding_changes_neither_loss_nor_gradient(
    differentiate: Any, params: Any, visual: Visual
) -> None:
    other = Visual(*(np.asarray(leaf).copy() for leaf in visual))
    for leaf in other:
        leaf[2] = leaf[2, ..., ::-1]
    batch = BATCH._replace(
        mask=BATCH.mask * np.uint8([1, 1, 0])[:, None, None],
        label=np.array([1, 0, 0], np.int32),
        class_index=np.array([0, 1, 1], np.int32),
    )
    padded = differentiate(params, other, batch)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-5),
        padded,
        differentiate(params, visual, BATCH),
    )


def test_backbone_is_an_argument_of_the_compiled_functions(
    method: Kanoclip, params: Any, prompts: ClassPrompts, pictures: np.ndarray
) -> None:
    """A closed-over weight would be a constant of the program."""
    programs = (
        jax.make_jaxpr(method.visual)(method.frozen, pictures),
        jax.make_jaxpr(method.text)(method.frozen, params, prompts),
        jax.make_jaxpr(method.init)(KEY, method.frozen),
    )
    for program in programs:
        assert sum(np.size(constant) for constant in program.consts) < 100


PARTS = {"knpl": False, "vv": False, "cmci": False, "adapter": False}


def test_none_is_plain_clip_with_hand_written_prompts(
    clip: Clip, pictures: np.ndarray, tiny_weights: Weights
) -> None:
    method = Kanoclip(clip, **PARTS)
    assert method.init(KEY, method.frozen) == {}
    visual = jax.jit(method.visual)(method.frozen, pictures)
    assert visual.taps.shape == (3, 1, 16, 48)
    pixels = (pictures / 255 - tiny_clip.MEAN) / tiny_clip.STD
    original, _ = numpy_clip.image_streams(pixels, tiny_weights, tiny_clip.CONFIG, 5)
    patches = numpy_clip.image_feature(original[-1][:, 1:], tiny_weights)
    np.testing.assert_allclose(visual.taps[:, 0], patches, rtol=1e-3, atol=1e-3)
    classes = method.prompts(method.frozen, ["bottle"])
    text = jax.jit(method.text)(method.frozen, {}, classes)[0]
    found = jax.jit(method.detect)(method.frozen, {}, visual, text)
    cls, taps = (np.asarray(leaf, np.float64) for leaf in visual)
    maps, score = plain_detection(cls, [taps[:, 0]], np.asarray(text), 32)
    np.testing.assert_allclose(found.anomaly_map, maps, atol=1e-5)
    np.testing.assert_allclose(found.score, score, atol=1e-5)


@pytest.mark.parametrize(
    ("off", "kept"),
    [
        ({"cmci", "adapter", "vv"}, {"prompts"}),
        ({"cmci", "adapter"}, {"prompts"}),
        ({"adapter"}, {"prompts", "alignment", "bica"}),
        ({"knpl"}, {"alignment", "bica", "adapter"}),
    ],
)
def test_parts_that_are_off_have_no_parameters(
    clip: Clip, off: set[str], kept: set[str]
) -> None:
    method = Kanoclip(clip, **SMALL, **dict.fromkeys(off, False))
    assert set(method.abstract_params) == kept


def test_blocks_follow_from_the_depth(clip: Clip) -> None:
    method = Kanoclip(clip)
    assert (method.first_vv_block, method.tapped) == (1, (1, 2, 3, 4))
    assert Kanoclip(clip, vv=False, cmci=False).first_vv_block == 5
    assert Kanoclip(clip, vv=False, cmci=False).tapped == (4,)
    assert Kanoclip(clip, taps=(4, 2)).tapped == (2, 4)


def test_prompts_name_the_class_unless_told_otherwise(clip: Clip) -> None:
    def words(ids: np.ndarray) -> list[str]:
        kept = [i for i in ids.tolist() if i not in (tiny_clip.START, tiny_clip.END)]
        joined = "".join(tiny_clip.VOCABULARY[i] for i in kept)
        return joined.replace("</w>", " ").split()

    aware = Kanoclip(clip, **SMALL).prompts({}, ["bottle", ""])
    assert aware.normal.ids.shape[:2] == aware.normal.end.shape == (2, 2)
    assert words(aware.normal.ids[0, 0]) == ["normal", "bottle", "."]
    assert words(aware.abnormal.ids[0, 1]) == ["defective", "bottle", "."]
    assert words(aware.normal.ids[1, 1]) == ["perfect", "object", "."]
    assert aware.normal.end.tolist() == [[16, 16], [16, 16]]
    blind = Kanoclip(clip, **SMALL, class_aware=False).prompts({}, ["bottle"])
    assert words(blind.abnormal.ids[0, 0]) == ["abnormal", "object", "."]
    written = Kanoclip(clip, **PARTS).prompts({}, ["bottle"])
    expected = ["a", "photo", "o", "f", "a", "normal", "bottle", "."]
    found = "".join(words(written.normal.ids[0, 0]))
    assert found == "".join(expected)


@pytest.mark.parametrize(
    "options",
    [
        {"taps": (), "vv_start": 3},
        {"image_feature": "plain"},
        {"image_feature": "vv", "vv": False},
        {"deep_prompt_depth": 3, "deep_prompt_length": 2},
        {"context_length": 5},
        {"normal_states": ("normal",), "abnormal_states": ("abnormal", "a", "b")},
        {"layer_scale": 1e-4, "feed_forward": True, "bica_kernel": 3},
        {"adapter_spatial": True, "adapter_reduction": 8},
        {"adapter_residual": False},
        {"loss_per_tap": False, "focal_gamma": 1.5},
        {"global_loss_of": "score"},
        {"typical": 0.0, "combine": "logit"},
        {"spread": 1.0},
        {"paths": "both"},
        {"knowledge_scope": "global", "margin": 0.2},
        {"cmci": False},
        {"adapter": False},
        {"knpl": False, "template": "one {}"},
    ],
    ids=str,
)
def test_options_build(clip: Clip, options: dict[str, Any]) -> None:
    """Init and objective agree about every shape."""
    method = Kanoclip(clip, **(SMALL | options))
    pictures = jax.ShapeDtypeStruct((3, 32, 32, 3), jnp.uint8)

    def everything(
        frozen: Any, pictures: jax.Array, batch: TrainBatch, prompts: ClassPrompts
    ) -> Any:
        visual = method.visual(frozen, pictures)
        params = method.init(KEY, frozen)
        return method.objective(frozen, params, visual, batch, prompts)

    loss, terms = jax.eval_shape(
        everything, method.frozen, pictures, BATCH, method.prompts(method.frozen, NAMES)
    )
    assert loss.shape == ()
    assert {"loss", "global", "focal", "dice"} <= set(terms)
    assert ("knowledge" in terms) == method.knpl


def test_visual_settings_tell_apart_what_visual_does(clip: Clip) -> None:
    base = Kanoclip(clip, **SMALL)
    changed = [{"vv": False}, {"taps": (1, 4)}, {"cmci": False}, {"vv_start": 2}]
    changed += [{"image_feature": "plain"}, {"paths": "both"}]
    seen = [base.visual_settings()]
    for options in changed:
        settings = dataclasses.replace(base, **options).visual_settings()
        assert settings not in seen
        seen.append(settings)
    assert dataclasses.replace(base, margin=1.0).visual_settings() == seen[0]


def large(clip: Clip) -> Clip:
    """ViT-L/14 at 336 px by its sizes alone; its weights are shapes."""
    vision = {"hidden_size": 1024, "num_hidden_layers": 24}
    config = make_config(
        projection_dim=768,
        vision_config=vision | {"image_size": 336, "patch_size": 14},
        text_config={"hidden_size": 768},
    )
    norm, kernel = (
        jax.ShapeDtypeStruct(s, jnp.float32) for s in ((1024,), (1024, 768))
    )
    params = {
        "vision_model": {"post_layernorm": {"scale": norm, "bias": norm}},
        "visual_projection": {"kernel": kernel},
    }
    return dataclasses.replace(clip, module=DualPathCLIP(config), params=params)


@pytest.mark.parametrize(
    ("options", "part", "count"),
    [
        # Two contexts of twelve vectors; eight sets of four more.
        ({}, "prompts", 2 * 12 * 768),
        ({"deep_prompt_depth": 9}, "prompts", 43_008),
        # A norm and a 1024 × 768 matrix for each of four taps.
        ({}, "alignment", 3_153_920),
        # Four taps of 3 159 168: four norms, three cross-attentions of 787 712 (no key
        # bias), and a deformable one of 787 968 with 1 920 more for its offsets.
        ({}, "bica", 12_636_672),
        ({"taps": (24,)}, "bica", 3_159_168),
        ({}, "adapter", 297_600),
    ],
)
def test_parameter_counts_on_vit_large(
    clip: Clip, options: dict[str, Any], part: str, count: int
) -> None:
    clip = large(clip)
    shapes = Kanoclip(clip, **options).abstract_params[part]
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == count
    assert Kanoclip(clip).tapped == (6, 12, 18, 24)
    assert Kanoclip(clip).first_vv_block == 6
