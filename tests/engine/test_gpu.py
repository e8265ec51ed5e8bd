"""Every program of the engine, lowered for an NVIDIA GPU on a machine without one.

JAX checks what cuDNN can do while it traces and lowers, so a shape that a GPU would
refuse is refused here.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_clip
from jax._src.cudnn import fused_attention_stablehlo

from kanoclip_jax.backbones import Clip, DualPathCLIP
from kanoclip_jax.backbones.towers import make_config
from kanoclip_jax.engine.optimizer import make_optimizer
from kanoclip_jax.engine.sharding import Devices
from kanoclip_jax.engine.step import (
    TrainState,
    make_detect,
    make_features,
    make_train_step,
    make_visual,
)
from kanoclip_jax.models.adaclip import AdaClip
from kanoclip_jax.models.base import Method, TrainBatch
from kanoclip_jax.models.kanoclip import Kanoclip
from kanoclip_jax.models.mvfa import Mvfa
from kanoclip_jax.ops import lowering

BATCH = 2


class Size(NamedTuple):
    """A CLIP's measures; two blocks of each tower say all that is asked here."""

    width: int
    heads: int
    text_width: int
    text_heads: int
    joint: int
    pixels: int
    patch: int


TINY = Size(64, 4, 32, 2, 48, 32, 8)
DEMO = Size(128, 2, 128, 4, 128, 128, 8)
DINO = Size(448, 7, 160, 5, 384, 518, 14)
LARGE = Size(1024, 16, 768, 12, 768, 518, 14)
LARGE_336 = LARGE._replace(pixels=336)
# Heads of 80, as ViT-H's, and of 136, which only the newest GPUs' cuDNN takes.
HUGE = Size(1280, 16, 1024, 16, 1024, 224, 14)
WIDE_HEADS = Size(544, 4, 160, 5, 384, 336, 14)
SIZES = {
    "tiny": TINY,
    "demo": DEMO,
    "dinov2s": DINO,
    "ViT-L/14 518": LARGE,
    "ViT-L/14 336": LARGE_336,
    "ViT-H/14": HUGE,
    "heads of 136": WIDE_HEADS,
}


@pytest.fixture(autouse=True)
def on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(fused_attention_stablehlo, "check_cudnn_version", lambda: 91000)
    with lowering.tracing_for("cuda"):
        yield


@pytest.fixture(params=SIZES.values(), ids=SIZES)
def size(request: pytest.FixtureRequest) -> Size:
    return request.param


@pytest.fixture
def zeros(clip: Clip, size: Size) -> Clip:
    """A CLIP of zeros in bfloat16, which nobody computes with."""
    config = make_config(
        projection_dim=size.joint,
        vision_config={
            "hidden_size": size.width,
            "num_hidden_layers": 2,
            "num_attention_heads": size.heads,
            "intermediate_size": 4 * size.width,
            "image_size": size.pixels,
            "patch_size": size.patch,
        },
        text_config={
            "hidden_size": size.text_width,
            "num_hidden_layers": 2,
            "num_attention_heads": size.text_heads,
            "intermediate_size": 4 * size.text_width,
            "vocab_size": len(tiny_clip.VOCABULARY),
            "eos_token_id": tiny_clip.END,
        },
    )
    module = DualPathCLIP(config, dtype=jnp.bfloat16)
    pixels = jnp.zeros((1, size.pixels, size.pixels, 3))
    ids = jnp.zeros((1, 4), jnp.int32)
    shapes = jax.eval_shape(module.init, jax.random.key(0), ids, pixels, ids + 1, ids)
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    return dataclasses.replace(clip, module=module, params=zeros["params"])


@pytest.fixture
def method(zeros: Clip) -> Kanoclip:
    return Kanoclip(zeros, bica_width=64, deep_prompt_depth=2)


def lower(function: Callable[..., Any], *arguments: Any) -> str:
    """The program that a GPU would compile."""
    traced = function.trace(*arguments)
    return traced.lower(lowering_platforms=("cuda",)).as_text()


def fused(program: str) -> int:
    """How many of its operations are cuDNN's attention."""
    return program.count("__cudnn$fmha")


