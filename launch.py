"""Entry point: `python launch.py --config=configs/NAME.py [--mode=…] [--config.KEY=…]`."""

import os
import re
import sys
import traceback
from pathlib import Path
from typing import NoReturn

from absl import flags, logging
from ml_collections import config_flags

from kanoclip_jax import engine

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Configuration file, e.g. configs/demo.py.", lock_config=True
)
_MODE = flags.DEFINE_enum("mode", "train", engine.MODES, "What to do.")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where results go (default: runs/<configuration>)."
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator_address", "", "HOST:PORT of process 0, where several processes run."
)
_PROCESSES = flags.DEFINE_integer("num_processes", -1, "How many processes there are.")
_PROCESS = flags.DEFINE_integer("process_id", -1, "Which of them this one is, from 0.")
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "Join the processes that the cluster's environment names."
)
_DEBUG = flags.DEFINE_bool("debug", False, "Show the traceback of an input error.")


def main(argv: list[str]) -> int:
    """Parse flags, run one mode, and return the process's exit status."""
    try:
        rest = flags.FLAGS(argv)[1:]
        if rest:
            raise flags.Error(f"argument {rest[0]!r} is not understood; flags begin --")
        if _CONFIG.value is None:
            raise flags.Error("--config is missing; try --config=configs/demo.py")
        # A configuration that could not be loaded says so only when it is used.
        _CONFIG.value.items()
    except Exception as error:  # noqa: BLE001
        # config_flags raises nearly anything on a wrong path, key or value.
        return _refuse(error, debug="--debug" in argv)
    logging.set_verbosity(logging.WARNING)
    # Where they are installed, transformers would import them, for seconds.
    for unused in ("USE_TORCH", "USE_TF"):
        os.environ.setdefault(unused, "0")
    name = Path(flags.FLAGS["config"].config_filename.partition(":")[0]).stem
    workdir = Path(_WORKDIR.value or Path("runs") / name)
    overrides = frozenset(config_flags.get_override_values(flags.FLAGS["config"]))
    try:
        if _DISTRIBUTED.value or _COORDINATOR.value:
            engine.join(_COORDINATOR.value, _PROCESSES.value, _PROCESS.value)
        engine.install()
        return engine.run(_MODE.value, _CONFIG.value, workdir, overrides)
    except engine.BAD_INPUT as error:
        return _refuse(error, debug=_DEBUG.value)
    except KeyboardInterrupt as error:
        status, words = engine.describe(error, _MODE.value)
        print(words, file=sys.stderr)
        return status


def _refuse(error: Exception, *, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    message = " ".join(_said(error).split())
    print(f"error: {message or type(error).__name__}", file=sys.stderr)
    return 2


def _said(error: Exception) -> str:
    """An error in words; of what the flags' library raises, what it means."""
    # A KeyError quotes its message.
    quoted = isinstance(error, KeyError) and error.args
    message = str(error.args[0] if quoted else error)
    # absl quotes what a configuration raised with its traceback; its last line says it.
    flag, traced, trace = message.partition(" Error whilst parsing config file:")
    if traced:
        return f"{flag} {trace.strip().splitlines()[-1].partition(': ')[2]}"
    # Of a key that is not there it says no more than its last part, in quotes.
    missing = re.fullmatch(
        r"\W*'(\w+)\\?'\W*(?:n?(Did you mean.*?\?))?\W*", message, re.DOTALL
    )
    for flag in (argument.partition("=")[0] for argument in sys.argv):
        if missing and f".{missing[1]}" in flag and flag.startswith("--config."):
            return (
                f"{flag} is no setting of this configuration. {missing[2] or ''} "
                "configs/base.py has them all, and another method's come with its row: "
                "--config=configs/NAME.py:METHOD"
            )
    return message


def _run() -> NoReturn:
    """Run and leave, whatever other threads do."""
    together = ("--distributed", "--coordinator_address")
    alone = not any(argument.startswith(together) for argument in sys.argv)
    try:
        status = main(sys.argv)
    except Exception:  # noqa: BLE001
        traceback.print_exc()
        engine.leave(1, orderly=False, alone=alone)
    engine.leave(status, orderly=status in (0, 1), alone=alone)


if __name__ == "__main__":
    # Names of files may hold what commands a terminal.
    sys.stdout, sys.stderr = map(engine.plain, (sys.stdout, sys.stderr))
    _run()
