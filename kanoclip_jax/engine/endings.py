"""How a run ends before its time: on a signal, with what it has saved, and for good."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

# Signals that ask a run to end, and what is said of it then.
_WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
# Modes that keep nothing of their work until it is complete.
_ANEW = ("eval", "calibrate", "export", "save")
# Seconds that other processes of a run get to hear of its end.
_GRACE = 30.0

_asked = 0
_patient = 0
_starting = ""


class Interrupted(KeyboardInterrupt):
    """Raised in the main thread when a signal asks the run to end.

    Args:
        number: the signal.

    Attributes:
        status: the process's exit status, as shells count it.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = signal.Signals(number)
        self.status = 128 + number


def install() -> None:
    """Let SIGINT and SIGTERM end the run in order, and a second one at once.

    One that is ignored, as by a job in the background, stays so.
    """
    global _asked
    _asked = 0
    for number in _WORDS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _hear)


def _hear(number: int, frame: FrameType | None) -> None:
    del frame
    global _asked
    # The kernel ends what does not listen, such as a compiler.
    for other in _WORDS:
        signal.signal(other, signal.SIG_DFL)
    _asked = number
    if _starting:
        status, words = describe(Interrupted(number), _starting)
        with contextlib.suppress(OSError):
            os.write(2, f"{words}\n".encode())
        os._exit(status)
    if not _patient:
        raise Interrupted(number)


@contextlib.contextmanager
def starting(mode: str) -> Iterator[None]:
    """Signals end the process where they are heard: nothing has begun yet.

    Imports run callbacks, and what is raised in one is lost.

    Args:
        mode: that begins.
    """
    global _starting
    former, _starting = _starting, mode
    try:
        yield
    finally:
        _starting = former


@contextlib.contextmanager
def patiently() -> Iterator[None]:
    """Signals wait until its end, or until whoever asks `asked` can lose nothing."""
    global _patient
    _patient += 1
    try:
        yield
    finally:
        _patient -= 1
    end_if_asked()


def asked() -> int:
    """The signal that asked for the end; 0 where none did."""
    return _asked


def end_if_asked() -> None:
    """Raise `Interrupted` where a signal's own was lost in somebody else's code."""
    if _asked:
        raise Interrupted(_asked)


def describe(error: KeyboardInterrupt, mode: str) -> tuple[int, str]:
    """The exit status of an interrupted run, and how to go on."""
    number = getattr(error, "number", signal.SIGINT)
    again = "begins again" if mode in _ANEW else "continues"
    return 128 + number, f"{_WORDS[number]}; the same command {again}"


def leave(status: int, *, orderly: bool, alone: bool) -> NoReturn:
    """End the process; where something went wrong, whatever its threads still do.

    A thread that failed may leave others that wait for it, for good.

    Args:
        status: the exit status.
        orderly: whether the run came to its end.
        alone: whether no other processes share the run; they hear of its end from an
            orderly one.
    """
    if orderly:
        sys.exit(status)
    for child in multiprocessing.active_children():
        child.terminate()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    if alone:
        os._exit(status)
    timer = threading.Timer(_GRACE, os._exit, (status,))
    timer.daemon = True
    timer.start()
    sys.exit(status)
