"""Watching a folder: each new picture is scored as it lands."""

import functools
import os
import queue
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ml_collections import FrozenConfigDict
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from data_pipelines.errors import DataError, reason_of
from data_pipelines.names import printable
from data_pipelines.suffixes import is_hidden, is_picture, is_unread
from kanoclip_jax.engine.endings import end_if_asked
from kanoclip_jax.engine.prediction.detector import Detector
from kanoclip_jax.engine.prediction.inputs import (
    absolute,
    describe_inputs,
    is_below,
    unread,
    walk,
)
from kanoclip_jax.engine.prediction.predict import (
    open_detector,
    open_results,
    own_files,
    write_highest,
)
from kanoclip_jax.engine.prediction.predictions import Line, Stamp, stamp
from kanoclip_jax.engine.prediction.results import Results
from kanoclip_jax.errors import InputError

_TICK = 0.1
# Some file systems, such as a network's, tell of no events.
_WALK_EVERY = 60.0


def main(
    config: FrozenConfigDict, workdir: Path, overrides: frozenset[str] = frozenset()
) -> int:
    """Score what lies in `predict.input` and what lands there, until interrupted.

    Returns:
        With `watch.limit`, 1 where some pictures failed.
    """
    folder = absolute(Path(config.predict.input or "nowhere").expanduser())
    if not os.path.isdir(folder):
        raise InputError(
            f"predict.input {config.predict.input!r} is no folder; watch takes one, as "
            "in --config.predict.input=photos/"
        )
    own = own_files(workdir)
    given = config.predict.input
    print("\n".join(describe_inputs(given, walk(folder, own), own)), flush=True)
    # Pictures come one by one: padding a batch would only make each of them wait.
    detector, config = open_detector(config, workdir, overrides, batch_size=1)
    results = open_results(detector, config, workdir, folder)
    highest = functools.partial(write_highest, detector, config, results, workdir)
    with _summed_up(results), results.ending(highest):
        for said in results.label_again():
            print(said, flush=True)
        # So that the first picture does not wait for a compiler.
        detector.predict(np.zeros((8, 8), np.uint8), config.predict.class_name)
        with _events(folder, own) as changed:
            print(f"watching {printable(folder)}; Ctrl-C ends", flush=True)
            _follow(detector, config, results, changed, lambda: walk(folder, own))
    return 1 if results.failed else 0


@contextmanager
def _summed_up(results: Results) -> Iterator[None]:
    """Say in the end what was done, as watching ends: by itself, or interrupted."""
    try:
        yield
    except KeyboardInterrupt:
        print("\n".join(results.summary()), flush=True)
        raise
    print("\n".join(results.summary()), flush=True)


@dataclass
class Waiting:
    """A file that may still be being written.

    Attributes:
        known: what it was when last looked at.
        since: when it became that.
        tried: whether that could not be decoded.
    """

    known: Stamp | None
    since: float
    tried: bool = False


class Arrivals:
    """Files from their first sign of life until they are whole, or given up.

    Args:
        settle: seconds without a change until a file is read,
        patience: and until one that cannot be decoded is given up.
        done: what was predicted already.
    """

    def __init__(
        self, settle: float, patience: float, done: Mapping[Path, Stamp | None]
    ) -> None:
        self._settle, self._patience = settle, patience
        self._done = dict(done)
        self._waiting: dict[Path, Waiting] = {}

    def notice(self, path: Path, now: float) -> None:
        """A file is there, or has changed."""
        known = stamp(path)
        seen = path in self._done and self._done[path] == known
        if path not in self._waiting and not seen:
            self._waiting[path] = Waiting(known, now)

    def ready(self, now: float) -> Iterator[tuple[Path, Stamp | None, bool]]:
        """Files to read now, and whether it is their last chance."""
        for path, waiting in list(self._waiting.items()):
            known = stamp(path)
            if known is None and not os.path.islink(path):
                # Deleted, or renamed: under its new name it is another file.
                del self._waiting[path]
            elif known != waiting.known:
                self._waiting[path] = Waiting(known, now)
            else:
                still = now - waiting.since
                last = still >= self._patience
                if last or (still >= self._settle and not waiting.tried):
                    yield path, known, last

    def settle(self, path: Path, known: Stamp | None) -> None:
        """A file has its line."""
        self._waiting.pop(path, None)
        self._done[path] = known

    def retry(self, path: Path) -> None:
        """A file could not be decoded: it may be in the middle of being written."""
        self._waiting[path].tried = True


