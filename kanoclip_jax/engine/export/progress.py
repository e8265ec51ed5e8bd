"""How far a command is: a bar on a terminal's last line.

Nothing here needs JAX: it is a part of the exported runner.
"""

import sys
import time
from datetime import timedelta

_WIDTH = 24
# Seconds; faster than that nobody reads.
_EVERY = 0.1


class Progress:
    """A bar with rate and remaining time on stderr, where that is a terminal.

    Args:
        total: how many steps there are.
        quiet: whether to draw none even so.
    """

    def __init__(self, total: int, quiet: bool = False) -> None:
        self._total, self._done = total, 0
        self._draws = total > 0 and not quiet and sys.stderr.isatty()
        self._start = time.monotonic()
        self._said, self._length = self._start - _EVERY, 0

    def step(self) -> None:
        """Count one more."""
        self._done += 1
        now = time.monotonic()
        last = self._done == self._total
        if self._draws and (last or now - self._said >= _EVERY):
            self._said = now
            self._print(self._bar(now), "\n" if last else "")

    def say(self, message: str) -> None:
        """Print a line of its own, above the bar where there is one."""
        self._print(message, "\n")

    def _bar(self, now: float) -> str:
        filled = _WIDTH * self._done // self._total
        # Some clocks tick seldom.
        rate = self._done / max(now - self._start, 1e-3)
        left = timedelta(seconds=round((self._total - self._done) / rate))
        bar = "#" * filled + "-" * (_WIDTH - filled)
        return f"[{bar}] {self._done}/{self._total}, {rate:.2f}/s, {left} left"

    def _print(self, text: str, end: str) -> None:
        if self._draws:
            # Over what the line held before.
            text, self._length = f"\r{text:<{self._length}}", 0 if end else len(text)
        print(text, end=end, file=sys.stderr, flush=True)
