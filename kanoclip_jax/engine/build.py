"""From settings to things: the backbone, the method and the sources of a run."""

from pathlib import Path

import jax
import jax.numpy as jnp
from absl import logging
from ml_collections import FrozenConfigDict

from data_pipelines.sources import Source, open_source
from kanoclip_jax.clip import Clip, load_clip
from kanoclip_jax.engine.sharding import first_alone
from kanoclip_jax.errors import InputError
from kanoclip_jax.models import build_method
from kanoclip_jax.models.base import Method


def load_method(config: FrozenConfigDict) -> tuple[Clip, Method]:
    """The frozen backbone and the method around it."""
    dtype = config.clip.dtype
    if dtype == "auto":
        dtype = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    clip = load_clip(
        config.clip.name,
        config.clip.image_size,
        position_grid=config.clip.position_grid,
        dtype=jnp.dtype(dtype),
    )
    return clip, build_method(config.method, clip, config.model.to_dict())


def open_dataset(
    config: FrozenConfigDict, dataset: str, classes: tuple[str, ...]
) -> Source:
    """One dataset as the settings ask, with what was left out said aloud."""
    source = first_alone(
        f"open {dataset}",
        lambda: open_source(
            dataset,
            root=config.data.root,
            prepared=config.data.prepared,
            classes=classes,
            skip_bad_files=config.data.skip_bad_files,
            normal_folders=config.data.normal_folders,
        ),
    )
    if source.missing_classes:
        print(f"{dataset}: not in the folder: {', '.join(source.missing_classes)}")
    if source.skipped:
        print(f"{dataset}: skipped {len(source.skipped)} bad files:")
        for line in source.skipped:
            print(f"  {line}")
    if not len(source):
        raise InputError(f"{dataset} holds no images; see --config.data.root")
    logging.info(
        "%s: %d images of %d classes", dataset, len(source), len(source.classes)
    )
    return source


def refuse_training_dataset(config: FrozenConfigDict, trained_on: str) -> None:
    """Zero-shot means that the target was not trained on.

    Raises:
        InputError: an evaluation dataset is the training dataset, under any name.
    """
    if config.eval.allow_training_dataset or not trained_on:
        return
    place = _place(config, trained_on)
    for dataset in config.eval.datasets:
        if dataset == trained_on or _place(config, dataset) == place:
            raise InputError(
                f"{dataset} was trained on ({trained_on}), so evaluating on it is not "
                "zero-shot; name others with --config.eval.datasets, or pass "
                "--config.eval.allow_training_dataset=True"
            )


def class_names(source: Source) -> list[str]:
    """The classes' names in prompts, in the source's order."""
    return [source.prompt_names[name] for name in source.classes]


def _place(config: FrozenConfigDict, dataset: str) -> Path:
    if dataset.startswith("folder:"):
        return Path(dataset.removeprefix("folder:")).expanduser().resolve()
    return (Path(config.data.root).expanduser() / dataset).resolve()
