"""One writer a folder: whoever writes holds it, and a second one is told who does."""

import contextlib
import datetime
import errno
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from absl import logging
from filelock import FileLock, Timeout

from data_pipelines.errors import DataError

LOCK = ".lock"
# What a file system says that has no locks, as some of a network.
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS)
# Seconds that a holder has to say who it is.
_INTRODUCTION = 1.0


class Holder(NamedTuple):
    """Who holds a folder.

    Attributes:
      mode: What it does there.
      pid, host: Which process it is, and where.
      since: When it began, in ISO format.
    """

    mode: str
    pid: int
    host: str
    since: str

    def __str__(self) -> str:
        return (
            f"--mode={self.mode} (process {self.pid} on {self.host}, since "
            f"{self.since})"
        )


@contextlib.contextmanager
def hold(
    folder: Path, mode: str, *, remedy: str, wait: bool = False, name: str = LOCK
) -> Iterator[None]:
    """Makes this the one process that writes to a folder.

    The kernel lets go of it however the process ends. The lock's file stays, except in
    a folder that nothing was written to; one that was made for it goes, too.

    Args:
      folder: What is held; made where it is missing.
      mode: What is done there, for others to read.
      remedy: What to do where it cannot be written to, or instead of waiting for
        another that holds it.
      wait: Waits for another holder, aloud, instead of raising.
      name: The lock's file; folders may have several, for different files.

    Raises:
      DataError: another process holds the folder, or it cannot be written to.
    """
    made = _make(folder, remedy)
    try:
        empty = not any(folder.iterdir())
    except OSError:
        empty = False
    path = folder / name
    # Not bound to a thread: whichever ends the run lets go.
    lock = FileLock(path, thread_local=False)
    try:
        _take(lock, folder, remedy, wait)
        if lock.is_locked:
            _introduce(path, mode)
        yield
    finally:
        if lock.is_locked:
            # Somebody may have removed the folder meanwhile.
            with contextlib.suppress(OSError):
                _said_by(path).unlink(missing_ok=True)
                if empty and [file.name for file in folder.iterdir()] == [name]:
                    path.unlink()
        lock.release()
        for parent in made:
            with contextlib.suppress(OSError):
                parent.rmdir()


def holder_of(folder: Path, name: str = LOCK) -> Holder | None:
    """Who holds a folder now; None where nobody does, or where nobody can tell."""
    path = folder / name
    if not path.is_file():
        return None
    try:
        with FileLock(path, timeout=0, thread_local=False):
            return None
    except Timeout:
        return _read(path)
    except (OSError, NotImplementedError):
        return None


def _make(folder: Path, remedy: str) -> list[Path]:
    """Makes a folder; returns what was missing of its path, the innermost first."""
    missing = [p for p in (folder, *folder.parents) if not p.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error, remedy) from None
    return missing


def _take(lock: FileLock, folder: Path, remedy: str, wait: bool) -> None:
    path = Path(lock.lock_file)
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            said = _read(path) or "another process"
            if not wait:
                raise DataError(
                    f"{folder} is held by {said}; wait until it has ended, or {remedy}"
                ) from None
            logging.warning("waiting for %s to let go of %s", said, folder)
            lock.acquire()
    except NotImplementedError as error:
        _warn(folder, error)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise _unwritable(folder, error, remedy) from None
        _warn(folder, error)


def _warn(folder: Path, error: Exception) -> None:
    logging.warning(
        "%s lies on a file system without locks (%s): see to it that one process at a "
        "time writes there",
        folder,
        error,
    )


def _unwritable(folder: Path, error: OSError, remedy: str) -> DataError:
    return DataError(
        f"{folder} cannot be written to ({error.strerror or error}); {remedy}"
    )


def _said_by(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _introduce(path: Path, mode: str) -> None:
    now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    holder = Holder(mode, os.getpid(), socket.gethostname(), now)
    # A courtesy, which a full disk may not allow.
    with contextlib.suppress(OSError):
        _said_by(path).write_text(json.dumps(holder._asdict()), encoding="utf-8")


def _read(path: Path) -> Holder | None:
    """Who holds a lock; of one that has just been taken, as soon as it says so."""
    end = time.monotonic() + _INTRODUCTION
    while True:
        try:
            holder = Holder(**json.loads(_said_by(path).read_text(encoding="utf-8")))
            if not _is_gone(holder):
                return holder
        except (OSError, ValueError, TypeError):
            pass
        if time.monotonic() > end:
            return None
        time.sleep(0.05)


def _is_gone(holder: Holder) -> bool:
    """Whether this is what a killed process left; of other hosts nobody can tell."""
    if holder.host != socket.gethostname():
        return False
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
