"""Nested settings by dotted keys, as the command line and reports name them."""

import re
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict


def get(config: ConfigDict, key: str) -> Any:
    """The value of a key, with its section where it has one."""
    section, _, name = key.rpartition(".")
    return (config[section] if section else config)[name]


def put(config: ConfigDict, key: str, value: object) -> None:
    """Set a key that is there."""
    section, _, name = key.rpartition(".")
    (config[section] if section else config)[name] = value


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Every value of nested dicts by its dotted key."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def plain(value: object) -> Any:
    """The same in JSON's types."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    return value


def split(value: object) -> tuple[str, ...]:
    """A list as the command line has it: config_flags would take `folder:A,B` for Python.

    Commas in square brackets part nothing.
    """
    parts = re.split(r",(?![^\[\]]*\])", value) if isinstance(value, str) else value
    return tuple(part.strip() for part in parts if part.strip())
