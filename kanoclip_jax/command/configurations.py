"""Configurations by name, by file, and as a checkpoint recorded its own."""

import importlib.util
import pkgutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from kanoclip_jax import configs
from kanoclip_jax.command.arguments import nearest
from kanoclip_jax.configs import base
from kanoclip_jax.errors import InputError

# Of what a checkpoint recorded, what belongs to the machine, or to that one command.
_PASSING = ("rows", "row_settings", "seeds", "checkpoint_mvtec", "checkpoint_visa")
_PASSING_SECTIONS = ("calibrate", "export", "save", "watch")
_OF_THE_MACHINE = ("prepared", "workers")
# Of the section `knowledge`, what was trained with. The rest asks servers, with a key: a
# head that others made must not say which.
_OF_TRAINING = ("path", "weighting", "normalize_each")


def names() -> list[str]:
    """The packaged configurations; `methods` is a part of theirs."""
    found = [module.name for module in pkgutil.iter_modules(configs.__path__)]
    return [name for name in found if name != "methods"]


def find(given: str) -> tuple[Path, str | None]:
    """The file of a configuration, and the row that is asked for.

    Args:
        given: `NAME`, `configs/NAME.py` or any other file, with `:ROW` or without. A
            file that is there comes first.

    Raises:
        InputError: there is neither a file nor a configuration of that name.
    """
    place, colon, row = given.partition(":")
    file = Path(place).expanduser()
    name = file.name.removesuffix(".py")
    packaged = file.parent in (Path(), Path("configs")) and name in names()
    if not (file.suffix == ".py" and file.is_file()):
        if not packaged:
            raise InputError(
                f"--config={given} is neither a .py file nor a configuration's name."
                f"{nearest(name, names())} Allowed: {', '.join(names())}, each with "
                ":ROW or without, and files of your own"
            )
        file = Path(configs.__path__[0]) / f"{name}.py"
    return file, row if colon else None


def load(given: str) -> ConfigDict:
    """The settings of a configuration.

    Args:
        given: see `find`.

    Raises:
        InputError: there is none, its row is unknown, or the file is none.
    """
    file, row = find(given)
    try:
        spec = importlib.util.spec_from_file_location(f"{file.stem}_config", file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        config = module.get_config(*([] if row is None else [row]))
    except Exception as error:
        # A configuration is a program: it may raise anything.
        known = [*base.ROW_SETTINGS, "methods", "table"] if row else []
        hint = nearest(row or "", known)
        what = str(error.args[0]) if error.args else ""
        if not isinstance(error, (ValueError, InputError)):
            what = f"{type(error).__name__}: {what}"
        said = f"--config={given}: {what}"
        raise InputError(f"{said.rstrip('.')}.{hint}" if hint else said) from error
    if not isinstance(config, ConfigDict):
        raise InputError(
            f"--config={given}: its get_config() returns a {type(config).__name__}; a "
            "ConfigDict is expected, as base.get_config() makes it"
        )
    return config


def recorded(checkpoint: str, given: Collection[str] = ()) -> ConfigDict:
    """The settings that a checkpoint was trained with, for what is done with it now.

    Args:
        checkpoint: see `engine.restore.saved_settings`.
        given: the keys that the command line sets.

    Raises:
        InputError: there is none.
    """
    # Whoever asks for it waits for JAX anyway.
    from kanoclip_jax.engine.restore import saved_settings

    saved = saved_settings(checkpoint).to_dict()
    method = saved.get("method", "")
    # An authors' file says what it is when it is read.
    if not method:
        return base.get_config()
    config = base.get_config(method if method in base.ROW_SETTINGS else "")
    with config.unlocked(), config.ignore_type():
        if config.method != method:
            config.method, config.model = method, ConfigDict(_plain(saved["model"], {}))
        without = {
            "": {*_PASSING, *_PASSING_SECTIONS},
            "data": {*_OF_THE_MACHINE},
            # Thresholds belong to how pictures are cut.
            "predict": {*config.predict} - {"tiles"},
            "knowledge": {*config.knowledge} - {*_OF_TRAINING},
            # The recorded classes are those of the recorded datasets.
            "eval": {"classes"} if "eval.datasets" in given else set(),
        }
        _update(config, saved, without)
    return config


def _update(
    config: ConfigDict,
    saved: Mapping[str, Any],
    without: Mapping[str, Collection[str]],
    section: str = "",
) -> None:
    """Take what was recorded of the settings that there are, without some by section."""
    for key in config:
        if key in without.get(section, ()) or key not in saved:
            continue
        if isinstance(config[key], ConfigDict):
            if isinstance(saved[key], Mapping):
                _update(config[key], saved[key], without, key)
        else:
            config[key] = _plain({key: saved[key]}, config)[key]


def _plain(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Lists as the command line has them, but where the default is a tuple."""
    return {
        key: value
        if not isinstance(value, (list, tuple))
        else tuple(value)
        if isinstance(defaults.get(key), tuple)
        else ",".join(map(str, value))
        for key, value in values.items()
    }
