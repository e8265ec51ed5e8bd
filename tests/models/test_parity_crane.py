"""Crane and Crane+ against what their public torch code computes, step by step."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny_dino
from parity import Reference, shared_folder

from kanoclip_jax.backbones import Clip, Dino, DualPathCLIP, eattn, load_dino
from kanoclip_jax.backbones.archive import read_nested_archive
from kanoclip_jax.models.base import TrainBatch
from kanoclip_jax.models.crane import Crane, Visual, as_half
from kanoclip_jax.models.crane_plus import CranePlus, resize_tokens

# Of 8 blocks the published code replaced the last six.
FIRST = 3
PRODUCTS = ("vv", "kk", "qq", "qq+kk", "qq+kk+vv", "(q+k+v)^2")
# Where the small vocabulary's words stand in OpenAI's.
WORDS = {0: 0, 11: 269, 17: 343, 42: 13568, 45: 14115, 62: 49406, 63: 49407}
NAMES = ("crane", "crane_plus")


class CraneReference(Reference):
    """Crane's references."""

    file = "{}_parity.npz"

    def read_config(self) -> dict[str, Any]:
        width, layers, heads, patch, joint, stored, _, size = map(
            int, self["cfg/vision"]
        )
        words, text_layers, text_heads, *_ = map(int, self["cfg/text"])
        return {
            "joint": joint,
            "activation": "quick_gelu",
            "grid": stored // patch,
            "patch": patch,
            "vision_layers": layers,
            "vision_width": width,
            "head_width": width // heads,
            "text_width": words,
            "text_heads": text_heads,
            "text_layers": text_layers,
            "image_size": size,
        }

    def weights(self) -> dict[str, np.ndarray]:
        """With the vocabulary of 64 words spread over OpenAI's, which we tokenise with."""
        own = super().weights()
        small = own["token_embedding.weight"]
        large = np.zeros((49408, small.shape[1]), np.float32)
        large[list(WORDS.values())] = small[list(WORDS)]
        return own | {"token_embedding.weight": large}

    def guide(self, folder: Path) -> Dino:
        """Its DINOv2, under its authors' names."""
        width, _, heads, *_ = map(int, self["cfg/dino"])
        config = tiny_dino.CONFIG | {
            "hidden_size": width,
            "num_hidden_layers": 3,
            "num_attention_heads": heads,
        }
        tiny_dino.write_directory(folder, config, self.named("dino/sd/"))
        return load_dino(str(folder), self.config["image_size"])

    def named(self, prefix: str) -> dict[str, np.ndarray]:
        return {
            key.removeprefix(prefix): np.require(self[key], np.float32, "C")
            for key in self
            if key.startswith(prefix)
        }


def close(found: Any, expected: np.ndarray, tolerance: float = 1e-5) -> None:
    """Deviations are shares of the array's largest value."""
    assert np.shape(found) == np.shape(expected)
    worst = np.abs(np.asarray(found, np.float64) - expected).max()
    assert worst <= tolerance * np.abs(expected).max(), worst


def apart(found: Any, expected: np.ndarray, least: float) -> None:
    assert np.abs(np.asarray(found) - expected).max() >= least


def unit(vectors: Any) -> np.ndarray:
    vectors = np.asarray(vectors)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@pytest.fixture(scope="module")
def reference() -> CraneReference:
    return CraneReference("crane")


