"""Many questions at once: threads that ask, and end when they are told to."""

import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from kanoclip_jax.knowledge.providers.base import Question, Unanswered

# Seconds that answers under way get when everything else is to end.
_GRACE = 5.0


class Outcome(NamedTuple):
    """What became of a question; `failure` is None where it was answered."""

    question: Question
    failure: Unanswered | None


class Stopped(BaseException):
    """Raised where a question waits, when everything is to end."""


class Asking:
    """Asks questions in threads.

    Threads are daemons: an interrupted process need not wait for a stalled server.
    """

    def __init__(self) -> None:
        self._stop = threading.Event()

    def pause(self, seconds: float) -> None:
        """Wait; raises `Stopped` where the end comes first."""
        if self._stop.wait(seconds):
            raise Stopped

    def stop(self) -> None:
        """Ask nothing more."""
        self._stop.set()

    def outcomes(
        self,
        questions: Sequence[Question],
        ask: Callable[[Question], None],
        concurrency: int,
    ) -> Iterator[Outcome]:
        """Ask all questions, in order, and yield what becomes of them as it does.

        Args:
            questions: what to ask.
            ask: asks one, and keeps its answer: signals reach the main thread only, so
                that no answer is lost between the two.
            concurrency: how many at once.

        Raises:
            Exception: the first that `ask` raises and that is no `Unanswered`.
        """
        todo: queue.SimpleQueue[Question] = queue.SimpleQueue()
        done: queue.SimpleQueue[Outcome | Exception | None] = queue.SimpleQueue()
        for question in questions:
            todo.put(question)

        def work() -> None:
            try:
                while not self._stop.is_set():
                    question = todo.get_nowait()
                    try:
                        ask(question)
                        done.put(Outcome(question, None))
                    except Unanswered as failure:
                        done.put(Outcome(question, failure))
            except (queue.Empty, Stopped):
                pass
            except Exception as error:  # noqa: BLE001
                # Whatever it is, it is raised where somebody waits for it.
                done.put(error)
            finally:
                done.put(None)

        threads = [
            threading.Thread(target=work, daemon=True, name=f"ask-{i}")
            for i in range(min(concurrency, len(questions)))
        ]
        try:
            for thread in threads:
                thread.start()
            running = len(threads)
            while running:
                outcome = done.get()
                if isinstance(outcome, Outcome):
                    yield outcome
                elif outcome is None:
                    running -= 1
                else:
                    raise outcome
        except KeyboardInterrupt:
            print(
                f"\nending: answers under way get {_GRACE:g} s; Ctrl-C drops them",
                file=sys.stderr,
            )
            raise
        finally:
            self._end(threads)

    def _end(self, threads: Sequence[threading.Thread]) -> None:
        self.stop()
        deadline = time.monotonic() + _GRACE
        for thread in filter(threading.Thread.is_alive, threads):
            thread.join(max(0.0, deadline - time.monotonic()))
