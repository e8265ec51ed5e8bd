"""The command line: `kanoclip …`, `python -m kanoclip_jax …` and `python launch.py …`."""

from kanoclip_jax.command.run import main, run

__all__ = ["main", "run"]
