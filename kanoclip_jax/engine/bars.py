"""Progress on a terminal: one line of at most 80 columns that says what it counts."""

import shutil

from tqdm import tqdm

from data_pipelines.names import printable

_COLUMNS = 80
# What is left of a line once counts, times, a rate and a loss stand there.
_LONGEST = 22
# What the first of a kind waits for, for seconds or minutes.
_COMPILING = "compiling"


class _Bar(tqdm):
    """A bar that stops saying what it waits for when something came."""

    def update(self, n: float | None = 1) -> bool | None:
        """So many more are done."""
        if not self.disable and self.postfix == _COMPILING:
            self.set_postfix_str("", refresh=False)
        return super().update(n)


def progress(
    about: str,
    total: int,
    *,
    done: int = 0,
    unit: str = "img",
    compiles: bool = False,
    in_logs: bool = True,
) -> tqdm:
    """A bar that fits its terminal; where there is none, 80 columns.

    Args:
        about: what is counted; of a longer text its end is shown.
        total: how many there are,
        done: and of them those that are done already.
        unit: of what is counted.
        compiles: whether the first waits for the compiler, which is said until then.
        in_logs: whether there is one where stderr is no terminal.
    """
    columns = shutil.get_terminal_size((_COLUMNS, 24)).columns
    bar = _Bar(
        desc=_shortened(printable(about)),
        total=total,
        initial=done,
        unit=unit,
        ncols=min(columns, _COLUMNS),
        disable=False if in_logs else None,
    )
    if compiles:
        bar.set_postfix_str(_COMPILING)
    return bar


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