def images(size: Size) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((BATCH, size.pixels, size.pixels, 3), jnp.uint8)


def expected_attentions(size: Size) -> int:
    """Both paths of the first block and the V-V path of the last, if all of it fits."""
    many = (size.pixels // size.patch) ** 2 + 1 >= 128
    return 3 if many and size.width // size.heads <= 128 else 0


def test_the_tower_lowers(method: Kanoclip, size: Size) -> None:
    """Odd numbers of tokens too (577 at 336 px, 257 at 224): it only runs forward."""
    devices = Devices(BATCH, "batch", 1)
    for make in (make_visual, functools.partial(make_visual, parts=2)):
        program = lower(make(method, devices), method.frozen, images(size))
        assert fused(program) == expected_attentions(size)


@pytest.mark.parametrize(
    "size",
    [TINY, DINO, LARGE_336],
    ids=["tiny", "dinov2s", "ViT-L/14 336"],
    indirect=True,
)
def test_the_training_step_lowers(method: Kanoclip, size: Size) -> None:
    """The learned prompts differentiate 13 positions, and a few words behind them."""
    assert fused(lowered_step(method, size)) == 0


@pytest.mark.parametrize(
    "size", [TINY, LARGE, LARGE_336], ids=["tiny", "518", "336"], indirect=True
)
def test_adaclip_s_training_step_lowers(zeros: Clip, size: Size) -> None:
    """It goes through the image tower: 1370 and 577 tokens, and five prompts more."""
    program = lowered_step(AdaClip(zeros, taps=(1, 2)), size)
    # Each block forward, again on the way back, and back; at odd lengths by XLA.
    assert (fused(program) > 0) == (size is LARGE_336)


def lowered_step(method: Method, size: Size, classes: Any = None) -> str:
    """The program of a training step; `classes` where prompts are not to be encoded."""
    if classes is None:
        classes = method.prompts(method.frozen, ["bottle"])
    devices = Devices(BATCH, "batch", 1)
    optimizer = make_optimizer(
        prompt_learning_rate=1e-3, learning_rate=1e-4, betas=(0.5, 0.999)
    )
    params = method.abstract_params
    state = TrainState(
        params,
        jax.eval_shape(optimizer.init, params),
        jax.ShapeDtypeStruct((), jnp.int32),
    )
    visual = jax.eval_shape(make_features(method, devices), method.frozen, images(size))
    labels = jnp.zeros(BATCH, jnp.int32)
    mask = jax.ShapeDtypeStruct((BATCH, size.pixels, size.pixels), jnp.uint8)
    return lower(
        make_train_step(method, optimizer, devices),
        method.frozen,
        state,
        visual,
        TrainBatch(mask, labels, labels, labels > 0),
        classes,
    )


@pytest.mark.parametrize(
    "size",
    [LARGE._replace(pixels=238), LARGE_336],
    ids=["290 tokens", "577 tokens"],
    indirect=True,
)
def test_adapters_inside_the_tower_lower(method: Kanoclip, size: Size) -> None:
    """MVFA's step differentiates image blocks: by cuDNN where their length is even."""
    mvfa = Mvfa(method.clip, taps=(1, 2))
    text = jax.ShapeDtypeStruct((1, 2, size.joint), jnp.float32)
    program = lowered_step(mvfa, size, text)
    even = ((size.pixels // size.patch) ** 2 + 1) % 2 == 0
    assert (fused(program) > 0) == even
    assert ("Backward" in program) == even


def test_detection_and_text_lower(method: Kanoclip, size: Size) -> None:
    devices = Devices(BATCH, "batch", 1)
    params = method.abstract_params
    visual = jax.eval_shape(make_visual(method, devices), method.frozen, images(size))
    text = jax.ShapeDtypeStruct((BATCH, 2, size.joint), jnp.float32)
    found = lower(make_detect(method, devices), method.frozen, params, visual, text)
    classes = method.prompts(method.frozen, ["bottle"])
    said = lower(jax.jit(method.text), method.frozen, params, classes)
    assert fused(found) == fused(said) == 0
