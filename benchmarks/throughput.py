"""Images per second of the dual-path tower, and what the machine could do.

    python benchmarks/throughput.py                    a small tower, small batches
    python benchmarks/throughput.py --clip=vit-l/14 --sizes 336 518 --batches 1 8 32
    python benchmarks/throughput.py --against-torch    the same weights in PyTorch, too

The rate of a large matrix product, measured in the same run, is the peak that the
fraction refers to. Two more rows show the whole way from pixels to maps and scores, and
that with all metrics on.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
from common import (
    VIT,
    machine,
    matmul_rate,
    peak_memory,
    random_clip,
    seconds,
    show,
    tower_flops,
)

from kanoclip_jax.clip import Clip
from kanoclip_jax.clip.attention import backend
from kanoclip_jax.engine.sharding import Devices
from kanoclip_jax.engine.step import Inference, make_detect, make_visual
from kanoclip_jax.metrics.batch import MapBatch
from kanoclip_jax.metrics.report import ClassMetrics
from kanoclip_jax.models.kanoclip import Kanoclip

Row = dict[str, object]


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
            rows += measure(row, clip, method, images, peak, given.repeats)
            if given.against_torch:
                rows += against_torch(row, clip, method, images, given.repeats)
    head = VIT[given.clip][0] // VIT[given.clip][2]
    print(f"attention: {backend(dtype, head, (given.sizes[0] // 14) ** 2)}")
    show("Throughput", rows, given.output)


def measure(
    row: Row, clip: Clip, method: Kanoclip, images: np.ndarray, peak: float, n: int
) -> list[Row]:
    """The tower, then all of inference, then that with metrics."""
    batch = len(images)
    width, depth, _, joint = VIT[row["clip"]]
    flops = tower_flops(width, depth, joint, row["px"], method.first_vv_block)
    devices = Devices(batch, "batch", 1)
    frozen = devices.copy(clip.params)
    visual, detect = make_visual(method, devices), make_detect(method, devices)
    on_device = devices.put(images)
    tower = seconds(visual, frozen, on_device, repeats=n)
    row = row | {"GFLOP/image": flops / 1e9}

    def rate(what: str, wall: float) -> Row:
        return (
            row
            | {"what": what, "images/s": batch / wall, "ms/batch": 1e3 * wall}
            | {"of matmul peak": flops * batch / wall / peak}
            | {"peak GB": peak_memory() / 1e9}
        )

    params = devices.copy(jax.jit(method.init)(jax.random.key(0)))
    inference = Inference(method, devices, frozen, params)
    text = devices.put(np.stack([inference.text("object")] * batch))

    def whole(images: jax.Array) -> object:
        return detect(params, visual(frozen, images), text)

    every = seconds(whole, on_device, repeats=n)
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

    loop = seconds(evaluate, repeats=1) / len(stream)
    return [
        rate("tower", tower),
        rate("tower, head and maps", every),
        rate("the same with all metrics", loop),
    ]


def against_torch(
    row: Row, clip: Clip, method: Kanoclip, images: np.ndarray, n: int
) -> list[Row]:
    """The tower in PyTorch: the same weights, its fused attention, the same cores."""
    import torch
    from torch.nn import functional
    from transformers import CLIPModel
    from transformers.modeling_flax_pytorch_utils import (
        load_flax_weights_in_pytorch_model,
    )

    device = "cuda" if torch.cuda.is_available() else "cpu"
    precision = getattr(torch, str(row["dtype"]))
    model = CLIPModel(clip.module.config)
    model = load_flax_weights_in_pytorch_model(model, clip.params)
    model = model.to(device, precision).eval()
    vision = model.vision_model
    heads = clip.module.config.vision_config.num_attention_heads

    def split(tokens: torch.Tensor) -> torch.Tensor:
        return tokens.unflatten(-1, (heads, -1)).transpose(1, 2)

    def merge(tokens: torch.Tensor) -> torch.Tensor:
        return tokens.transpose(1, 2).flatten(2)

    attend = functional.scaled_dot_product_attention

    @torch.inference_mode()
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

    pixels = np.moveaxis(np.asarray(clip.normalise(jnp.asarray(images))), -1, 1)
    pixels = torch.tensor(pixels, device=device, dtype=precision)
    sync = torch.cuda.synchronize if device == "cuda" else (lambda: None)
    candidates = {"torch, eager": tower}
    if device == "cuda":
        candidates["torch, compiled"] = torch.compile(tower)
    devices = Devices(len(images), "batch", 1)
    frozen, on_device = devices.copy(clip.params), devices.put(images)
    visual = make_visual(method, devices)
    ours = visual(frozen, on_device)
    rows = []
    for name, function in candidates.items():
        cls, taps = function(pixels)
        tolerance = 2e-3 if row["dtype"] == "float32" else 5e-2
        for found, expected in ((ours.cls, cls), (ours.taps, taps)):
            expected = expected.float().cpu().numpy()
            scale = np.abs(expected).max()
            error = np.abs(np.asarray(found, np.float32) - expected).max() / scale
            if error > tolerance:
                raise SystemExit(f"{name} computes something else: error {error:.2g}")

        def timed(function: object = function) -> None:
            function(pixels)
            sync()

        # In turns, so that a noisy neighbour disturbs both.
        pairs = [
            (seconds(timed, repeats=1), seconds(visual, frozen, on_device, repeats=1))
            for _ in range(n)
        ]
        theirs, mine = np.median(np.array(pairs), axis=0)
        rate = {"images/s": len(images) / theirs, "ms/batch": 1e3 * theirs}
        ratio = {"JAX over torch": theirs / mine}
        rows.append(row | {"what": name} | rate | ratio)
    return rows


if __name__ == "__main__":
    print(f"on {machine()}")
    main()
