"""From arguments to one call into the engine, and the process's exit status."""

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from absl import flags, logging

from kanoclip_jax import engine
from kanoclip_jax.command import configurations, manual
from kanoclip_jax.command.arguments import take_apart
from kanoclip_jax.command.flags import (
    COORDINATOR,
    DISTRIBUTED,
    PROCESS,
    PROCESSES,
    WORKDIR,
    is_switch,
)
from kanoclip_jax.command.overrides import override
from kanoclip_jax.command.refusals import refuse, refuse_flags, said_of_flag
from kanoclip_jax.command.spelling import Command, spell
from kanoclip_jax.errors import InputError


def main(argv: Sequence[str]) -> int:
    """Parse a command line, run one mode, and return the process's exit status.

    Args:
        argv: the program's name and its arguments.
    """
    mode = "train"
    try:
        given = flags.FLAGS.read_flags_from_files(list(argv[1:]), force_gnu=False)
        if words := manual.asked_for(argv[0], given):
            print(words)
            return 0
        arguments = take_apart(given, _takes_nothing)
        refuse_flags(arguments, _takes_nothing)
        command = spell(arguments)
        mode = command.mode
        return _perform(argv[0], command)
    except (*engine.BAD_INPUT, flags.Error) as error:
        return refuse(
            error, debug=bool({"--debug", "-debug", "--debug=true"} & set(argv))
        )
    except KeyboardInterrupt as error:
        status, words = engine.describe(error, mode)
        print(words, file=sys.stderr)
        return status


def _perform(program: str, command: Command) -> int:
    """Do what a command in its long form says."""
    _read_flags(program, command)
    logging.set_verbosity(logging.WARNING)
    # Where they are installed, transformers would import them, for seconds.
    for unused in ("USE_TORCH", "USE_TF"):
        os.environ.setdefault(unused, "0")
    engine.install()
    with engine.starting(command.mode):
        if command.config:
            config = configurations.load(command.config)
        else:
            given = {flag.name.removeprefix("config.") for flag in command.settings}
            config = configurations.recorded(command.value("checkpoint"), given)
        overrides = override(config, command.settings)
        if DISTRIBUTED.value or COORDINATOR.value:
            engine.join(COORDINATOR.value, PROCESSES.value, PROCESS.value)
    workdir = Path(WORKDIR.value or command.workdir)
    return engine.run(command.mode, config, workdir, overrides)


def run() -> NoReturn:
    """Run the process's own command line and leave, whatever other threads do."""
    # Names of files may hold what commands a terminal.
    sys.stdout, sys.stderr = map(engine.plain, (sys.stdout, sys.stderr))
    together = ("--distributed", "--coordinator_address")
    alone = not any(argument.startswith(together) for argument in sys.argv)
    try:
        status = main(sys.argv)
    except Exception:  # noqa: BLE001
        traceback.print_exc()
        engine.leave(1, orderly=False, alone=alone)
    engine.leave(status, orderly=status in (0, 1), alone=alone)


def _takes_nothing(name: str) -> bool:
    """Whether a flag is a switch, a setting's or absl's own."""
    return is_switch(name) or manual.is_switch(name)


def _read_flags(program: str, command: Command) -> None:
    """Let absl read what is no setting.

    Raises:
        InputError: there is no such flag, or it takes no such value.
    """
    try:
        flags.FLAGS([program, *map(str, command.flags)])
    except flags.UnrecognizedFlagError as error:
        raise InputError(said_of_flag(error.flagname, command.mode)) from error
