"""For whom operations are traced: where equal forms differ in speed, this decides."""

import contextlib
import re
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Literal

import jax

Target = Literal["cpu", "cuda", "other", "any", "onnx"]

# cuDNN's fused attention starts with Ampere's generation of NVIDIA GPUs.
_AMPERE = (8, 0)

_target: ContextVar[Target | None] = ContextVar("target", default=None)


def target() -> Target:
    """Who will run what is traced now.

    Returns:
        Of JAX's devices, `cpu`; `cuda`, an NVIDIA GPU of Ampere's generation or a
        later one; `other`, an older or another maker's GPU, or a TPU. `any`: whichever
        platform of JAX the program is lowered for. `onnx`: a runtime that is fastest on
        the operations of ONNX, and slow on loops and many small slices.
    """
    return _target.get() or _here()


@contextlib.contextmanager
def tracing_for(target: Target) -> Iterator[None]:
    """Trace for another target within a `with` block; functions traced before stay."""
    token = _target.set(target)
    try:
        yield
    finally:
        _target.reset(token)


def _here() -> Target:
    """What this process runs by itself: JAX's default backend."""
    platform = jax.default_backend()
    if platform == "cpu":
        return "cpu"
    # AMD's GPUs go by the name of `gpu` too, and say `gfx942` instead of a number.
    capabilities = (
        re.fullmatch(r"(\d+)\.(\d+)", str(getattr(device, "compute_capability", "")))
        for device in jax.local_devices()
    )
    cuda = platform == "gpu" and all(
        found and tuple(map(int, found.groups())) >= _AMPERE for found in capabilities
    )
    return "cuda" if cuda else "other"
