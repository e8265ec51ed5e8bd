"""What each method costs, counted: operations for an image, and bytes on disk.

    python benchmarks/methods.py                       ViT-L/14 at 518 px, MVFA at 240
    python benchmarks/methods.py --clip=vit-s/14 --size=336 --methods=clip,crane_plus

Operations are XLA's own count of the programs that run (a multiplication and an addition
are two), before it optimises them; nothing is compiled, and no clock is read. `test` is the
frozen pass and detection with the text at hand, `step` a training step on cached features,
`epoch` the same with the frozen pass of an image that is not cached.
"""

import argparse
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from common import VIT, get_optimizer, random_clip, show

from kanoclip_jax.backbones.dino import Dino, Tower
from kanoclip_jax.backbones.dino_files import Shape
from kanoclip_jax.configs import base
from kanoclip_jax.engine.sharding import Devices
from kanoclip_jax.engine.step import (
    TrainState,
    count_parameters,
    make_detect,
    make_features,
    make_train_step,
    make_visual,
)
from kanoclip_jax.models import build_method
from kanoclip_jax.models.base import Method, TrainBatch
from kanoclip_jax.models.fixed_text import FixedText
from kanoclip_jax.ops import lowering

BATCH = 8
_NAMES = "clip,clip_ac,winclip,april_gan,anomalyclip,adaclip,mvfa,crane,crane_plus"


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clip", default="vit-l/14", choices=VIT)
    parser.add_argument("--size", type=int, default=518)
    parser.add_argument("--methods", default=f"{_NAMES},kanoclip,median,probe")
    parser.add_argument("--output")
    options = parser.parse_args()
    rows = []
    for name in options.methods.split(","):
        # The size at which it is published, less what is no whole patch.
        size = 238 if name == "mvfa" else options.size
        rows.append({"method": name, "px": size} | _row(_build(name, options, size)))
    show(f"each image, {options.clip}", rows, options.output)


def _build(name: str, options: argparse.Namespace, size: int) -> Method:
    config = base.get_config(name)
    backbones: dict[str, Any] = {"clip": random_clip(options.clip, size)}
    if name == "crane_plus":
        backbones["guide"] = _guide(size)
    model = config.model.to_dict()
    width = backbones["clip"].module.config.text_config.hidden_size
    if "context_in_training" in model:
        joint = backbones["clip"].module.config.projection_dim
        model["context_in_training"] = joint == width
    return build_method(name, model, **backbones)


def _guide(size: int) -> Dino:
    """DINOv2 ViT-B/14 with registers, of zeros."""
    shape = Shape(patch=14, depth=12, heads=12, registers=4, epsilon=1e-6)
    module = Tower(shape, width=768, inner=3072, grid=size // 14)
    shapes = jax.eval_shape(
        module.init, jax.random.key(0), jnp.zeros((1, size, size, 3))
    )
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    return Dino("random", module, params["params"], size, "random")


def _row(method: Method) -> dict[str, Any]:
    devices = Devices(BATCH, "batch", 1)
    size, joint = method.image_size, method.clip.module.config.projection_dim
    images = jax.ShapeDtypeStruct((BATCH, size, size, 3), jnp.uint8)
    frozen, params = method.frozen, method.abstract_params
    # Fixed texts are not encoded here: once for a class, they cost no image anything.
    classes = jax.ShapeDtypeStruct((1, 2, joint), jnp.float32)
    if not isinstance(method, FixedText):
        classes = method.prompts(frozen, ["object"])
    text = jax.eval_shape(method.text, frozen, params, classes)
    rows = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((BATCH, *leaf.shape[1:]), leaf.dtype), text
    )
    visual = jax.eval_shape(make_features(method, devices), frozen, images)
    seen = _flops(make_visual(method, devices), frozen, images)
    detect = _flops(make_detect(method, devices), frozen, params, visual, rows)
    found = {
        "parameters": count_parameters(params),
        "test GFLOP": (seen + detect) / BATCH / 1e9,
    }
    if not method.learns:
        return found
    cached = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(visual))
    step = _step(method, devices, visual, classes)
    return found | {
        "step GFLOP": step / BATCH / 1e9,
        "epoch GFLOP": (step + seen) / BATCH / 1e9,
        "cached MB": cached / BATCH / 1e6,
    }


def _step(method: Method, devices: Devices, visual: Any, classes: Any) -> float:
    optimizer = get_optimizer()
    params, size = method.abstract_params, method.image_size
    state = TrainState(
        params,
        jax.eval_shape(optimizer.init, params),
        jax.ShapeDtypeStruct((), jnp.int32),
    )
    whole = jax.ShapeDtypeStruct((BATCH,), jnp.int32)
    mask = jax.ShapeDtypeStruct((BATCH, size, size), jnp.uint8)
    real = jax.ShapeDtypeStruct((BATCH,), jnp.bool_)
    batch = TrainBatch(mask, whole, whole, real)
    if method.needs_knowledge:
        joint = method.clip.module.config.projection_dim
        classes = method.learning_from(classes, np.zeros((1, joint), np.float32))
    step = make_train_step(method, optimizer, devices)
    return _flops(step, method.frozen, state, visual, batch, classes)


def _flops(program: Any, *arguments: Any) -> float:
    # Not a CPU's attention, head by head, of whose loop one round would be counted.
    with lowering.tracing_for("other"):
        return program.lower(*arguments).cost_analysis()["flops"]


if __name__ == "__main__":
    main()
