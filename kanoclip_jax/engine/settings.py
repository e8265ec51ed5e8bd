"""From flags to settings: lists split, defaults filled in, wrong values refused early."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ml_collections import ConfigDict, FrozenConfigDict

from data_pipelines.mask_values import CHOICES
from data_pipelines.pictures import MAX_PIXELS, Reading
from data_pipelines.pictures.reading import ORIENTATIONS
from kanoclip_jax.engine import compiled
from kanoclip_jax.engine.dotted import flatten, get, plain, put, split
from kanoclip_jax.engine.prediction.coco import KINDS
from kanoclip_jax.engine.prediction.own import read_own
from kanoclip_jax.engine.prediction.tiles import NEVER, read_setting
from kanoclip_jax.engine.rows import (
    by_hand,
    define_rows,
    replace_model,
    take_recipe,
)
from kanoclip_jax.errors import InputError
from kanoclip_jax.models import method_class, parse_settings
from kanoclip_jax.viz.scale import SCALES

_LISTS = (
    "rows",
    "data.normal_folders",
    "data.folder_class_names",
    "data.covid19_include",
    "train.classes",
    "eval.datasets",
    "eval.classes",
    "export.formats",
    "export.class_names",
)
# Datasets that are trained on as one: of a run's facts a single name, joined by commas.
_JOINS = ("train.dataset", "train.second_dataset", "knowledge.dataset")
_POSITIVE = (
    "seeds",
    "clip.image_size",
    "data.max_pixels",
    "train.epochs",
    "train.batch_size",
    "train.checkpoint_every",
    "train.log_every",
    "eval.batch_size",
    "predict.batch_size",
    "predict.min_area",
    "watch.settle",
    "watch.patience",
    "knowledge.n",
    "knowledge.image_size",
    "knowledge.concurrency",
    "knowledge.timeout",
    "knowledge.deadline",
)
_NOT_NEGATIVE = (
    "seed",
    "train.full_epochs",
    "train.learning_rate",
    "train.prompt_learning_rate",
    "train.weight_decay",
    "knowledge.retries",
    "predict.highest",
    "export.batch_size",
    "watch.limit",
)
_CHOICES = {
    "data.class_names": ("display", "raw"),
    "data.mask_values": CHOICES,
    "data.orientation": ORIENTATIONS,
    "data.mask_orientation": ("auto", *ORIENTATIONS),
    "clip.position_grid": ("bilinear", "bicubic", "bicubic_antialias"),
    "clip.activation": ("", "quick_gelu", "gelu"),
    "clip.input_range": ("clip", "unit"),
    "clip.dtype": ("auto", "float32", "bfloat16"),
    "knowledge.action": ("build", "inspect"),
    "knowledge.weighting": ("count", "balanced"),
    "knowledge.provider": ("bundled", "openai", "template"),
    "eval.resolution": ("model", "original"),
    "eval.scale": SCALES,
    "predict.scale": SCALES,
    "calibrate.criterion": ("rate", "f1"),
    "predict.coco": KINDS,
}
# What a checkpoint brings: its method, and the backbones that it was trained with.
_OF_A_METHOD = ("model.", "clip.", "guide.")
# Settings that are younger than some working directories, with what was done before.
_BEFORE = {
    "clip.activation": "",
    "clip.input_range": "clip",
    "data.class_names": "display",
    "data.folder_class_names": [],
    "data.mask_values": "auto",
    "data.mask_orientation": "auto",
    **Reading().identity(),
    "train.mosaic": 0.0,
    "train.weight_decay": 0.0,
}
# What a run may be continued with a different value of; with a dot, a whole section.
_IMMATERIAL = (
    "checkpoint",
    "checkpoint_mvtec",
    "checkpoint_visa",
    "row",
    "rows",
    "row_settings.",
    "seeds",
    "data.",
    "eval.scale",
    "predict.",
    "calibrate.",
    "export.",
    "save.",
    "watch.",
    "train.checkpoint_every",
    "train.log_every",
    "train.cache_features",
    "train.accumulate",
    "knowledge.",
)
_MATERIAL = (
    "data.class_names",
    "data.value_range",
    "data.mask_values",
    "data.orientation",
    "data.mask_orientation",
    "data.skip_bad_files",
    "data.normal_folders",
    "data.folder_class_names",
    "data.covid19_include",
    "knowledge.path",
    "knowledge.weighting",
    "knowledge.normalize_each",
)


def resolve(
    config: ConfigDict, overrides: frozenset[str] = frozenset()
) -> FrozenConfigDict:
    """A checked, immutable copy of a configuration.

    Args:
        config: as `configs/base.py` lays it out.
        overrides: dotted keys that the command line sets. Where `method` is one of
            them, its row's settings are taken; see `take_recipe`.

    Raises:
        InputError: a value that cannot be meant, naming key, value and what is allowed.
    """
    config = config.copy_and_resolve_references()
    if "method" in overrides:
        take_recipe(config, overrides)
    replace_model(config, parse_settings(config.method, config.model.to_dict()))
    define_rows(config)
    with config.ignore_type():
        for key in _LISTS:
            put(config, key, split(get(config, key)))
        for key in _JOINS:
            put(config, key, ",".join(_distinct(key, datasets_of(get(config, key)))))
        config.predict.tiles = read_tiles(config.predict.get("tiles", NEVER))
        if not config.data.prepared:
            config.data.prepared = str(cache_directory())
        config.data.value_range = reading_of(config).value_range
        if config.data.workers < 0:
            cores = os.cpu_count() or 1
            config.data.workers = 0 if cores <= 4 else cores // 2
    for key in _POSITIVE:
        # So written, no number is none of these.
        if not get(config, key) > 0:
            raise InputError(
                f"{key} is {get(config, key)}; it must be positive, as in "
                f"--config.{key}=8"
            )
    for key in _CHOICES:
        check_choice(key, get(config, key))
    pieces = config.train.accumulate
    if pieces != "auto" and not (pieces.isdecimal() and int(pieces) > 0):
        raise InputError(
            f"train.accumulate is {pieces!r}; allowed: auto, or a positive number"
        )
    for row in config.rows:
        if row not in config.row_settings and row != config.method:
            allowed = ", ".join([config.method, *config.row_settings])
            raise InputError(f"row {row!r} is unknown; allowed: {allowed}")
    if not 0 < config.calibrate.target_rate < 1:
        raise InputError(
            f"calibrate.target_rate is {config.calibrate.target_rate}; a share between "
            "0 and 1 is expected, as in --config.calibrate.target_rate=0.01"
        )
    for key in _NOT_NEGATIVE:
        if not get(config, key) >= 0:
            raise InputError(f"{key} is {get(config, key)}; it must not be negative")
    betas = config.train.adam_betas
    numbers = all(isinstance(beta, (int, float)) and 0 <= beta < 1 for beta in betas)
    if len(betas) != 2 or not numbers:
        raise InputError(
            f"train.adam_betas is {betas}; a pair of numbers from 0 to below 1 is "
            "expected, as in --config.train.adam_betas=0.5,0.999"
        )
    read_own(config)
    _check_url(config.knowledge.base_url)
    folder_class_names(config)
    return FrozenConfigDict(config)


def reading_of(config: Mapping[str, Any]) -> Reading:
    """How pictures are read, of a configuration that may be an older one.

    Raises:
        DataError: a value range that is none.
    """
    data = config.get("data", {})
    return Reading(
        value_range=data.get("value_range", Reading().value_range),
        max_pixels=data.get("max_pixels", MAX_PIXELS),
        orientation=data.get("orientation", Reading().orientation),
    )


def folder_class_names(config: Mapping[str, Any]) -> dict[str, str]:
    """What prompts call classes of folders, as `data.folder_class_names` says.

    Raises:
        InputError: an entry is not written as CLASS=WORDS, or names a class twice.
    """
    found: dict[str, str] = {}
    for entry in config["data"].get("folder_class_names", ()):
        name, equals, words = (part.strip() for part in entry.partition("="))
        if not (name and equals and words) or name in found:
            raise InputError(
                f"data.folder_class_names has {entry!r}; each class once as CLASS=WORDS "
                "is allowed, as in --config.data.folder_class_names="
                "'pcb_01=printed circuit board,pcb_02=motor driver'"
            )
        found[name] = words
    return found


def is_suite(config: Mapping[str, Any]) -> bool:
    """Whether a configuration, maybe an older one, asks for several runs."""
    return bool(config.get("rows")) or config.get("seeds", 1) > 1


def check_choice(key: str, value: object) -> None:
    """Refuse what is none of a setting's few values.

    Raises:
        InputError: names them.
    """
    if value not in _CHOICES[key]:
        raise InputError(f"{key} is {value!r}; allowed: {', '.join(_CHOICES[key])}")


def read_tiles(given: str | int) -> str:
    """`predict.tiles` as it is kept.

    Raises:
        InputError: it is none of what is allowed.
    """
    try:
        return read_setting(given)
    except ValueError as error:
        raise InputError(str(error)) from None


def datasets_of(joined: str) -> tuple[str, ...]:
    """The datasets that are trained on as one, as `train.dataset` names them."""
    return split(joined)


def use_compilation_cache(config: FrozenConfigDict) -> None:
    """Keep compiled programs beside the prepared data; see `compiled.keep`."""
    compiled.keep(programs_in(config.data.prepared))


def programs_in(prepared: str | Path) -> Path:
    """Where compiled programs lie beside prepared data."""
    return Path(prepared) / "compiled"


def cache_directory() -> Path:
    """The user's cache directory for this project (XDG)."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "kanoclip"