@contextmanager
def _events(folder: Path, own: list[Path]) -> Iterator[queue.SimpleQueue]:
    """Paths of pictures that appear or change; of a folder, what it holds.

    What goes wrong in the observer's thread comes, too, for the main one to raise.
    """
    changed: queue.SimpleQueue[Path | Exception] = queue.SimpleQueue()

    told: set[Path] = set()

    def visible(path: Path) -> bool:
        inner = path.relative_to(folder).parts
        return not any(map(is_hidden, inner)) and not is_below(path, own)

    class Handler(FileSystemEventHandler):
        def on_any_event(self, event: FileSystemEvent) -> None:
            try:
                self._put(event)
            except Exception as error:  # noqa: BLE001
                changed.put(error)

        def _put(self, event: FileSystemEvent) -> None:
            if event.event_type in ("opened", "closed_no_write", "deleted"):
                return
            path = Path(os.fsdecode(event.dest_path or event.src_path))
            found = [path]
            if event.is_directory:
                found = walk(path, own) + unread(path, own)
            for file in filter(visible, found):
                if is_picture(file.name):
                    changed.put(file)
                elif is_unread(file.name) and file not in told:
                    told.add(file)
                    _say_unread(file)

    observer = Observer()
    observer.schedule(Handler(), str(folder), recursive=True)
    try:
        observer.start()
    except OSError as error:
        raise InputError(
            f"{folder} cannot be watched ({error.strerror or error}); on Linux, "
            "fs.inotify.max_user_watches limits how many folders may be"
        ) from None
    try:
        yield changed
    finally:
        observer.stop()
        observer.join()


def _follow(
    detector: Detector,
    config: FrozenConfigDict,
    results: Results,
    changed: queue.SimpleQueue,
    look: Callable[[], list[Path]],
) -> None:
    """Score until `watch.limit`."""
    settings, name = config.watch, config.predict.class_name
    present = look()
    todo = results.log.begin(present)
    done = {
        path: known for path in present if path not in todo and (known := stamp(path))
    }
    arrivals = Arrivals(settings.settle, settings.patience, done)
    written = 0
    walked, said = -_WALK_EVERY, None
    while not settings.limit or written < settings.limit:
        if time.monotonic() - walked >= _WALK_EVERY:
            walked = time.monotonic()
            for path in look():
                arrivals.notice(path, walked)
        end_if_asked()
        _drain(changed, arrivals)
        for path, known, last in arrivals.ready(time.monotonic()):
            try:
                found = detector.predict(path, class_name=name)
            except (DataError, MemoryError) as error:
                if not last:
                    arrivals.retry(path)
                    continue
                found = reason_of(error, path)
            line = results.add(path, found, known)
            arrivals.settle(path, known)
            written += 1
            print(_shown(line), flush=True)
            if not said and (said := results.shrinkage.said()):
                print(said, flush=True)
            if written == settings.limit:
                break


def _say_unread(path: Path) -> None:
    """Say at once that a file is none of those that are scored, in one piece."""
    said = f"not read: {printable(path)} ({path.suffix} is a format that is not read)"
    print(f"{said}\n", end="", flush=True)


def _drain(changed: queue.SimpleQueue, arrivals: Arrivals) -> None:
    """Take what has happened; wait a moment where nothing has."""
    try:
        found = changed.get(timeout=_TICK)
        while True:
            if isinstance(found, Exception):
                raise found
            arrivals.notice(found, time.monotonic())
            found = changed.get_nowait()
    except queue.Empty:
        return


def _shown(line: Line) -> str:
    if "error" in line:
        return f"failed: {printable(line['error'])}"
    label = f"{line['label']}  " if line["label"] else ""
    if "warning" in line:
        label += f"({line['warning'].partition(':')[0]})  "
    return f"{line['score']:.4f}  {label}{printable(line['path'])}"
