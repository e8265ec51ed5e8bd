"""Images per second of the dual-path tower, and what the machine could do.

    python benchmarks/throughput.py                    a small tower, small batches
    python benchmarks/throughput.py --clip=vit-l/14 --sizes 336 518 --batches 1 8 32
    python benchmarks/throughput.py --against-torch    the same weights in PyTorch, too

The rate of a large matrix product, measured in the same run, is the peak that the
fraction refers to. Two more rows show the whole way from pixels to maps and scores, and
that with all metrics on. Each row is printed as it comes; what fails or computes
something else has a row that says so.
"""

import argparse
import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from common import (
    VIT,
    machine,
    matmul_rate,
    peak_memory,
    random_clip,
    report,
    seconds,
    show,
    tower_flops,
)

from kanoclip_jax.backbones import Clip
from kanoclip_jax.engine.sharding import Devices
from kanoclip_jax.engine.step import Inference, make_detect, make_visual
from kanoclip_jax.metrics.batch import MapBatch
from kanoclip_jax.metrics.report import ClassMetrics
from kanoclip_jax.models.kanoclip import Kanoclip, Visual
from kanoclip_jax.ops.attention import backend

Row = dict[str, object]
# A tower in PyTorch, which returns when the image feature and the taps are there.
Torch = Callable[[], tuple[Any, Any]]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clip", default="vit-s/14", choices=VIT)
    parser.add_argument("--sizes", type=int, nargs="+", default=[336])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--dtype", choices=("float32", "bfloat16"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--against-torch", action="store_true")
    parser.add_argument("--output")
    given = parser.parse_args()
    on_cpu = jax.default_backend() == "cpu"
    dtype = given.dtype or ("float32" if on_cpu else "bfloat16")
    rows: list[Row] = []
    for size in given.sizes:
        clip = random_clip(given.clip, size, dtype)
        method = Kanoclip(clip)
        for batch in given.batches:
            images = np.random.default_rng(0).integers(
                0, 256, (batch, size, size, 3), np.uint8
            )
            peak = matmul_rate(dtype)
            row = {"clip": given.clip, "px": size, "batch": batch, "dtype": dtype}
            measured = [measure(row, clip, method, images, peak, given.repeats)]
            if given.against_torch:
                measured.append(against_torch(row, clip, method, images, given.repeats))
            for found in itertools.chain(*measured):
                report(found)
                rows.append(found)
    head = VIT[given.clip][0] // VIT[given.clip][2]
    print(f"attention: {backend(dtype, head, (given.sizes[0] // 14) ** 2)}")
    show("Throughput", rows, given.output)


def attempt(row: Row, what: str, measured: Callable[[], Row]) -> Row:
    """A row, whatever happens: that something fails is a result, too."""
    row = row | {"what": what}
    try:
        return row | measured()
    except Exception as error:  # noqa: BLE001
        reason = (str(error).strip() or "no reason given").splitlines()[0][:160]
        return row | {"failed": f"{type(error).__name__}: {reason}"}


