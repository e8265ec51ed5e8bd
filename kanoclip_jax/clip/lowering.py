"""For whom operations are traced: where equal forms differ in speed, this decides."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Literal

Target = Literal["here", "any", "onnx"]

_target: ContextVar[Target] = ContextVar("target", default="here")


def target() -> Target:
    """Who will run what is traced now.

    Returns:
        `here`: this process, on JAX's default backend. `any`: whichever platform of
        JAX the program is lowered for. `onnx`: a runtime that is fastest on the
        operations of ONNX, and slow on loops and many small slices.
    """
    return _target.get()


@contextlib.contextmanager
def tracing_for(target: Target) -> Iterator[None]:
    """Trace for another target within a `with` block; functions traced before stay."""
    token = _target.set(target)
    try:
        yield
    finally:
        _target.reset(token)
