"""The streams of a command: what file names hold reaches a terminal as text alone.

Warnings read as errors do.
"""

import io
import logging
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


class _InWords(logging.Formatter):
    """A line such as errors have: what it is, and what is said."""

    def format(self, record: logging.LogRecord) -> str:
        """`warning: …` and what else there is."""
        return f"{record.levelname.lower()}: {super().format(record)}"


def log_in_words() -> None:
    """Say warnings as errors are said, unless somebody has set up logging already."""
    handler = logging.StreamHandler()
    handler.setFormatter(_InWords())
    logging.basicConfig(handlers=[handler])
