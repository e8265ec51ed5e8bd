"""Errors of a command in a line."""

import sys
import traceback

from absl import flags

from kanoclip_jax.command.arguments import nearest
from kanoclip_jax.command.options import OPTIONS
from kanoclip_jax.command.overrides import keys
from kanoclip_jax.configs import base


def refuse(error: Exception, *, debug: bool) -> int:
    """Say what is wrong, in one line on stderr; returns the exit status."""
    if debug:
        traceback.print_exception(error)
    message = " ".join(str(error).split())
    print(f"error: {message or type(error).__name__}", file=sys.stderr)
    return 2


def said_of_flag(name: str, mode: str) -> str:
    """What to say of a flag that nobody knows.

    Args:
        name: the flag's, without dashes.
        mode: that is asked for.
    """
    own = [o.word for o in OPTIONS if mode in o.modes or not o.modes]
    settings = [f"config.{key}" for key in keys(base.get_config())]
    # What was meant as a setting may lack only its beginning.
    hint = (
        nearest(f"config.{name}", settings, "--{}")
        if "." in name
        else nearest(name.replace("_", "-"), [*own, "config", *flags.FLAGS], "--{}")
    )
    return (
        f"--{name} is no flag.{hint} `kanoclip {mode} --help` lists what people change, "
        "and `kanoclip --helpfull` everything"
    )