def measure(
    row: Row, clip: Clip, method: Kanoclip, images: np.ndarray, peak: float, n: int
) -> Iterator[Row]:
    """The tower, then all of inference, then that with metrics."""
    batch = len(images)
    width, depth, _, joint = VIT[row["clip"]]
    flops = tower_flops(width, depth, joint, row["px"], method.first_vv_block)
    devices = Devices(batch, "batch", 1)
    frozen = devices.copy(method.frozen)
    visual, detect = make_visual(method, devices), make_detect(method, devices)
    on_device = devices.put(images)
    row = row | {"GFLOP/image": flops / 1e9, "matmul TFLOP/s": peak / 1e12}

    def rate(wall: float) -> Row:
        return {
            "images/s": batch / wall,
            "ms/batch": 1e3 * wall,
            "of matmul peak": flops * batch / wall / peak,
            "peak GB": peak_memory() / 1e9,
        }

    yield attempt(
        row, "tower", lambda: rate(seconds(visual, frozen, on_device, repeats=n))
    )
    params = devices.copy(jax.jit(method.init)(jax.random.key(0), method.frozen))
    inference = Inference(method, devices, params)
    text = devices.put(np.stack([inference.text("object")] * batch))

    def whole(images: jax.Array) -> object:
        return detect(frozen, params, visual(frozen, images), text)

    yield attempt(
        row,
        "tower, head and maps",
        lambda: rate(seconds(whole, on_device, repeats=n)),
    )
    # The loop of an evaluation, with its input in memory.
    labels = np.arange(batch, dtype=np.int32) % 2
    regions = np.zeros(images.shape[:3], np.int32)
    regions[1::2, : images.shape[1] // 4, : images.shape[2] // 4] = 1
    stream = [{"image": images}] * (n + 1)

    def evaluate() -> None:
        metrics = ClassMetrics(has_masks=True)
        for _, (maps, score, *extremes) in inference.detections(["object"], stream):
            seen = MapBatch(maps.shards, regions, labels, *extremes)
            metrics.update_rows(score, labels, seen, np.arange(batch))

    yield attempt(
        row,
        "the same with all metrics",
        lambda: rate(seconds(evaluate, repeats=1) / len(stream)),
    )


def against_torch(
    row: Row, clip: Clip, method: Kanoclip, images: np.ndarray, n: int
) -> Iterator[Row]:
    """The tower in PyTorch: the same weights, its fused attention, the same cores."""
    devices = Devices(len(images), "batch", 1)
    frozen, on_device = devices.copy(method.frozen), devices.put(images)
    visual = make_visual(method, devices)

    def ours() -> Visual:
        return jax.block_until_ready(visual(frozen, on_device))

    for what, make in torch_towers(str(row["dtype"])).items():
        yield attempt(
            row,
            what,
            lambda make=make: compare(row, make(clip, method, images), ours, n),
        )


def compare(row: Row, theirs: Torch, ours: Callable[[], Visual], n: int) -> Row:
    """Both rates, of two towers that compute the same."""
    expected, found = theirs(), ours()
    tolerance = 2e-3 if row["dtype"] == "float32" else 5e-2
    for mine, other in zip((found.cls, found.taps), expected, strict=True):
        other = other.float().cpu().numpy()
        error = np.abs(np.asarray(mine, np.float32) - other).max()
        error /= np.abs(other).max()
        if not error <= tolerance:
            raise ValueError(f"it computes something else: error {error:.2g}")
    # In turns, so that a noisy neighbour disturbs both.
    pairs = [(seconds(theirs, repeats=1), seconds(ours, repeats=1)) for _ in range(n)]
    other, mine = np.median(np.array(pairs), axis=0)
    batch = int(row["batch"])
    return {
        "images/s": batch / other,
        "ms/batch": 1e3 * other,
        "JAX over torch": other / mine,
    }


def torch_towers(
    dtype: str,
) -> dict[str, Callable[[Clip, Kanoclip, np.ndarray], Torch]]:
    """Ways to run the tower in PyTorch, by name."""

    def make(clip: Clip, method: Kanoclip, images: np.ndarray, compiled: bool) -> Torch:
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
        precision = getattr(torch, dtype)
        # JAX's own default for single precision on a GPU.
        torch.set_float32_matmul_precision("high")
        tower = torch_tower(clip, method, device, precision)
        # What is compiled does not pass through inference mode.
        guard = torch.no_grad if compiled else torch.inference_mode
        if compiled:
            tower = torch.compile(tower)
        pixels = np.moveaxis(np.asarray(clip.normalise(jnp.asarray(images))), -1, 1)
        pixels = torch.tensor(pixels, device=device, dtype=precision)

        def run() -> tuple[Any, Any]:
            with guard():
                found = tower(pixels)
            if device == "cuda":
                torch.cuda.synchronize()
            return found

        return run

    towers = {"torch, eager": functools.partial(make, compiled=False)}
    if jax.default_backend() != "cpu":
        towers["torch, compiled"] = functools.partial(make, compiled=True)
    return towers


def torch_tower(clip: Clip, method: Kanoclip, device: str, precision: Any) -> Any:
    """Both paths on transformers' own modules, as a function of pixels [b, 3, h, w]."""
    import torch
    from torch.nn import functional
    from transformers import CLIPModel
    from transformers.modeling_flax_pytorch_utils import (
        load_flax_weights_in_pytorch_model,
    )

    model = CLIPModel(clip.module.config)
    model = load_flax_weights_in_pytorch_model(model, clip.params)
    model = model.to(device, precision).eval()
    vision = model.vision_model
    heads = clip.module.config.vision_config.num_attention_heads
    attend = functional.scaled_dot_product_attention

    def split(tokens: torch.Tensor) -> torch.Tensor:
        return tokens.unflatten(-1, (heads, -1)).transpose(1, 2)

    def merge(tokens: torch.Tensor) -> torch.Tensor:
        return tokens.transpose(1, 2).flatten(2)

    def tower(pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        original = value_path = vision.pre_layrnorm(vision.embeddings(pixels))
        taps = []
        for depth, block in enumerate(vision.encoder.layers, start=1):
            attention = block.self_attn
            normed = block.layer_norm1(original)
            query, key, value = (
                split(project(normed))
                for project in (attention.q_proj, attention.k_proj, attention.v_proj)
            )
            if depth >= method.first_vv_block:
                value_path = value_path + attention.out_proj(
                    merge(attend(value, value, value))
                )
            original = original + attention.out_proj(merge(attend(query, key, value)))
            original = original + block.mlp(block.layer_norm2(original))
            if depth < method.first_vv_block:
                value_path = original
            if depth in method.tapped:
                taps.append(value_path[:, 1:])
        cls = model.visual_projection(vision.post_layernorm(original[:, 0]))
        return cls, torch.stack(taps, 1)

    return tower


if __name__ == "__main__":
    print(f"on {machine()}")
    main()
