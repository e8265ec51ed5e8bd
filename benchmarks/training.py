"""What training costs: an epoch with and without cached features, tower against head.

    python benchmarks/training.py                             procedural pictures
    python benchmarks/training.py --dataset=mvtec --root=DATA --clip=FOLDER --size=336
    python benchmarks/training.py --clip=vit-l/14 --size=518 --images=8 --batch-size=4

The first row is one epoch without a cache; then the cache is filled and 15 epochs are
trained on it. All steps take the same training as `launch.py`.
"""

import argparse
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
from common import VIT, get_clip, get_optimizer, seconds, show

from data_pipelines.pipeline import train_stream
from data_pipelines.sources import open_source
from kanoclip_jax.engine.feature_cache import FeatureCache
from kanoclip_jax.engine.settings import cache_directory
from kanoclip_jax.engine.sharding import Devices
from kanoclip_jax.engine.step import ahead, fresh_state, make_features, make_train_step
from kanoclip_jax.models.base import TrainBatch
from kanoclip_jax.models.kanoclip import Kanoclip


class FirstImages:
    """A source that ends early."""

    def __init__(self, source: object, chosen: np.ndarray) -> None:
        self._source, self._chosen = source, [int(i) for i in chosen]
        self.index = [source.index[i] for i in self._chosen]

    def __getattr__(self, name: str) -> object:
        return getattr(self.__dict__["_source"], name)

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, i: int) -> object:
        return self._source[self._chosen[i]]

    def mask(self, i: int) -> object:
        """The mask of image i."""
        return self._source.mask(self._chosen[i])

    def key(self, i: int) -> str:
        """The cache key of image i."""
        return self._source.key(self._chosen[i])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="textures_train")
    parser.add_argument("--root", default="")
    parser.add_argument("--prepared", default=str(cache_directory()))
    parser.add_argument("--clip", default="demo", help=f"a model, or {', '.join(VIT)}")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--output")
    given = parser.parse_args()
    clip = get_clip(given.clip, given.size)
    source = open_source(
        given.dataset, root=given.root, prepared=given.prepared, classes=()
    )
    chosen = np.linspace(0, len(source) - 1, min(given.images, len(source)))
    source = FirstImages(source, chosen.astype(int))
    method = Kanoclip(clip)
    devices = Devices(given.batch_size, "batch")
    frozen = devices.copy(method.frozen)
    optimizer = get_optimizer()
    step = make_train_step(method, optimizer, devices)
    visual = make_features(method, devices)
    names = [source.prompt_names[name] for name in source.classes]
    classes = method.learning_from(
        method.prompts(method.frozen, names),
        np.full((len(names), method.joint), method.joint**-0.5, np.float32),
    )
    state = fresh_state(method, optimizer, devices)

    def train(epochs: int, cache: FeatureCache | None) -> float:
        nonlocal state
        stream = train_stream(
            source,
            image_size=given.size,
            batch_size=given.batch_size,
            epochs=epochs,
            seed=0,
            workers=0,
            with_images=cache is None,
        )
        started = time.perf_counter()

        def host() -> object:
            for batch in stream:
                labels = TrainBatch(*(batch[name] for name in TrainBatch._fields))
                if cache is None:
                    yield batch["image"], labels
                else:
                    keys = [source.key(int(i)) for i in batch["index"]]
                    yield cache.read(keys), labels

        for features, labels in ahead(host(), devices.put):
            if cache is None:
                features = visual(frozen, features)
            state, _ = step(frozen, state, features, labels, classes)
        jax.block_until_ready(state)
        return time.perf_counter() - started

    # Compile first: a run of fifteen epochs on a whole dataset does not notice it.
    batch = next(
        train_stream(
            source,
            image_size=given.size,
            batch_size=given.batch_size,
            epochs=1,
            seed=0,
            workers=0,
        )
    )
    labels = devices.put(TrainBatch(*(batch[name] for name in TrainBatch._fields)))
    images = devices.put(batch["image"])
    features = visual(frozen, images)
    state, _ = step(frozen, state, features, labels, classes)
    tower = seconds(visual, frozen, images)
    started, repeats = time.perf_counter(), 3
    for _ in range(repeats):
        state, _ = step(frozen, state, features, labels, classes)
    jax.block_until_ready(state)
    head = (time.perf_counter() - started) / repeats

    uncached = train(1, None)
    with tempfile.TemporaryDirectory() as folder:
        cache = FeatureCache(Path(folder), method)
        started = time.perf_counter()
        cache.fill(
            source, visual, frozen, devices, batch_size=given.batch_size, workers=0
        )
        filling = time.perf_counter() - started
        epochs = train(given.epochs, cache)
    total = filling + epochs

    def row(what: str, wall: float) -> dict[str, object]:
        return {"what": what, "seconds": wall, "of an uncached epoch": wall / uncached}

    rows = [
        row("one epoch without a cache", uncached),
        row("filling the cache", filling),
        row("one epoch on it", epochs / given.epochs),
        row(f"filling, and {given.epochs} epochs", total),
        row(
            f"{given.epochs} epochs without, by the first row", given.epochs * uncached
        ),
    ]
    steps = {"ms/step: tower": 1e3 * tower, "head": 1e3 * head}
    show(
        f"Training, {clip.name} at {given.size} px, {len(source)} images",
        [rows[0] | steps, *rows[1:]],
        given.output,
    )


if __name__ == "__main__":
    main()
