"""The streams of a command: what file names hold reaches a terminal as text alone."""

import io
import re
from typing import TextIO

from data_pipelines.names import printable

# What progress bars move with; ends of lines and tabs.
_OURS = re.compile(r"(\n|\r|\t|\x1b\[A)")


class Plain(io.TextIOWrapper):
    """A text stream that escapes what would command a terminal.

    Args:
        stream: what it writes to.
    """

    def __init__(self, stream: TextIO) -> None:
        # Whoever forgets a stream closes what is below it.
        self._below = stream
        super().__init__(
            stream.buffer,
            encoding=stream.encoding,
            errors="backslashreplace",
            line_buffering=stream.line_buffering,
        )

    def write(self, text: str) -> int:
        """Write a text; returns its length as it was given."""
        if text.isprintable():
            super().write(text)
        else:
            pieces = _OURS.split(text)
            pieces[::2] = map(printable, pieces[::2])
            super().write("".join(pieces))
        return len(text)
