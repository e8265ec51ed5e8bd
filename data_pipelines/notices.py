"""Warnings about data, each fact once in a process."""

import functools
from collections.abc import Sequence

from absl import logging

_NAMED = 3


@functools.cache
def warn_once(message: str) -> None:
    """Logs a warning that was not logged before: a dataset is opened often."""
    logging.warning("%s", message)


def name_some(names: Sequence[str]) -> str:
    """The first three of many names, and how many more there are."""
    more = len(names) - _NAMED
    rest = f" and {more} more" if more > 0 else ""
    return f"{', '.join(names[:_NAMED])}{rest}"
