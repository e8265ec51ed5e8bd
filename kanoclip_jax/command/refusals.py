"""Errors of a command in a line."""

import sys
import traceback
from collections.abc import Callable

from absl import flags

from kanoclip_jax.command.arguments import Arguments, nearest
from kanoclip_jax.command.flags import HELP
from kanoclip_jax.command.options import MODES, OPTIONS
from kanoclip_jax.command.overrides import keys
from kanoclip_jax.configs import base
from kanoclip_jax.errors import InputError


def refuse(error: Exception, *, debug: bool) -> int:
    """Say what is wrong, in one line on stderr; returns the exit status."""
    if debug:
        traceback.print_exception(error)
    message = " ".join(str(error).split())
    print(f"error: {message or type(error).__name__}", file=sys.stderr)
    return 2


def refuse_flags(arguments: Arguments, is_switch: Callable[[str], bool]) -> None:
    """Refuse what no flag is called, before what it was meant to say is missed.

    Settings and absl's own flags are checked by who reads them.

    Args:
        arguments: the command line's.
        is_switch: whether a flag of that name takes no value.

    Raises:
        InputError: there is no such flag, or it lacks its value.
    """
    meanings = {option.word: option.meaning for option in OPTIONS}
    meanings["config"] = "a configuration's name, or a file"
    # absl passes over flags that it is told to.
    lenient = any(flag.name == "undefok" for flag in arguments.flags)
    for name, value in arguments.flags:
        if name.startswith(("config.", "noconfig.")) or is_switch(name):
            continue
        meaning = meanings.get(name.replace("_", "-"))
        if meaning is None and name in flags.FLAGS:
            meaning = flags.FLAGS[name].help
        if meaning is None and not lenient:
            raise InputError(said_of_flag(name, "".join(arguments.words[:1])))
        if meaning is not None and value is None:
            dashes = "--" if len(name) > 1 else "-"
            raise InputError(f"{dashes}{name} lacks its value: {meaning}")


def said_of_flag(name: str, mode: str) -> str:
    """What to say of a flag that nobody knows.

    Args:
        name: the flag's, without dashes.
        mode: that is asked for, or nothing.
    """
    mode = mode if mode in MODES else ""
    own = [o.word for o in OPTIONS if not (mode and o.modes) or mode in o.modes]
    settings = [f"config.{key}" for key in keys(base.get_config())]
    # What was meant as a setting may lack only its beginning.
    hint = (
        nearest(f"config.{name}", settings, "--{}")
        if "." in name
        else nearest(
            name.replace("_", "-"), [*own, "config", *HELP, *flags.FLAGS], "--{}"
        )
    )
    help_of = " ".join(filter(None, ("kanoclip", mode, "--help")))
    return (
        f"--{name} is no flag.{hint} `{help_of}` lists what people change, "
        "and `kanoclip --helpfull` everything"
    )
