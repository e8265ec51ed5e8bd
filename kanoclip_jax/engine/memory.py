"""Device memory: how finely a batch is cut to fit, and what to say when it does not."""

from collections.abc import Callable, Iterable, Sequence

import jax

from kanoclip_jax.errors import InputError

# Of a device's memory; the rest is fragmentation and what waits to be used.
_SHARE = 0.9
_REMEDY = {
    "train": "train.accumulate=N (N pieces a batch) or a smaller train.batch_size",
    "eval": "a smaller eval.batch_size",
    "predict": "a smaller predict.batch_size",
    "calibrate": "a smaller predict.batch_size",
}


def choose_parts(
    allowed: Sequence[int], programs: Callable[[int], Iterable[jax.stages.Lowered]]
) -> int:
    """The fewest pieces of a batch whose programs fit the device, by the compiler.

    Args:
        allowed: numbers of pieces, ascending.
        programs: what runs on pieces of that number.

    Returns:
        One of `allowed`: the first where the device does not tell its memory, as on a
        CPU; the last where none fits.
    """
    limit = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
    if limit is None:
        return allowed[0]
    for parts in allowed:
        needed = max(_needed(program) for program in programs(parts))
        if needed <= _SHARE * limit:
            break
    if parts > allowed[0]:
        print(
            f"batches pass in {parts} pieces: {needed / 1e9:.1f} GB of "
            f"{limit / 1e9:.1f} GB on this device"
        )
    return parts


def out_of_memory(error: Exception, mode: str) -> InputError | None:
    """The error to show where a device ran out of memory; None if it did not."""
    text = str(error)
    if "RESOURCE_EXHAUSTED" not in text and "out of memory" not in text.lower():
        return None
    remedy = _REMEDY.get(mode, "a smaller batch_size")
    return InputError(
        f"the device ran out of memory ({text.splitlines()[0][:120]}); pass "
        f"--config.{remedy}, or a smaller clip.image_size"
    )


def _needed(program: jax.stages.Lowered) -> int:
    memory = program.compile().memory_analysis()
    return (
        memory.temp_size_in_bytes
        + memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
    )
