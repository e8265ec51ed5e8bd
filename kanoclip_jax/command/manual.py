"""What the command says of itself: ten lines, what people change, everything."""

import functools
import importlib.metadata
import platform
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

import kanoclip_jax
from kanoclip_jax.command.arguments import is_flag
from kanoclip_jax.command.configurations import names
from kanoclip_jax.command.described import settings
from kanoclip_jax.command.flags import HELP, OWN
from kanoclip_jax.command.options import MODES, OPTIONS, Option
from kanoclip_jax.command.overrides import keys
from kanoclip_jax.configs import base

_WIDTH, _COLUMN = 88, 26
_WELCOME = """\
Find anomalies in pictures: learn from one set with outlined defects, then score and
outline defects in things that were never trained on.

  {0} --config=demo                       all of it, on pictures of its own
  {0} predict PHOTOS --method=median      without training (fetches CLIP once)
  {0} train --data=DATA                   train on MVTec AD, DATA/mvtec
  {0} predict PHOTOS --checkpoint=runs/mvtec/checkpoints --class-name="metal nut"
  {0} eval FOLDER --checkpoint=runs/mvtec/checkpoints

{0} --help lists modes and what people change, --helpfull every setting."""
_EVERY = "every mode"


def asked_for(program: str, given: Sequence[str]) -> str | None:
    """The words that a command line asks for; None where it asks for work.

    Args:
        program: as it was called.
        given: its arguments.
    """
    if not given:
        return _WELCOME.format(called(program))
    before = list(given)[: given.index("--") if "--" in given else None]
    asked = {argument.lstrip("-") for argument in before if is_flag(argument)}
    if asked & {"version", "V"} or before == ["version"]:
        return version()
    if "helpfull" in asked:
        return everything()
    if asked & set(HELP) or before[:1] == ["help"]:
        named = {argument.removeprefix("--mode=") for argument in before} & set(MODES)
        return help_of(named.pop()) if len(named) == 1 else help_of()
    return None


def called(program: str) -> str:
    """What is typed to run the program, by the path that it was started by."""
    name = Path(program).name
    words = {
        "launch.py": "python launch.py",
        "__main__.py": f"python -m {kanoclip_jax.__name__}",
    }
    return words.get(name, "kanoclip")


def version() -> str:
    """The package's version, with what a report of a defect needs beside it."""
    try:
        jax = importlib.metadata.version("jax")
    except importlib.metadata.PackageNotFoundError:
        jax = "none"
    return (
        f"kanoclip-jax {kanoclip_jax.__version__} "
        f"(jax {jax}, Python {platform.python_version()})"
    )


def help_of(mode: str = "") -> str:
    """Modes, and what people change; of one mode what is its own."""
    head = (
        [f"kanoclip {MODES[mode].usage}: {MODES[mode].meaning}"] if mode else _modes()
    )
    lines = [*head, "", *_general()]
    config = base.get_config()
    section = ""
    for option in OPTIONS:
        if mode and option.modes and mode not in option.modes:
            continue
        title = mode if mode and option.modes else _section(option)
        if title != section:
            section = title
            lines += ["", f"{title}:"]
        lines.append(_line(option, config, mode))
    return "\n".join(
        [
            *lines,
            "",
            "Each is short for --config.SETTING=VALUE, and these may follow, too. Defaults are",
            "those of configs/base.py; a configuration, and a method's row, bring their own.",
            "kanoclip --helpfull lists everything.",
        ]
    )


def everything() -> str:
    """All flags and settings, with their defaults and meanings."""
    lines = [help_of(), "", "flags that are no settings:"]
    for flag in OWN:
        lines += _entry(f"--{flag.name}={flag.default}", flags.FLAGS[flag.name].help)
    lines += ["", "settings, of configs/base.py:"]
    for setting in settings():
        default = "" if setting.default is None else f"={setting.default}"
        lines += _entry(f"--config.{setting.key}{default}", setting.meaning)
    lines += ["", "Other methods have settings of their own: configs/methods.py"]
    return "\n".join(lines)


@functools.cache
def _switches() -> frozenset[str]:
    config = base.get_config()
    # Not by comparison: 0 and 1 are equal to them.
    return frozenset(
        key for key in keys(config) if isinstance(_default(config, key), bool)
    )


def is_switch(name: str) -> bool:
    """Whether a flag is a setting that is either on or off."""
    on = name.removeprefix("config.")
    return name.startswith("noconfig.") or (on != name and on in _switches())


def _modes() -> list[str]:
    lines = ["kanoclip MODE … [--FLAG=VALUE …]", "", "modes:"]
    return lines + [f"  {mode.usage:<20}{mode.meaning}" for mode in MODES.values()]


def _general() -> Iterator[str]:
    text = (
        f"a configuration, with :ROW or without: {', '.join(names())}, or a file; what "
        "was trained brings its own"
    )
    yield from _entry("--config=NAME", text)
    yield from _entry(
        "--workdir=DIR", "where results go: runs/ and what runs, at first"
    )


def _section(option: Option) -> str:
    return _EVERY if not option.modes or len(option.modes) > 4 else option.modes[0]


def _line(option: Option, config: ConfigDict, mode: str) -> str:
    default = _default(config, option.key)
    flag = f"--{option.word}" + ("" if default in ("", None) else f"={default}")
    also = "" if mode or _section(option) == _EVERY else ", ".join(option.modes[1:])
    meaning = f"{option.meaning} ({option.key}{'; also ' if also else ''}{also})"
    first, *rest = textwrap.wrap(meaning, _WIDTH - _COLUMN)
    lines = [f"  {flag}".ljust(_COLUMN) + first]
    if len(flag) > _COLUMN - 3:
        lines = [f"  {flag}", " " * _COLUMN + first]
    return "\n".join([*lines, *(" " * _COLUMN + line for line in rest)])


def _default(config: ConfigDict, key: str) -> object:
    section, _, name = key.rpartition(".")
    return (config[section] if section else config)[name]


def _entry(name: str, meaning: str) -> list[str]:
    """A flag, and what it means below it."""
    filled = textwrap.wrap(" ".join(meaning.split()), _WIDTH - 6)
    return [f"  {name}", *(f"      {line}" for line in filled)]
