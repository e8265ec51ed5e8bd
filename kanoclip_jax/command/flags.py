"""The flags that are no settings, as absl knows them."""

from absl import flags

from kanoclip_jax import engine

MODE = flags.DEFINE_enum("mode", "train", engine.MODES, "What to do.")
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where results go (default: runs/ and what runs)."
)
COORDINATOR = flags.DEFINE_string(
    "coordinator_address", "", "HOST:PORT of process 0, where several processes run."
)
PROCESSES = flags.DEFINE_integer("num_processes", -1, "How many processes there are.")
PROCESS = flags.DEFINE_integer("process_id", -1, "Which of them this one is, from 0.")
DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "Join the processes that the cluster's environment names."
)
DEBUG = flags.DEFINE_bool("debug", False, "Show the traceback of an input error.")
OWN = (MODE, WORKDIR, COORDINATOR, PROCESSES, PROCESS, DISTRIBUTED, DEBUG)
# What only asks for words.
HELP = ("h", "help", "helpshort", "helpfull", "version")


def is_switch(name: str) -> bool:
    """Whether a flag of that name takes no value from the next argument."""
    return name in HELP or any(
        stem in flags.FLAGS and flags.FLAGS[stem].boolean
        for stem in (name, name.removeprefix("no"))
    )
