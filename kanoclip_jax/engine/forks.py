"""Forked children: JAX's threads stay behind in the parent, and a child would hang."""

import functools
import os

from kanoclip_jax.errors import InputError

_parent = 0


@functools.cache
def watch() -> None:
    """From now on, remember in forked children that they are some."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_remember)


def _remember() -> None:
    global _parent
    _parent = os.getppid()


def refuse() -> None:
    """Refuse to compute in a child that was forked after `watch`.

    Raises:
        InputError: this process is one.
    """
    if _parent:
        raise InputError(
            f"process {os.getpid()} was forked from {_parent}, which had loaded a "
            "method already; JAX would hang in it. Start processes with "
            "multiprocessing.get_context('spawn'), or load in each of them, not before"
        )
