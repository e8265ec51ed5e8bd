"""The one way to write a file: beside its place, then into it."""

import contextlib
import errno
import os
import re
import stat
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from kanoclip_jax.errors import InputError

# A file that is being written is written to more often.
_OLD = 24 * 3600
_FULL = (errno.ENOSPC, errno.EDQUOT)
# Those that hide the system's number: safetensors, TensorStore, numpy.
_SAID = re.compile(
    r"No space left|os error 28\b|os_error_code='28'|\d+ requested and \d+ written"
)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A place beside `path` to write to, which becomes `path` when all went well.

    A reader never sees a part, and a failure leaves what was there. The folder is made.
    Who may read the file is as the umask says, also where a library thinks otherwise.

    Yields:
        The temporary file's name; nobody else uses it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        temporary.touch()
        mode = temporary.stat().st_mode
        yield temporary
        # safetensors puts a file of its own there, which its owner alone may read.
        if temporary.stat().st_mode != mode:
            temporary.chmod(stat.S_IMODE(mode))
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def remove_remains(folder: Path) -> None:
    """Remove what killed processes left beside its place a day ago, or earlier."""
    for path in folder.glob(".*.partial"):
        # Another process may be doing the same.
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _OLD:
                path.unlink()


def reason(error: BaseException) -> str:
    """Why something could not be written, in a few words."""
    if is_full(error):
        return os.strerror(errno.ENOSPC)
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return words.splitlines()[0][:200]


def is_full(error: BaseException | None) -> bool:
    """Whether an error, or what it came of, is that no space was left."""
    while error is not None:
        if getattr(error, "errno", None) in _FULL or _SAID.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def out_of_space(error: Exception, folder: Path) -> InputError | None:
    """The error to show where a disk is full; None if none is."""
    if not is_full(error):
        return None
    place = getattr(error, "filename", None) or folder
    return InputError(
        f"{place} cannot be written ({reason(error)}); free some space, and the same "
        "command goes on from what is whole"
    )
