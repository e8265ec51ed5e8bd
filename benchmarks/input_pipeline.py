"""Images per second of reading: decoding, resizing, and the way to the device.

python benchmarks/input_pipeline.py                       procedural pictures
python benchmarks/input_pipeline.py --dataset=mvtec --root=DATA --size=518
"""

import argparse
import time

import jax
import numpy as np
from common import seconds, show

from data_pipelines.masks import decode_mask, label_regions
from data_pipelines.pipeline import eval_stream
from data_pipelines.sources import open_source
from data_pipelines.transforms import decode_image
from kanoclip_jax.engine.settings import cache_directory


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="textures_eval")
    parser.add_argument("--root", default="")
    parser.add_argument("--prepared", default=str(cache_directory()))
    parser.add_argument("--size", type=int, default=336)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output")
    given = parser.parse_args()
    source = open_source(
        given.dataset, root=given.root, prepared=given.prepared, classes=()
    )
    chosen = np.linspace(0, len(source) - 1, min(given.images, len(source))).astype(int)
    rows = []

    def add(what: str, images: int, wall: float, workers: int | str = "") -> None:
        row = {"step": what, "workers": workers, "images/s": images / wall}
        rows.append(row | {"ms/image": 1e3 * wall / images})

    records = [source[int(i)] for i in chosen[:32]]
    paths = [source.index[int(i)].path for i in chosen[:32]]

    def decode() -> None:
        for record, path in zip(records, paths, strict=True):
            decode_image(record["image"], path, given.size)

    def masks() -> None:
        for record, path in zip(records, paths, strict=True):
            mask = decode_mask(
                record["mask"], path, given.size, source.file_rule(0).mask
            )
            label_regions(mask)

    add("decode and resize, one thread", len(records), seconds(decode))
    add("mask and its regions, one thread", len(records), seconds(masks))
    for workers in given.workers:
        stream = eval_stream(
            source,
            image_size=given.size,
            batch_size=given.batch_size,
            workers=workers,
            indices=chosen.tolist(),
        )
        next(stream)  # processes have started
        started, count = time.perf_counter(), 0
        for batch in stream:
            count += int(batch["is_real"].sum())
        add("the whole stream", count, time.perf_counter() - started, workers)
        stream.close()
    batch = np.zeros((given.batch_size, given.size, given.size, 3), np.uint8)
    add("to the device", given.batch_size, seconds(jax.device_put, batch, repeats=20))
    show(f"Input pipeline, {given.dataset} at {given.size} px", rows, given.output)


if __name__ == "__main__":
    main()