def adopt(
    config: FrozenConfigDict, saved: dict, overrides: frozenset[str]
) -> FrozenConfigDict:
    """The settings with a checkpoint's own method and backbone.

    The `model` section of a checkpoint of another method takes the place of ours, where
    the command line does not name a method.

    Args:
        config: the command's resolved settings.
        saved: the checkpoint's.
        overrides: dotted keys that the command line sets; these win.
    """
    merged = ConfigDict(config.to_dict())
    adopted = []
    if config.method != saved["method"]:
        if "method" in overrides:
            saved = {key: value for key, value in saved.items() if key != "model"}
        else:
            replace_model(merged, by_hand(merged, overrides))
    mine, theirs = flatten(plain(merged.to_dict())), flatten(saved)
    with merged.ignore_type(), merged.unlocked():
        for key in sorted(theirs):
            belongs = key == "method" or key.startswith(_OF_A_METHOD)
            if not belongs or key in overrides or mine.get(key) == theirs[key]:
                continue
            value = theirs[key]
            put(merged, key, tuple(value) if isinstance(value, list) else value)
            adopted.append(f"{key}={value}")
    if adopted:
        print(f"settings taken from the checkpoint: {', '.join(adopted)}")
    return FrozenConfigDict(merged)


def differing_keys(old: dict, new: dict) -> list[str]:
    """Dotted keys that matter to a result and differ between two resolved configs."""
    unused = _unused_backbones(old) & _unused_backbones(new)
    old, new = _BEFORE | flatten(old), _BEFORE | flatten(new)
    return [
        key
        for key in sorted(old.keys() | new.keys())
        if _is_material(key) and old.get(key) != new.get(key)
        if key.partition(".")[0] not in unused
    ]


