"""Device memory: how finely a batch is cut to fit, and what to say when it does not."""

from collections.abc import Callable, Sequence

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


def compile_to_fit(
    name: str, allowed: Sequence[int], lower: Callable[[int], jax.stages.Lowered]
) -> jax.stages.Compiled:
    """Compile a program for the fewest pieces of a batch that fit the device.

    Args:
        name: what passes in pieces, for the notice.
        allowed: numbers of pieces, ascending.
        lower: the program for that number.

    Returns:
        What is to run: nothing is compiled only to be measured, unless it does not fit.
        For the first of `allowed` where the device does not tell its memory, as on a
        CPU; for the last where none fits.
    """
    limit = (local_device().memory_stats() or {}).get("bytes_limit")
    parts = allowed[0]
    program = lower(parts).compile()
    if limit is None or _needed(program) <= _SHARE * limit:
        return program
    fixed, temporary = _fixed(program), _needed(program) - _fixed(program)
    for parts in allowed[1:]:
        # What all pieces need at once is not less than their share of the whole.
        hopeless = fixed + temporary * allowed[0] / parts > _SHARE * limit
        if hopeless and parts < allowed[-1]:
            continue
        program = lower(parts).compile()
        if _needed(program) <= _SHARE * limit:
            break
    if parts > allowed[0]:
        print(
            f"{name} takes a batch in {parts} pieces: {_needed(program) / 1e9:.1f} GB "
            f"of {limit / 1e9:.1f} GB on this device"
        )
    return program


def allowed_pieces(setting: str, batch_size: int, devices: int) -> list[int]:
    """Numbers of pieces that a batch may be cut into, ascending.

    Args:
        setting: `train.accumulate`: auto, or a number.
        batch_size: rows of all devices together.
        devices: that share it.

    Raises:
        InputError: the setting is a number that does not divide a device's rows.
    """
    rows = batch_size // devices
    allowed = [parts for parts in range(1, rows + 1) if rows % parts == 0]
    if setting == "auto":
        return allowed
    if int(setting) not in allowed:
        raise InputError(
            f"train.accumulate is {setting}; a batch of {batch_size} on {devices} "
            f"devices is cut into one of {', '.join(map(str, allowed))} pieces"
        )
    return [int(setting)]


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


def local_device() -> jax.Device:
    """The one whose memory stands for all."""
    return jax.local_devices()[0]


def _needed(program: jax.stages.Compiled) -> int:
    return _fixed(program) + program.memory_analysis().temp_size_in_bytes


def _fixed(program: jax.stages.Compiled) -> int:
    """What does not depend on pieces: arguments and results."""
    memory = program.memory_analysis()
    return (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
    )
