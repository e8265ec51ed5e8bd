"""Rows of a table: what each changes, from the command line or by its method's name."""

import ast
import re
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from kanoclip_jax.engine.dotted import flatten, put, split
from kanoclip_jax.errors import InputError
from kanoclip_jax.models import settings_of
from kanoclip_jax.models.settings import of_type

# What all rows of a table have in common.
_COMMON = (
    "row",
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


def replace_model(config: ConfigDict, model: Mapping[str, Any]) -> None:
    """Make `model` the section of another method: nothing of the old one stays."""
    with config.unlocked(), config.ignore_type():
        config.model = ConfigDict(
            {k: tuple(v) if isinstance(v, list) else v for k, v in model.items()}
        )


def by_hand(config: ConfigDict, overrides: frozenset[str]) -> dict[str, Any]:
    """What the command line sets of the `model` section."""
    return {k: v for k, v in config.model.items() if f"model.{k}" in overrides}


def take_recipe(config: ConfigDict, overrides: frozenset[str]) -> None:
    """Give a method that the command line names all that its row says of it.

    As if the configuration had been asked for with that row: the method's own section,
    epochs and rates, and how its tower is read. What was set by hand stays. A method
    without a row, of another package say, begins with its own defaults.

    Args:
        config: with the `method`, and maybe the `model` section of another one.
        overrides: dotted keys that the command line sets.
    """
    if "row" in config and "row" not in overrides:
        # That of another method is none of this one.
        config.row = ""
    row = config.row_settings.get(config.method, ConfigDict()).to_dict()
    if row.get("method") != config.method:
        if not set(config.model) <= settings_of(config.method):
            replace_model(config, by_hand(config, overrides))
        return
    replace_model(config, row.pop("model", {}) | by_hand(config, overrides))
    with config.ignore_type():
        for key, value in flatten(row).items():
            if key not in overrides:
                put(config, key, value)


def define_rows(config: ConfigDict) -> None:
    """Rows that the command line defines, as NAME:KEY=VALUE;KEY=VALUE, get settings.

    Raises:
        InputError: one that is written otherwise.
    """
    names: list[str] = []
    for entry in split(config.rows):
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
                    "expected, as in --config.rows='none,soft:model.sigma=8', and lists "
                    "in brackets: model.taps=[6,12]"
                )
            key = key.strip()
            value = _read_change(config, name, key, value.strip())
            _place(config.row_settings, [name, *key.split(".")], value)
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
    value = tuple(value) if isinstance(value, list) else value
    # The method itself says what its own settings may be.
    if section == "model":
        return value
    kind = type(own[name])
    return text if kind is str else of_type(f"row {row!r}: {key}", value, kind)


def _place(tree: ConfigDict, path: list[str], value: object) -> None:
    """Set a value in sections that may not be there yet."""
    *sections, key = path
    for section in sections:
        if section not in tree:
            with tree.unlocked():
                tree[section] = ConfigDict()
        tree = tree[section]
    with tree.unlocked(), tree.ignore_type():
        tree[key] = value
