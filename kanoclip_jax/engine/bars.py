"""Progress on a terminal: one line of at most 80 columns that says what it counts."""

import shutil

from tqdm import tqdm

from data_pipelines.names import printable

_COLUMNS = 80
# What is left of a line once counts, times, a rate and a loss stand there.
_LONGEST = 22


def progress(
    about: str, total: int, *, done: int = 0, unit: str = "img", leave: bool = True
) -> tqdm:
    """A bar that fits its terminal; where there is none, 80 columns.

    Args:
        about: what is counted; of a longer text its end is shown.
        total: how many there are,
        done: and of them those that are done already.
        unit: of what is counted.
        leave: whether it stays when it is full.
    """
    columns = shutil.get_terminal_size((_COLUMNS, 24)).columns
    return tqdm(
        desc=_shortened(printable(about)),
        total=total,
        initial=done,
        unit=unit,
        ncols=min(columns, _COLUMNS),
        leave=leave,
    )


def epoch_of(step: int, steps: int, epochs: int) -> str:
    """Where a step is, as in `epoch 2/8`; epochs follow each other within a batch.

    Args:
        step: how many are done,
        steps: of so many.
        epochs: that these are.
    """
    return f"epoch {min(epochs, 1 + step * epochs // max(1, steps))}/{epochs}"


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"…{text[1 - _LONGEST :]}"
