"""Pixels per second of the metrics, against scikit-learn and a sort of all scores.

python benchmarks/metrics.py                      a small set
python benchmarks/metrics.py --maps=1725 --size=518   a whole dataset
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np
from common import host_memory, show
from scipy import ndimage
from sklearn.metrics import average_precision_score, roc_auc_score

from data_pipelines.masks import label_regions
from kanoclip_jax.metrics.batch import MapBatch
from kanoclip_jax.metrics.report import ClassMetrics


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--maps", type=int, default=64)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--classes", type=int, default=15)
    parser.add_argument("--output")
    given = parser.parse_args()
    draw = np.random.default_rng(0)
    # A few different maps again and again: what is measured does not depend on them.
    noise = ndimage.gaussian_filter(
        draw.standard_normal((8, given.size, given.size)), (0, 4, 4)
    )
    scores = 1 / (1 + np.exp(-4 * noise / noise.std())).astype(np.float32)
    masks = (noise > np.quantile(noise, 0.98)).astype(np.uint8)
    masks[::2] = 0
    regions = np.stack([label_regions(mask) for mask in masks])
    region_count = regions.max((1, 2))
    maps = jnp.asarray(scores)
    lowest, highest = scores.min((1, 2)), scores.max((1, 2))
    rows = []

    def measure(name: str, pixels: int, action: object) -> None:
        cpu, wall = time.process_time(), time.perf_counter()
        action()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        rates = {"Mpixel/s": pixels / wall / 1e6, "ns CPU/pixel": cpu / pixels * 1e9}
        rows.append(
            {"metrics": name, "maps": pixels // given.size**2, "CPU s": cpu}
            | {"wall s": wall}
            | rates
            | {"peak GB": host_memory() / 2**30}
        )

    def ours(count: int) -> None:
        states = [ClassMetrics(has_masks=True) for _ in range(given.classes)]
        for start in range(0, count, 8):
            # As an evaluation does: a new batch, whose regions have to be sent.
            batch = MapBatch([maps], regions, region_count, lowest, highest)
            chosen = np.arange(min(8, count - start))
            states[start // 8 % given.classes].update_rows(
                draw.random(chosen.size), chosen % 2, batch, chosen
            )
        for state in states:
            state.compute()

    ours(16 * given.classes)
    quarter = max(given.maps // 4, 8 * given.classes)
    measure("all, a quarter", quarter * given.size**2, lambda: ours(quarter))
    measure("all of this project", given.maps * given.size**2, lambda: ours(given.maps))
    few = min(given.maps, 16)
    flat = np.concatenate([scores.ravel()] * (few // 8 or 1)).astype(np.float32)
    truth = np.concatenate([masks.ravel()] * (few // 8 or 1))
    measure("scikit-learn AUROC", flat.size, lambda: roc_auc_score(truth, flat))
    measure("scikit-learn AP", flat.size, lambda: average_precision_score(truth, flat))
    measure("a sort alone", flat.size, lambda: np.argsort(flat, kind="stable"))
    show("Metrics", rows, given.output)
    print(f"jax devices: {jax.local_device_count()}")


if __name__ == "__main__":
    main()
