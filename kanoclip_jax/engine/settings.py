"""From flags to settings: lists split, defaults filled in, wrong values refused early."""

import ast
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jax
from ml_collections import ConfigDict, FrozenConfigDict

from kanoclip_jax.errors import InputError

_LISTS = (
    "rows",
    "data.normal_folders",
    "data.covid19_include",
    "train.classes",
    "eval.datasets",
    "eval.classes",
    "export.formats",
    "export.class_names",
)
_POSITIVE = (
    "seeds",
    "clip.image_size",
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
)
_NOT_NEGATIVE = (
    "seed",
    "train.full_epochs",
    "knowledge.retries",
    "predict.highest",
    "export.batch_size",
    "watch.limit",
)
_CHOICES = {
    "data.class_names": ("display", "raw"),
    "clip.position_grid": ("bilinear", "bicubic", "bicubic_antialias"),
    "clip.activation": ("", "quick_gelu", "gelu"),
    "clip.dtype": ("auto", "float32", "bfloat16"),
    "knowledge.action": ("build", "inspect"),
    "knowledge.weighting": ("count", "balanced"),
    "knowledge.provider": ("bundled", "openai", "template"),
    "eval.resolution": ("model", "original"),
    "calibrate.criterion": ("rate", "f1"),
}
# What all rows of a table have in common.
_COMMON = (
    "rows",
    "seed",
    "seeds",
    "checkpoint",
    "checkpoint_mvtec",
    "checkpoint_visa",
    "train.dataset",
    "train.second_dataset",
    "eval.datasets",
)
# What a checkpoint brings: its method, and the backbones that it was trained with.
_OF_A_METHOD = ("model.", "clip.", "guide.")
# A large backbone's programs are some 10 MB each.
_COMPILED_BYTES = 2 * 2**30
# What a run may be continued with a different value of; with a dot, a whole section.
_IMMATERIAL = (
    "checkpoint",
    "checkpoint_mvtec",
    "checkpoint_visa",
    "rows",
    "row_settings.",
    "seeds",
    "data.",
    "predict.",
    "calibrate.",
    "export.",
    "watch.",
    "train.checkpoint_every",
    "train.log_every",
    "train.cache_features",
    "train.accumulate",
    "knowledge.",
)
_MATERIAL = (
    "data.class_names",
    "data.skip_bad_files",
    "data.normal_folders",
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
            them, `model` is still another method's section: what of it was set by hand
            is handed on, and nothing else.

    Raises:
        InputError: a value that cannot be meant, naming key, value and what is allowed.
    """
    config = config.copy_and_resolve_references()
    if "method" in overrides and not _fits(config):
        replace_model(config, _by_hand(config, overrides))
    replace_model(config, _parsed(config))
    _define_rows(config)
    with config.ignore_type():
        for key in _LISTS:
            _set(config, key, _split(_get(config, key)))
        if not config.data.prepared:
            config.data.prepared = str(cache_directory())
        if config.data.workers < 0:
            cores = os.cpu_count() or 1
            config.data.workers = 0 if cores <= 4 else cores // 2
    for key in _POSITIVE:
        if _get(config, key) <= 0:
            raise InputError(
                f"{key} is {_get(config, key)}; it must be positive, as in "
                f"--config.{key}=8"
            )
    for key in _CHOICES:
        check_choice(key, _get(config, key))
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
        if _get(config, key) < 0:
            raise InputError(f"{key} is {_get(config, key)}; it must not be negative")
    _check_url(config.knowledge.base_url)
    return FrozenConfigDict(config)


def replace_model(config: ConfigDict, model: Mapping[str, Any]) -> None:
    """Make `model` the section of another method: nothing of the old one stays."""
    with config.unlocked(), config.ignore_type():
        config.model = ConfigDict(
            {k: tuple(v) if isinstance(v, list) else v for k, v in model.items()}
        )


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


def use_compilation_cache(config: FrozenConfigDict) -> None:
    """Keep compiled programs beside the prepared data, unless JAX was told a place.

    All of them: the many small ones take a GPU longer together than the large ones.
    Those that were used least recently go when there are too many.
    """
    if jax.config.jax_compilation_cache_dir is not None:
        return
    # Absolute, since JAX makes the place a part of every program's key.
    folder = (Path(config.data.prepared).expanduser() / "compiled").absolute()
    _forget_half_written(folder)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", _COMPILED_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


def _forget_half_written(folder: Path) -> None:
    """Remove programs without a time of use, over which JAX's cleaning would stumble.

    A killed process leaves them, and a cache that had no limit.
    """
    for program in folder.glob("*-cache"):
        if not program.with_name(f"{program.name.removesuffix('cache')}atime").exists():
            program.unlink(missing_ok=True)


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
            replace_model(merged, _by_hand(merged, overrides))
    mine, theirs = _flatten(_plain(merged.to_dict())), _flatten(saved)
    with merged.ignore_type(), merged.unlocked():
        for key in sorted(theirs):
            belongs = key == "method" or key.startswith(_OF_A_METHOD)
            if not belongs or key in overrides or mine.get(key) == theirs[key]:
                continue
            value = theirs[key]
            _set(merged, key, tuple(value) if isinstance(value, list) else value)
            adopted.append(f"{key}={value}")
    if adopted:
        print(f"settings taken from the checkpoint: {', '.join(adopted)}")
    return FrozenConfigDict(merged)


def differing_keys(old: dict, new: dict) -> list[str]:
    """Dotted keys that matter to a result and differ between two resolved configs."""
    unused = _unused_backbones(old) & _unused_backbones(new)
    old, new = _flatten(old), _flatten(new)
    return [
        key
        for key in sorted(old.keys() | new.keys())
        if _is_material(key) and old.get(key) != new.get(key)
        if key.partition(".")[0] not in unused
    ]


def _unused_backbones(config: dict) -> set[str]:
    """Sections of backbones that no row of a configuration reads."""
    from kanoclip_jax.models import method_class

    rows = config.get("row_settings", {})
    changes = [rows.get(row, {}) for row in config.get("rows", ())]
    names = {config["method"], *(change.get("method") for change in changes)} - {None}
    read = {field for name in names for field in method_class(name).backbones}
    return {"clip", "guide"} - read


def to_dict(config: FrozenConfigDict) -> dict:
    """Plain JSON types, for `config.json` and checkpoints."""
    return _plain(config.to_dict())


def _is_material(key: str) -> bool:
    section = f"{key.partition('.')[0]}."
    return key in _MATERIAL or not {key, section} & set(_IMMATERIAL)


def _split(value: object) -> tuple[str, ...]:
    # A comma-separated string: config_flags would take `folder:A,B` for bad Python.
    parts = value.split(",") if isinstance(value, str) else value
    return tuple(part.strip() for part in parts if part.strip())


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


def _get(config: ConfigDict, key: str) -> object:
    section, _, name = key.rpartition(".")
    return (config[section] if section else config)[name]


def _fits(config: ConfigDict) -> bool:
    """Whether the `model` section is one of the configured method."""
    # Imported here, since most commands need not wait for the methods.
    from kanoclip_jax.models import settings_of

    return set(config.model) <= settings_of(config.method)


def _define_rows(config: ConfigDict) -> None:
    """Rows that the command line defines, as NAME:KEY=VALUE;KEY=VALUE, get settings.

    Raises:
        InputError: one that is written otherwise.
    """
    names: list[str] = []
    for entry in _split(config.rows):
        name, colon, changes = entry.partition(":")
        if name in names or (colon and not re.fullmatch(r"[\w-]+", name)):
            raise InputError(
                f"row {entry!r} needs a name of its own, of letters, digits, - and _"
            )
        names.append(name)
        for change in filter(None, changes.split(";")):
            key, equals, value = change.partition("=")
            if not (name and equals and key.strip()):
                raise InputError(
                    f"row {entry!r} is not understood; a name, or NAME:KEY=VALUE;… is "
                    "expected, as in --config.rows='none,soft:model.sigma=8'"
                )
            key = key.strip()
            value = _read_change(config, name, key, value.strip())
            _put(config.row_settings, [name, *key.split(".")], value)
    with config.ignore_type():
        config.rows = tuple(names)


def _read_change(config: ConfigDict, row: str, key: str, text: str) -> Any:
    """A row's value, of the type of the setting that it changes.

    Raises:
        InputError: no such setting, one that all rows have in common, or another type.
    """
    section, _, name = key.rpartition(".")
    own = config.get(section) if section else config
    known = isinstance(own, ConfigDict) and (section == "model" or name in own)
    if not known or key in _COMMON or isinstance(own.get(name), ConfigDict):
        raise InputError(
            f"row {row!r} changes {key}, which is no setting of a row; allowed: method, "
            "and the keys of model, clip, train, eval and data, but for "
            f"{', '.join(_COMMON)}"
        )
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    # The method itself says what its own settings may be.
    if section == "model":
        return value
    kind = type(own[name])
    if kind is str:
        return text
    wanted = (int, float) if kind is float else kind
    if not isinstance(value, wanted) or (isinstance(value, bool) and kind is not bool):
        raise InputError(
            f"row {row!r}: {key} is {text!r}; a value of type {kind.__name__} is "
            "expected"
        )
    return kind(value)


def _put(tree: ConfigDict, path: list[str], value: object) -> None:
    *sections, key = path
    for section in sections:
        if section not in tree:
            with tree.unlocked():
                tree[section] = ConfigDict()
        tree = tree[section]
    with tree.unlocked(), tree.ignore_type():
        tree[key] = value


def _parsed(config: ConfigDict) -> dict[str, Any]:
    """The `model` section, read as its method's settings."""
    from kanoclip_jax.models import parse_settings

    return parse_settings(config.method, config.model.to_dict())


def _by_hand(config: ConfigDict, overrides: frozenset[str]) -> dict[str, Any]:
    """What the command line sets of the `model` section."""
    return {k: v for k, v in config.model.items() if f"model.{k}" in overrides}


def _set(config: ConfigDict, key: str, value: object) -> None:
    section, _, name = key.rpartition(".")
    (config[section] if section else config)[name] = value


def _flatten(tree: dict, prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value
