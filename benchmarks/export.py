"""Latency of one picture in JAX, ONNX Runtime and OpenVINO, and how far they are apart.

    python benchmarks/export.py --clip=vit-l/14 --size=518
    python benchmarks/export.py --clip=CLIP --size=336 --pictures=photos/

The runtimes take turns, so that a change of the machine's load meets all of them. All
have the same work, so in float32 they should be as fast as their matrix products, which
differ little; bfloat16 has instructions of twice the rate (avx512_bf16), and of up to
sixteen times on Intel CPUs with AMX.
"""

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path

import jax
import numpy as np
from common import VIT, get_clip, show

from kanoclip_jax.engine.export.agreement import take_sample
from kanoclip_jax.engine.export.formats import (
    load_onnx,
    load_openvino,
    write_onnx,
    write_openvino,
)
from kanoclip_jax.engine.export.program import make_program
from kanoclip_jax.engine.sharding import Devices
from kanoclip_jax.engine.step import Inference
from kanoclip_jax.models.kanoclip import Kanoclip


def main() -> None:
    """Export, run in turns, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--clip", default="vit-s/14", help=f"of {', '.join(VIT)}, or a folder"
    )
    parser.add_argument("--size", type=int, default=336)
    parser.add_argument("--pictures", default="", help="textures where empty")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output")
    given = parser.parse_args()
    clip = get_clip(given.clip, given.size)
    method = Kanoclip(clip)
    params = jax.jit(method.init)(jax.random.key(0), method.frozen)
    inference = Inference(method, Devices(1, "batch", 1), params)
    program = make_program(method, params, inference, ["object"])
    sample = take_sample(inference, ["object"], given.pictures, given.size)

    def ours(image: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        batches = [{"image": image, "class_index": index}]
        ((_, found),) = inference.detections(["object"], batches)
        return np.stack([np.asarray(row) for row in found.maps]), found.score

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_onnx(program, folder, None)
        write_openvino(program, folder, None)
        runs = {"JAX, float32": ours}
        runs |= {"ONNX Runtime, float32": load_onnx(folder)}
        for precision in ("float32", "bfloat16"):
            load = partial(load_openvino, precision=precision)
            runs[f"OpenVINO, {precision}"] = load(folder)
        walls: dict[str, list[float]] = {name: [] for name in runs}
        apart = dict.fromkeys(runs, 0.0)
        for turn in range(given.repeats + 1):
            row = turn % len(sample.images)
            image = sample.images[row : row + 1]
            for name, run in runs.items():
                started = time.perf_counter()
                maps, _ = run(image, np.zeros(1, np.int32))
                # The first turn compiles.
                walls[name] += [time.perf_counter() - started] if turn else []
                difference = np.abs(maps[0] - sample.maps[row]).max()
                apart[name] = max(apart[name], float(difference))
    median = {name: float(np.median(times)) for name, times in walls.items()}
    rows = [
        {
            "runtime": name,
            "ms": 1e3 * median[name],
            "speed over JAX": median["JAX, float32"] / median[name],
            "largest difference of maps": apart[name],
        }
        for name in runs
    ]
    show(f"One picture, {given.clip}, {given.size} px", rows, given.output)


if __name__ == "__main__":
    main()
