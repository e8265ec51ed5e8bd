"""What the benchmarks share: clocks, the machine's own peak, random models, tables."""

import dataclasses
import json
import os
import platform
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kanoclip_jax.backbones import Clip, DualPathCLIP, load_clip
from kanoclip_jax.backbones.towers import make_config, round_blocks
from kanoclip_jax.engine.optimizer import make_optimizer

VIT = {
    "vit-s/14": (384, 12, 6, 384),
    "vit-b/14": (768, 12, 12, 512),
    "vit-l/14": (1024, 24, 16, 768),
}
"""Image towers by name: width, depth, heads, joint width; MLPs are four widths."""


def seconds(function: Callable[..., Any], *arguments: Any, repeats: int = 3) -> float:
    """Median wall time of a call, after one that compiles."""
    return float(np.median(times(function, *arguments, repeats=repeats)))


def times(
    function: Callable[..., Any], *arguments: Any, repeats: int = 3
) -> list[float]:
    """Wall times of calls, after one that compiles."""
    jax.block_until_ready(function(*arguments))
    measured = []
    for _ in range(repeats):
        started = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        measured.append(time.perf_counter() - started)
    return measured


def matmul_rate(dtype: str, size: int = 0) -> float:
    """FLOP/s of one large matrix product on this device, now: the best of several.

    Its numbers are random. A GPU lowers its clock where it needs much power, and equal
    numbers need little: a rate taken on ones is one that no real product reaches.
    """
    size = size or (2048 if jax.default_backend() == "cpu" else 8192)
    left, right = jax.random.normal(jax.random.key(0), (2, size, size), dtype)
    return 2 * size**3 / min(times(jax.jit(jnp.matmul), left, right, repeats=10))


def random_clip(name: str, image_size: int, dtype: str = "float32") -> Clip:
    """A CLIP with random weights, and the demonstration's tokenizer.

    Args:
        name: a key of `VIT`.
        image_size: pixels, a multiple of 14.
        dtype: of the computation.
    """
    width, depth, heads, joint = VIT[name]
    demo = load_clip("demo")
    words = demo.module.config.text_config
    config = make_config(
        projection_dim=joint,
        vision_config={
            "hidden_size": width,
            "num_hidden_layers": depth,
            "num_attention_heads": heads,
            "intermediate_size": 4 * width,
            "image_size": image_size,
            "patch_size": 14,
        },
        # CLIP's own text towers: 8 heads of 64 for ViT-B, 12 for ViT-L.
        text_config={
            "hidden_size": joint,
            "num_hidden_layers": 12,
            "num_attention_heads": joint // 64,
            "intermediate_size": 4 * joint,
            "vocab_size": words.vocab_size,
            "eos_token_id": words.eos_token_id,
        },
    )
    module = DualPathCLIP(config, dtype=jnp.dtype(dtype))
    shapes = jax.eval_shape(
        lambda key: module.init(
            key,
            jnp.zeros((1, 4), jnp.int32),
            jnp.zeros((1, image_size, image_size, 3)),
            jnp.ones((1, 4), jnp.int32),
            jnp.arange(4)[None],
        )["params"],
        jax.random.key(0),
    )
    draw = np.random.default_rng(0)

    def weights(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> jax.Array:
        if jax.tree_util.keystr(path[-1:]) == "['scale']":
            return jnp.ones(leaf.shape)
        values = draw.standard_normal(leaf.shape, np.float32)
        return jnp.asarray(0.02 * values)

    params = jax.tree_util.tree_map_with_path(weights, shapes)
    return dataclasses.replace(
        demo,
        name=f"random {name}",
        module=module,
        params=round_blocks(params, dtype),
        fingerprint=f"random-{name}",
    )


def get_clip(name: str, image_size: int) -> Clip:
    """A random tower by its name in `VIT`, or a CLIP that is on disk.

    It computes in bfloat16 on an accelerator and in float32 on a CPU.
    """
    dtype = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    if name in VIT:
        return random_clip(name, image_size, dtype)
    return load_clip(name, image_size, dtype=jnp.dtype(dtype))


def get_optimizer() -> optax.GradientTransformation:
    """That of the configurations."""
    return make_optimizer(
        prompt_learning_rate=1e-3, learning_rate=1e-5, betas=(0.5, 0.999)
    )


def tower_flops(
    width: int, depth: int, joint: int, image_size: int, vv_start: int, patch: int = 14
) -> float:
    """FLOPs of one image through both paths, counted from the architecture.

    A multiplication and an addition are two. Norms, activations and softmax are left
    out, as is usual.
    """
    patches = (image_size // patch) ** 2
    tokens = patches + 1
    embed = 2 * patches * 3 * patch**2 * width
    projections = 8 * tokens * width**2
    attention = 4 * tokens**2 * width
    mlp = 16 * tokens * width**2
    block = projections + attention + mlp
    vv_block = attention + 2 * tokens * width**2
    blocks = depth * block + (depth - vv_start + 1) * vv_block
    return embed + blocks + 2 * width * joint


def peak_memory() -> float:
    """Bytes: the device's own peak, or this process's on a CPU."""
    stats = jax.local_devices()[0].memory_stats() or {}
    return float(stats.get("peak_bytes_in_use", host_memory()))


def host_memory() -> float:
    """This process's peak, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def machine() -> str:
    """The accelerator's name, or the processor's with its cores."""
    device = jax.local_devices()[0]
    if device.platform != "cpu":
        return device.device_kind
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return f"{model}, {len(os.sched_getaffinity(0))} cores"


def report(row: Mapping[str, Any]) -> None:
    """Print one row now: a long measurement that stops keeps what it had."""
    cells = (f"{name} {_cell(value)}" for name, value in row.items())
    print("  ".join(cells), flush=True)


def show(
    title: str, rows: Sequence[Mapping[str, Any]], output: str | None = None
) -> None:
    """Print a table; with `output`, write it as JSON too."""
    print(f"\n{title} ({machine()}, jax {jax.__version__})")
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_cell(row.get(name, "")) for name in names] for row in rows]
    widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
    for line in (names, ["-" * width for width in widths], *cells):
        aligned = (c.rjust(w) for c, w in zip(line, widths, strict=True))
        print("| " + " | ".join(aligned) + " |")
    if output:
        record = {"title": title, "machine": machine(), "rows": list(rows)}
        Path(output).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        print(f"written: {output}")


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