def _unused_backbones(config: dict) -> set[str]:
    """Sections of backbones that no row of a configuration reads."""
    rows = config.get("row_settings", {})
    changes = [rows.get(row, {}) for row in config.get("rows", ())]
    names = {config["method"], *(change.get("method") for change in changes)} - {None}
    read = {field for name in names for field in method_class(name).backbones}
    return {"clip", "guide"} - read


def to_dict(config: FrozenConfigDict) -> dict:
    """Plain JSON types, for `config.json` and checkpoints."""
    return plain(config.to_dict())


def _is_material(key: str) -> bool:
    section = f"{key.partition('.')[0]}."
    return key in _MATERIAL or not {key, section} & set(_IMMATERIAL)


def _distinct(key: str, datasets: tuple[str, ...]) -> tuple[str, ...]:
    for dataset in datasets:
        if datasets.count(dataset) > 1:
            raise InputError(
                f"{key} names {dataset} {datasets.count(dataset)} times; allowed is "
                "once: its pictures come once in an epoch"
            )
    return datasets


def _check_url(url: str) -> None:
    """Only an address: what else a URL may hold is where secrets are put."""
    bare = not set(url) & set("@?#")
    try:
        parts = urlsplit(url)
        if bare and parts.scheme in ("http", "https") and parts.hostname:
            parts.port  # noqa: B018
            return
    except ValueError:
        pass
    shown = f"is {url!r}" if bare else "holds more than an address (it is not shown)"
    raise InputError(
        f"knowledge.base_url {shown}; allowed is http(s)://HOST[:PORT]/PATH, and keys "
        "belong in the environment variable OPENAI_API_KEY"
    )