@pytest.fixture(scope="module")
def clip(reference: CraneReference, tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return reference.clip(tmp_path_factory.mktemp("crane") / "model")


@pytest.fixture(scope="module")
def guide(reference: CraneReference, tmp_path_factory: pytest.TempPathFactory) -> Dino:
    return reference.guide(tmp_path_factory.mktemp("guide"))


@pytest.fixture(scope="module")
def params(reference: CraneReference) -> Any:
    """Of the file that holds them as the authors' files do."""
    file = shared_folder() / "methods" / "parity" / "crane_tiny_prompts.pth"
    found = Crane.from_archive(read_nested_archive(file))
    assert found.settings == {
        "context_length": 12,
        "deep_prompt_depth": 9,
        "deep_prompt_length": 4,
    }
    context, deep = (found.params["prompts"][key] for key in ("context", "deep"))
    np.testing.assert_array_equal(context[1], reference["prompt/ctx_neg"][0, 0])
    last = reference["prompt/compound_prompts_text.7"]
    np.testing.assert_array_equal(deep[7], last)
    return jax.tree.map(jnp.asarray, found.params)


@pytest.fixture(scope="module")
def make(clip: Clip, guide: Dino) -> Callable[..., Crane]:
    def build(name: str = "crane", **options: Any) -> Crane:
        options = {"eattn_start": FIRST} | options
        if name == "crane":
            return Crane(clip, **options)
        return CranePlus(clip, guide=guide, **{"centring": "batch"} | options)

    return build


@pytest.fixture(scope="module")
def look(reference: CraneReference) -> Callable[[Crane], Visual]:
    """Features of the references' images, once for each way to see them."""
    seen: dict[str, Visual] = {}

    def of(method: Crane) -> Visual:
        key = str(method.visual_options())
        if key not in seen:
            seen[key] = jax.jit(method.visual)(method.frozen, reference["image/u8"])
        return seen[key]

    return of


# --- The guide


def test_guide(reference: CraneReference, guide: Dino) -> None:
    """From pixels as they are, without CLIP's normalisation there and back."""
    scaled = reference["image/u8"] / 255.0
    expected = reference["dino/image"].transpose(0, 2, 3, 1)
    close((scaled - np.array([0.485, 0.456, 0.406])) / [0.229, 0.224, 0.225], expected)
    found = jax.jit(guide.encode)(guide.params, reference["image/u8"])
    close(found.reshape(4, 6, 6, 48), reference["dino/features"].transpose(0, 2, 3, 1))


# --- The image tower


@pytest.fixture(scope="module")
def streams(clip: Clip, reference: CraneReference) -> dict[str, eattn.Streams]:
    """The walk with each of the products, and once with D-Attn's values."""

    def every(module: DualPathCLIP, pixels: jax.Array) -> dict[str, eattn.Streams]:
        return {
            products: eattn.walk(module, pixels, first=FIRST, products=products)
            for products in PRODUCTS
        } | {
            "values": eattn.walk(
                module, pixels, first=FIRST, products=PRODUCTS[4], with_values=True
            ),
            "late": eattn.walk(module, pixels, first=FIRST + 1, products=PRODUCTS[4]),
        }

    def run(params: Any, images: jax.Array) -> Any:
        return clip.module.apply(
            {"params": params}, clip.normalise(images), method=every
        )

    return jax.jit(run)(clip.params, reference["image/u8"])


@pytest.fixture(scope="module")
def leave(clip: Clip) -> Callable[[Any], np.ndarray]:
    """Unit features of tokens of the last block."""

    def run(tokens: Any) -> np.ndarray:
        left = clip.module.apply({"params": clip.params}, tokens, method="leave")
        return unit(left)

    return run


def test_streams(streams: Any, reference: CraneReference) -> None:
    for name in ("values", "qq+kk+vv"):
        close(streams[name].cls, reference["visual/cls"])
        close(streams[name].patches, reference["visual/eattn_stream"][-1, :, 1:])
    assert streams["vv"].values is None


def test_products(streams: Any, leave: Any, reference: CraneReference) -> None:
    for products in PRODUCTS:
        found = leave(streams[products].patches)
        close(found, unit(reference[f"attention/{products}"]))


def test_all_four_taps_of_crane_are_one(
    make: Callable[..., Crane], look: Any, reference: CraneReference
) -> None:
    found = unit(look(make()).taps[:, 0])
    for tap in reference["crane/taps"]:
        close(found, unit(tap))
    apart(found, unit(reference["crane/taps_if_distinct"][0]), 0.1)


def test_another_walk_misses(
    streams: Any, leave: Any, reference: CraneReference
) -> None:
    """An average of the attentions, and a path that begins a block later."""
    path, expected = reference["visual/eattn_stream"], unit(reference["crane/taps"][3])
    third = path[0, :, 1:] + (path[-1] - path[0])[:, 1:] / 3
    apart(leave(third), expected, 0.05)
    apart(leave(streams["late"].patches), expected, 0.01)


# --- D-Attn


def test_values_come_from_a_half_updated_stream(
    clip: Clip, streams: Any, reference: CraneReference
) -> None:
    def values(module: DualPathCLIP, stream: np.ndarray) -> jax.Array:
        block = module.blocks[-1]
        return block.self_attn.v_proj(block.layer_norm1(stream[:, 1:]))

    def of(stream: np.ndarray) -> jax.Array:
        return clip.module.apply({"params": clip.params}, stream, method=values)

    found = streams["values"].values
    close(found, of(reference["crane_plus/value_input"]))
    for whole in reference["visual/original_stream"][-2:]:
        apart(found, of(whole), 0.1)


def test_guided_attention_is_centred_over_the_batch_or_the_image(
    make: Callable[..., Crane], look: Any, reference: CraneReference
) -> None:
    method = make("crane_plus")
    found = look(method)
    guided, own = reference["crane_plus/taps"]
    close(unit(found.taps[:, 0]), unit(guided))
    close(unit(found.taps[:, 1]), unit(own))
    close(found.cls, reference["visual/cls"])
    alone = unit(look(make("crane_plus", centring="image")).taps[:, 0])
    close(alone, unit(reference["crane_plus/dattn_one_by_one"]))
    apart(alone, unit(guided), 0.01)


def test_guided_attention_of_the_published_features(
    clip: Clip, streams: Any, reference: CraneReference
) -> None:
    seen = reference["dino/features"].transpose(0, 2, 3, 1).reshape(4, 36, 48)
    weights = eattn.guided_attention(jnp.asarray(seen), 1.2, 3.0, "batch")
    lengths = unit(seen)
    mean = (lengths @ lengths.swapaxes(1, 2)).mean()
    assert mean == pytest.approx(float(reference["crane_plus/similarity_mean"]), 1e-5)
    found = clip.module.apply(
        {"params": clip.params}, streams["values"].values, weights, method=eattn.spread
    )
    close(found, reference["crane_plus/dattn_raw"])


def test_a_guide_of_another_grid(
    clip: Clip, streams: Any, leave: Any, reference: CraneReference
) -> None:
    seen = reference["dino/features_8x8"].transpose(0, 2, 3, 1).reshape(4, 64, 24)
    weights = eattn.guided_attention(jnp.asarray(seen), 1.2, 3.0, "batch")
    values = resize_tokens(streams["values"].values, 8)
    guided = clip.module.apply(
        {"params": clip.params}, values, weights, method=eattn.spread
    )
    own = resize_tokens(streams["values"].patches, 8)
    expected = reference["crane_plus/taps_8x8"]
    close(np.stack([leave(guided), leave(own)]), unit(expected))


# --- Text


def test_tokens(make: Callable[..., Crane], reference: CraneReference) -> None:
    classes = make().prompts({}, ["cup", ""])
    end = reference["text/static_end"]
    np.testing.assert_array_equal(classes.plain.end, end)
    np.testing.assert_array_equal(classes.looking.end, end + 1)
    np.testing.assert_array_equal(
        reference["text/context_end"], np.repeat(end[:, None] + 1, 4, axis=1)
    )
    for state, name in enumerate(("normal", "abnormal")):
        words = reference[f"tokens/openai_{name}"][13 : end[state] + 1]
        np.testing.assert_array_equal(
            classes.plain.ids[state, 13 : end[state] + 1], words
        )
        np.testing.assert_array_equal(
            classes.looking.ids[state, 14 : end[state] + 2], words
        )


@pytest.mark.parametrize("half", [True, False])
def test_text(
    make: Callable[..., Crane], reference: CraneReference, params: Any, half: bool
) -> None:
    method = make(round_deep=half)
    waiting = dataclasses.replace(method, context_at_test=True)
    classes = method.prompts({}, ["cup", "plate"])

    @jax.jit
    def run(frozen: Any, params: Any, cls: jax.Array) -> tuple[jax.Array, jax.Array]:
        sentences = waiting.text(frozen, params, classes)
        rows = jax.tree.map(lambda leaf: leaf[jnp.array([0, 1, 0, 1])], sentences)
        seen = waiting._look(frozen, params, Visual(cls, cls), rows)
        return method.text(frozen, params, classes), seen

    own, cls = method.frozen, reference["visual/cls"]
    found, seen = run(own, params, cls)
    ending = "" if half else "_without_half"
    expected = unit(reference[f"text/static{ending}"])
    close(found, np.repeat(expected, 2, axis=0), 5e-6)
    close(seen, unit(reference[f"text/context{ending}"]), 5e-6)
    other = reference["text/static_without_half" if half else "text/static"]
    apart(found[:1], unit(other), 2e-5)
    # Another image's feature makes another text; none at all, a third.
    apart(run(own, params, cls[::-1])[1], np.asarray(seen), 1e-3)
    apart(seen, np.repeat(expected, 4, axis=0), 0.1)


def test_the_image_s_token_stands_before_the_words_and_is_of_unit_length(
    make: Callable[..., Crane], reference: CraneReference, params: Any
) -> None:
    method = make()
    classes = method.prompts({}, ["cup"])
    expected = unit(reference["text/context"])
    token = unit(reference["visual/cls"])
    close(token, reference["text/context_token"])
    encode = jax.jit(method._encode)

    def of(sentences: Any, tokens: Any) -> jax.Array:
        ids, end = (np.repeat(part[None], 4, axis=0) for part in sentences)
        return encode(method.frozen, params, ids, end, tokens)

    close(of(classes.looking, token), expected, 5e-6)
    apart(of(classes.looking, reference["visual/cls"]), expected, 0.05)
    # Behind the words, where the end would be.
    ids, end = classes.looking
    late = ids.copy()
    late[:, 13:-1] = ids[:, 14:]
    apart(of((late, end), token), expected, 0.05)


def test_rounding_survives_compilation(reference: CraneReference) -> None:
    values = reference["prompt/compound_prompts_text.0"] * np.float32(1e-3)
    rounded = values.astype(np.float16).astype(np.float32)
    assert not np.array_equal(values, rounded)
    np.testing.assert_array_equal(jax.jit(as_half)(values), rounded)
    slope = jax.jit(jax.grad(lambda x: (as_half(x) * 1e-12).sum()))(values)
    np.testing.assert_array_equal(slope, np.full_like(values, 1e-12))


# --- Detection


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("aggregation", ["soft", "logit"])
def test_detection(
    make: Callable[..., Crane],
    look: Any,
    reference: CraneReference,
    name: str,
    aggregation: str,
) -> None:
    method = make(name, aggregation=aggregation)
    visual = look(method)

    @jax.jit
    def run(text: jax.Array) -> Any:
        found = [
            dataclasses.replace(method, sigma=sigma).detect({}, {}, visual, text)
            for sigma in (0.0, 4.0)
        ]
        return method._compare(visual, text), *found

    for text in ("static", "context"):
        known = reference.named(f"detect/{name}/{text}/{aggregation}/")
        (logits, image), sharp, smooth = run(known["text"] * np.ones((4, 1, 1), "f4"))
        expected = known["pixel_logits"].transpose(1, 0, 3, 2)
        close(logits, expected[:, -1:] if name == "crane" else expected)
        close(image, known["fused"])
        close(smooth.score, known["score"])
        close(sharp.anomaly_map, known["map"])
        close(smooth.anomaly_map, known["map_smoothed"])
        other = {"soft": "logit", "logit": "soft"}[aggregation]
        other = reference[f"detect/{name}/{text}/{other}/map"]
        apart(sharp.anomaly_map, other, 0.1)


def test_texts_of_each_image_at_test(
    make: Callable[..., Crane], look: Any, reference: CraneReference, params: Any
) -> None:
    method = make(context_at_test=True)

    @jax.jit
    def run(frozen: Any, params: Any, visual: Visual) -> Any:
        text = method.text(frozen, params, method.prompts(frozen, ["cup"]))
        rows = jax.tree.map(lambda leaf: jnp.repeat(leaf, 4, axis=0), text)
        return method.detect(frozen, params, visual, rows)

    found = run(method.frozen, params, look(method))
    close(found.score, reference["detect/crane/context/soft/score"])
    close(found.anomaly_map, reference["detect/crane/context/soft/map_smoothed"])
    apart(found.score, reference["detect/crane/static/soft/score"], 0.1)


def test_pooling(
    make: Callable[..., Crane], look: Any, reference: CraneReference
) -> None:
    """By the mean of logits, of unit rows whose mean is not made unit again."""
    method = make("crane_plus")
    taps = unit(look(method).taps)
    logits = reference["detect/crane_plus/static/soft/pixel_logits"].mean(0)
    weights = jax.nn.softmax(logits, axis=-1)[..., 1]
    pooled = unit(np.einsum("bn,bnd->bd", weights, taps.mean(1)))
    close(pooled, reference["detect/crane_plus/static/soft/pooled"])
    text = reference["text/static"] * np.ones((4, 1, 1), "f4")
    found = method._compare(look(method), jnp.asarray(text)).image
    close(found, unit(pooled + unit(reference["visual/cls"])))
    again = unit(np.einsum("bn,bnd->bd", weights, unit(taps.mean(1))))
    apart(again, pooled, 1e-3)


# --- Training


def gradients(reference: Reference, prefix: str, step: int = 0) -> dict[str, Any]:
    deep = [reference[f"{prefix}/compound_prompts_text.{i}"][step] for i in range(8)]
    context = [reference[f"{prefix}/ctx_{side}"][step, 0, 0] for side in ("pos", "neg")]
    return {"context": np.stack(context), "deep": np.stack(deep)}


@pytest.fixture(scope="module", params=NAMES)
def training(
    request: pytest.FixtureRequest,
    make: Callable[..., Crane],
    look: Any,
    reference: CraneReference,
) -> Any:
    """Features centred over the batch, for an objective that would refuse them."""
    name = request.param
    method = make(name)
    visual = look(method)
    if name == "crane_plus":
        method = dataclasses.replace(method, centring="image")
    batch = TrainBatch(
        reference["mask"].astype(np.uint8),
        reference["label"].astype(np.int32),
        np.zeros(4, np.int32),
        np.ones(4, bool),
    )
    classes = method.prompts({}, ["object"])
    objective = jax.jit(jax.value_and_grad(method.objective, argnums=1, has_aux=True))

    def differentiate(params: Any, batch: TrainBatch = batch) -> Any:
        return objective(method.frozen, params, visual, batch, classes)

    return name, method, batch, differentiate


def test_objective(training: Any, reference: CraneReference, params: Any) -> None:
    name, method, batch, differentiate = training
    (loss, terms), gradient = differentiate(params)
    prefix = f"train_exact_gradient/{name}"
    focal, dice = (reference[f"{prefix}/{part}"][0] for part in ("focal", "dice"))
    # Crane's four aliases of one tap are one here, which weighs four times as much.
    count, weight = {"crane": (4, 8.0), "crane_plus": (1, 2.0)}[name]
    assert method.local_weight == weight
    close(count * terms["focal"], focal.sum())
    close(count * terms["dice"], dice.sum())
    close(terms["global"], reference[f"{prefix}/ce"][0])
    close(loss, reference[f"{prefix}/total"][0])
    expected = gradients(reference, f"{prefix}/grad")
    for part, known in expected.items():
        close(gradient["prompts"][part], known, 2e-5)
    # Padding weighs nothing.
    three = batch._replace(is_real=np.array([True, True, True, False]))
    other = three._replace(mask=1 - three.mask, label=1 - three.label)
    mixed = TrainBatch(*(np.concatenate([a[:3], b[3:]]) for a, b in zip(three, other)))
    assert differentiate(params, mixed)[0][0] == differentiate(params, three)[0][0]


def test_three_steps(training: Any, reference: CraneReference, params: Any) -> None:
    """As published but for the gradient of deep tokens, rounded there for each image."""
    name, _, _, differentiate = training
    adam = optax.adam(1e-3, b1=0.6, b2=0.999)
    state = adam.init(params)
    for step in range(3):
        (loss, terms), gradient = differentiate(params)
        close(loss, reference[f"train/{name}/total"][step], 5e-4)
        close(terms["global"], reference[f"train/{name}/ce"][step], 5e-4)
        expected = gradients(reference, f"train/{name}/grad", step)
        close(gradient["prompts"]["context"], expected["context"], 5e-4)
        close(gradient["prompts"]["deep"], expected["deep"], 2e-3)
        updates, state = adam.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        moved = gradients(reference, f"train/{name}/param", step)
        for part, known in moved.items():
            close(params["prompts"][part], known, 5e-4)


def test_other_momentum_misses(
    training: Any, reference: CraneReference, params: Any
) -> None:
    name, _, _, differentiate = training
    adam = optax.adam(1e-3, b1=0.5, b2=0.999)
    state, moved = adam.init(params), params
    for _ in range(3):
        _, gradient = differentiate(moved)
        updates, state = adam.update(gradient, state, moved)
        moved = optax.apply_updates(moved, updates)
    known = gradients(reference, f"train/{name}/param", 2)["context"]
    apart(moved["prompts"]["context"], known, 1e-4)
