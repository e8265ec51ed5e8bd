"""Warnings about data, each fact once in a process."""

import functools

from absl import logging


@functools.cache
def warn_once(message: str) -> None:
    """Logs a warning that was not logged before: a dataset is opened often."""
    logging.warning("%s", message)
