"""Files as bytes: regular ones alone, and errors that name them."""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from data_pipelines.errors import DataError
from data_pipelines.pictures.reading import REPLACE


def read_file(path: str | Path) -> bytes:
    """Reads a file's bytes; raises DataError naming it where that fails."""
    with open_file(path) as file:
        return file.read()


@contextlib.contextmanager
def open_file(path: str | Path) -> Iterator[BinaryIO]:
    """Opens a regular file: a pipe would be waited for, a device has no end.

    Raises:
      DataError: there is no such file, or it may not be read.
    """
    try:
        mode = os.stat(path).st_mode
        # A folder is left to `open`, which says whether it may be read at all.
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise DataError(f"{path} is not a regular file; {REPLACE}")
        with open(path, "rb") as file:
            yield file
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        # A DataError is one, too.
        if isinstance(error, DataError) or "\0" not in str(path):
            raise
        name = str(path).replace("\0", "\\x00")
        raise DataError(f"{name} holds a NUL, which no file's name can") from error
