"""Settings of the command line: each must be there, and be of its type."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from kanoclip_jax.command.arguments import Flag, nearest
from kanoclip_jax.errors import InputError

_NAME = "config"
_WORDS = {int: "a whole number", float: "a number", bool: "true or false"}


def override(config: ConfigDict, given: Sequence[Flag]) -> frozenset[str]:
    """Set what the command line sets, in place, and lock the configuration.

    Args:
        config: the settings.
        given: flags called `config.KEY`, or `noconfig.KEY` for a switch.

    Returns:
        The keys.

    Raises:
        InputError: a key that is not there, or a value of another type.
    """
    for flag in given:
        _check(config, flag)
    values = flags.FlagValues()
    argv = ["kanoclip", *map(str, given)]
    try:
        config_flags.DEFINE_config_dict(
            _NAME, config, flag_values=values, sys_argv=argv, lock_config=True
        )
        values(argv)
    # The latter of a key that ends in an index, where there is none such.
    except (flags.Error, IndexError) as error:
        raise InputError(_said(config, str(error))) from error
    return frozenset(config_flags.get_override_values(values[_NAME]))


def keys(config: Mapping[str, Any], prefix: str = "") -> Iterable[str]:
    """Every setting by its dotted key; those of rows are rows' own."""
    for name, value in config.items():
        if isinstance(value, Mapping | ConfigDict):
            if name != "row_settings":
                yield from keys(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _check(config: ConfigDict, flag: Flag) -> None:
    key = flag.name.partition(".")[2]
    if _value(config, key) is not None:
        return
    written = f"--{flag.name.removeprefix('no')}"
    if "thresh" in key:
        raise InputError(
            f"{written} is no setting; predict.threshold and predict.pixel_threshold "
            "are, and an evaluation needs none: its figures are over all thresholds"
        )
    known = list(keys(config))
    hint = nearest(key, known, "--config.{}")
    # The right name, in no section or another one.
    same = [
        other for other in known if other.rpartition(".")[2] == key.rpartition(".")[2]
    ]
    if not hint and same:
        hint = f" Did you mean --config.{same[0]}?"
    raise InputError(
        f"{written} is no setting of this configuration.{hint} `kanoclip --helpfull` "
        "lists them all, and another method's come with its row: --config=NAME:METHOD"
    )


def _value(config: ConfigDict, key: str) -> object:
    """The value of a dotted key, which may end in an index; None where there is none."""
    value: object = config
    for part in key.split("."):
        name = part.partition("[")[0]
        if not isinstance(value, ConfigDict) or name not in value:
            return None
        value = value[name]
    return value


def _said(config: ConfigDict, message: str) -> str:
    """What absl says of a value, in the words of who gave it."""
    found = re.match(r"flag --(?:no)?config\.([\w.]+)=(.*?): ", message, re.DOTALL)
    missing = re.fullmatch(r"Missing value for flag --config\.(\S+)", message)
    if not (found or missing):
        return " ".join(message.split())
    key = (found or missing)[1]
    value = _value(config, key)
    said = f"--config.{key}={found[2]}" if found else f"--config.{key} lacks its value"
    if isinstance(value, ConfigDict):
        return f"{said}: {key} is a section; set one of {', '.join(sorted(value))}"
    kind = _WORDS.get(type(value), "a value")
    example = "" if value in ("", None) else f", as in --config.{key}={value}"
    return f"{said}: {kind} is expected{example}"
