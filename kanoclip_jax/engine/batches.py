"""What training reads: frozen features, cached or fresh, and labels, step by step."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from ml_collections import FrozenConfigDict

from data_pipelines.pipeline import train_stream
from data_pipelines.sources import Source
from kanoclip_jax.engine.feature_cache import FeatureCache, choose_cache
from kanoclip_jax.engine.programs import Programs
from kanoclip_jax.engine.remarks import Remarks
from kanoclip_jax.engine.sharding import Devices
from kanoclip_jax.engine.step import ahead
from kanoclip_jax.models.base import Method, Params, TrainBatch, Visual


def filled_cache(
    config: FrozenConfigDict,
    method: Method,
    source: Source,
    programs: Programs,
    frozen: Params,
    devices: Devices,
) -> FeatureCache | None:
    """The source's features on disk, all of them; None where they are not kept.

    Args:
        config: where they go, and how they are read.
        method: whose they are.
        source: the images.
        programs: with the frozen pass,
        frozen: the backbones' parameters on the devices
        devices: that share it.
    """
    if config.train.mosaic:
        print("mosaics are drawn anew in every epoch: features are not cached")
        return None
    cache = choose_cache(
        config.train.cache_features, Path(config.data.prepared), method, source
    )
    if cache is not None:
        cache.fill(
            source,
            programs.visual,
            frozen,
            devices,
            batch_size=config.train.batch_size,
            workers=config.data.workers,
        )
    return cache


def train_batches(
    config: FrozenConfigDict,
    method: Method,
    source: Source,
    cache: FeatureCache | None,
    programs: Programs,
    frozen: Params,
    devices: Devices,
    *,
    first: int,
) -> Iterator[tuple[Visual, TrainBatch]]:
    """Frozen features and labels, from step `first` on; see `filled_cache`."""
    stream = train_stream(
        source,
        image_size=method.image_size,
        batch_size=config.train.batch_size,
        epochs=config.train.epochs,
        seed=config.seed,
        workers=config.data.workers,
        with_images=cache is None,
        mosaic=config.train.mosaic,
        part=devices.part,
    )
    stream.set_state({"next_index": first})

    def read(batch: Mapping[str, np.ndarray]) -> Visual | np.ndarray:
        if cache is None:
            return batch["image"]
        # Padded rows point at image 0; they weigh nothing.
        return cache.read([source.key(int(i)) for i in batch["index"]])

    host = (
        (read(batch), TrainBatch(*(batch[name] for name in TrainBatch._fields)))
        for batch in Remarks(source.dataset).of(stream, source)
    )
    for features, batch in ahead(host, devices.put):
        if cache is None:
            features = programs.visual(frozen, features)
        yield features, batch
