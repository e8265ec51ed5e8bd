"""From settings to things: the backbone, the method and the sources of a run."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
from absl import logging
from ml_collections import FrozenConfigDict

from data_pipelines.checks import SAMPLE, examine
from data_pipelines.errors import AbsentError
from data_pipelines.names import printable
from data_pipelines.sources import (
    MaskSettings,
    Source,
    open_source,
    refuse_unknown_classes,
)
from kanoclip_jax.backbones import Clip, Dino, load_clip, load_dino
from kanoclip_jax.engine import forks
from kanoclip_jax.engine.settings import (
    datasets_of,
    folder_class_names,
    reading_of,
)
from kanoclip_jax.engine.sharding import first_alone, is_first
from kanoclip_jax.errors import InputError
from kanoclip_jax.models import build_method, method_class
from kanoclip_jax.models.base import Method

# The runs of a suite read one CLIP; two where a method reads it its own way.
_load_clip = functools.lru_cache(maxsize=2)(load_clip)
_load_dino = functools.lru_cache(maxsize=1)(load_dino)


class Targets(NamedTuple):
    """Evaluation datasets by their ids as given.

    Attributes:
        sources: those that are there.
        absent: why the others are not.
    """

    sources: dict[str, Source]
    absent: dict[str, str]


def load_method(config: FrozenConfigDict) -> Method:
    """The method around its frozen backbones; no other is read.

    Raises:
        InputError: this process was forked from one that had loaded a method.
    """
    forks.refuse()
    forks.watch()
    found = {
        field: _BACKBONES[field](config)
        for field in method_class(config.method).backbones
    }
    return build_method(config.method, config.model.to_dict(), **found)


def _clip(config: FrozenConfigDict) -> Clip:
    return _load_clip(
        config.clip.name,
        config.clip.image_size,
        position_grid=config.clip.position_grid,
        activation=config.clip.get("activation", ""),
        input_range=config.clip.get("input_range", "clip"),
        multiple=method_class(config.method).whole_patches,
        dtype=_dtype(config),
    )


def _guide(config: FrozenConfigDict) -> Dino:
    """It sees the pixels that CLIP sees."""
    return _load_dino(config.guide.name, config.clip.image_size, dtype=_dtype(config))


def _dtype(config: FrozenConfigDict) -> jnp.dtype:
    dtype = config.clip.dtype
    if dtype == "auto":
        dtype = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    return jnp.dtype(dtype)


# By the fields of methods that hold them.
_BACKBONES = {"clip": _clip, "guide": _guide}


def open_dataset(
    config: FrozenConfigDict,
    dataset: str,
    classes: tuple[str, ...],
    *,
    labelled: bool = True,
    most: int | None = SAMPLE,
) -> Source:
    """One dataset as the settings ask; how a folder was read is said once, in words.

    Args:
        config: where it is, and what of it counts.
        dataset: its id.
        classes: keep these only; all where empty.
        labelled: whether labels are needed; False also takes a flat folder.
        most: look at the values of so many pictures; None is all.
    """
    source = first_alone(
        f"open {dataset}",
        lambda: open_source(
            dataset,
            root=config.data.root,
            prepared=config.data.prepared,
            classes=classes,
            skip_bad_files=config.data.skip_bad_files,
            strict=config.data.strict,
            covid19_include=config.data.covid19_include,
            normal_folders=config.data.normal_folders,
            class_names=config.data.class_names,
            labelled=labelled,
            reading=reading_of(config),
            masks=MaskSettings(
                values=config.data.mask_values,
                orientation=config.data.mask_orientation,
            ),
            folder_class_names=folder_class_names(config),
        ),
    )
    if source.description and is_first():
        _say_once(dataset, source.description)
    if source.skipped:
        print(f"{dataset}: skipped {len(source.skipped)} bad files:")
        for line in source.skipped:
            print(f"  {line}")
    if not len(source):
        raise InputError(f"{dataset} holds no images; see --config.data.root")
    if is_first() and (said := examine(source, most)):
        print(said)
    logging.info(
        "%s: %d images of %d classes", dataset, len(source), len(source.classes)
    )
    return source


@functools.cache
def _say_once(dataset: str, description: tuple[str, ...]) -> None:
    """Print how a folder was read: the runs of a suite open it again and again."""
    print(f"{printable(dataset)} is read as")
    print("\n".join(f"  {line}" for line in description), flush=True)


def open_targets(config: FrozenConfigDict) -> Targets:
    """All evaluation datasets; catalogue datasets that are absent are left out, aloud.

    Raises:
        InputError: none is named, or one is no good.
        AbsentError: none is there.
    """
    if not config.eval.datasets:
        raise InputError(
            "eval.datasets is empty; name catalogue ids or folders, as in "
            "--config.eval.datasets=visa,folder:/my/pictures"
        )
    targets = Targets({}, {})
    for dataset in config.eval.datasets:
        try:
            source = open_dataset(config, dataset, config.eval.classes)
        except AbsentError as error:
            if len(targets.absent) + 1 == len(config.eval.datasets):
                raise
            targets.absent[dataset] = str(error)
        else:
            targets.sources[dataset] = source
    if targets.absent:
        print(
            f"not evaluated, for they are not there: {', '.join(targets.absent)} "
            "(--mode=prepare says where each comes from)"
        )
    return targets


def refuse_training_dataset(
    config: FrozenConfigDict, trained_on: str, targets: Sequence[str] | None = None
) -> None:
    """Zero-shot means that the target was not trained on.

    Args:
        config: where datasets lie, and whether it matters.
        trained_on: one dataset, or several with commas between.
        targets: what is evaluated on; `eval.datasets` where None.

    Raises:
        InputError: an evaluation dataset is a training dataset, under any name.
    """
    if config.eval.allow_training_dataset:
        return
    forbidden = {place(config, name): name for name in datasets_of(trained_on)}
    for dataset in config.eval.datasets if targets is None else targets:
        same = forbidden.get(place(config, dataset))
        if same:
            more = f" with others: {trained_on}" if same != trained_on else ""
            raise InputError(
                f"{dataset} was trained on ({same}{more}), so evaluating on it is not "
                "zero-shot; name others with --config.eval.datasets, or pass "
                "--config.eval.allow_training_dataset=True"
            )


def refuse_evaluation_dataset(config: FrozenConfigDict, datasets: str) -> None:
    """Knowledge comes from pictures and masks that are not evaluated on.

    Args:
        config: what is evaluated on, where datasets lie, and whether it matters.
        datasets: one dataset, or several with commas between.

    Raises:
        InputError: one is one of the evaluation datasets under any name, or one of the
            two lies in the other.
    """
    if config.knowledge.allow_evaluation_dataset:
        return
    for dataset in datasets_of(datasets):
        own = place(config, dataset)
        for target in config.eval.datasets:
            other = place(config, target)
            nested = own.is_relative_to(other) or other.is_relative_to(own)
            if dataset == target or own == other or (nested and other.exists()):
                raise InputError(
                    f"{dataset} is evaluated on (eval.datasets has {target}), so "
                    "knowledge from it is not zero-shot; name another "
                    "--config.knowledge.dataset, or pass "
                    "--config.knowledge.allow_evaluation_dataset=True"
                )


def refuse_unknown_names(config: FrozenConfigDict) -> None:
    """See that `data.folder_class_names` names classes of the folders that are used.

    A suite's runs use some of them each, so it is the whole that is asked.

    Raises:
        DataError: one is of none.
    """
    named = folder_class_names(config)
    if named:
        joined = (
            config.train.dataset,
            config.train.second_dataset,
            config.knowledge.dataset,
        )
        datasets = [name for one in joined for name in datasets_of(one)]
        datasets += config.eval.datasets
        refuse_unknown_classes(named, datasets, config.data.normal_folders)


def class_names(source: Source) -> list[str]:
    """The classes' names in prompts, in the source's order."""
    return [source.prompt_names[name] for name in source.classes]


def differences(source: Source) -> list[str]:
    """What a copy of a catalogue dataset lacks or has besides what is published."""
    missing = len(source.missing_classes)
    classes = missing + len(source.classes)
    lack = [f"{missing} of {classes} classes are not there"] if missing else []
    return [*lack, *source.differences]


def place(config: FrozenConfigDict, dataset: str) -> Path:
    """Where a dataset lies, whatever it is called."""
    if dataset.startswith("folder:"):
        return Path(dataset.removeprefix("folder:")).expanduser().resolve()
    return (Path(config.data.root).expanduser() / dataset).resolve()
