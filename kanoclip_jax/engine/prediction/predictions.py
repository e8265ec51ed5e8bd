"""The log of predictions: one line a picture, appended whole, continued after a kill."""

import csv
import fcntl
import heapq
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from kanoclip_jax.engine.settings import misfits
from kanoclip_jax.engine.workdir import Workdir
from kanoclip_jax.errors import InputError
from kanoclip_jax.files import replacing

Line = dict[str, Any]
_COLUMNS = ("path", "class_name", "score", "label", "regions", "map", "overlay")
_BOX = ("left", "top", "right", "bottom")


class Stamp(NamedTuple):
    """By what a file is known to be the one that was predicted."""

    bytes: int
    modified: float


def stamp(path: Path) -> Stamp | None:
    """A file's stamp, None where there is no file."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return Stamp(found.st_size, found.st_mtime)


def printable(path: Path | str) -> str:
    """A path on one line of any terminal: what cannot be shown is escaped."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode()
        for char in str(path)
    )


class Predictions:
    """`predictions.jsonl` of a folder; one process at a time may hold it.

    Args:
        workdir: the folder, made where it is not there.
        settings: all that lines depend on besides the pictures.

    Raises:
        InputError: another process holds the folder, it cannot be written to, or it
            holds predictions of other settings.
    """

    def __init__(self, workdir: Workdir, settings: Mapping[str, Any]) -> None:
        self._workdir = workdir
        self._path = workdir.path / "predictions.jsonl"
        try:
            workdir.path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(workdir.path, os.O_RDONLY)
            self._take_lock()
            self._file = self._path.open("ab", buffering=0)
            self._cut()
        except OSError as error:
            raise self._unwritable(error) from None
        self._claim(settings)

    def begin(self, inputs: Iterable[Path]) -> dict[Path, Stamp | None]:
        """Which pictures are still to be done: those that are new, changed or failed.

        Their old lines are dropped.

        Returns:
            Each with its stamp, None where the file is not there.
        """
        last = {}
        for number, line in enumerate(self.lines()):
            last[line["path"]] = number, "error" in line, _stamp_of(line)
        todo = {}
        for path in inputs:
            known = stamp(path)
            _, failed, old = last.get(str(path), (0, True, None))
            if failed or old != known:
                todo[path] = known
                last.pop(str(path), None)
        kept = {number for number, *_ in last.values()}
        self._keep(kept)
        return todo

    def append(
        self, path: Path, content: Mapping[str, Any], known: Stamp | None
    ) -> Line:
        """Write the line of a picture at once: a kill leaves all of it or none.

        Args:
            path: the picture.
            content: what is said of it.
            known: what the file was before it was read.
        """
        line = {"path": str(path), **content} | (known._asdict() if known else {})
        data = _encode(line)
        try:
            if self._file.write(data) != len(data):
                raise OSError(None, "no space is left")
        except OSError as error:
            raise self._unwritable(error) from None
        return line

    def lines(self) -> Iterator[Line]:
        """All lines, oldest first; a path that came again has several.

        Raises:
            InputError: a line that nobody here wrote.
        """
        with self._path.open("rb") as file:
            for number, data in enumerate(file, start=1):
                try:
                    line = json.loads(data)
                    line["path"] = str(line["path"])
                except (ValueError, KeyError, TypeError):
                    raise InputError(
                        f"{self._path}:{number} is no prediction; remove the line, or "
                        "pass another --workdir"
                    ) from None
                yield line

    def highest(self, count: int) -> list[Line]:
        """The lines of the highest scores, the highest first."""
        latest = {line["path"]: line.get("score") for line in self.lines()}
        scored = (
            line
            for line in self.lines()
            if "score" in line and latest[line["path"]] == line["score"]
        )
        return heapq.nlargest(count, scored, key=lambda line: line["score"])

    def write_table(self) -> None:
        """Write `predictions.csv`: the same for a spreadsheet."""
        latest = {line["path"]: n for n, line in enumerate(self.lines())}
        try:
            with (
                replacing(self._path.with_suffix(".csv")) as temporary,
                temporary.open(
                    "w", encoding="utf-8", errors="backslashreplace", newline=""
                ) as file,
            ):
                writer = csv.writer(file)
                writer.writerow([*_COLUMNS, *_BOX, "error", "warning"])
                writer.writerows(
                    _row(line)
                    for n, line in enumerate(self.lines())
                    if latest[line["path"]] == n
                )
        except OSError as error:
            raise self._unwritable(error) from None

    def close(self) -> None:
        """Let another process have the folder."""
        self._file.close()
        os.close(self._lock)

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise InputError(
                f"another process is predicting into {self._workdir.path}; wait for "
                "it, or pass another --workdir"
            ) from None
        except OSError:
            # Some network file systems have no locks.
            pass

    def _cut(self) -> None:
        """Remove a last line that a kill left unfinished."""
        end = 0
        with self._path.open("rb") as file:
            for data in file:
                end += len(data) if data.endswith(b"\n") else 0
        self._file.truncate(end)

    def _keep(self, numbers: set[int]) -> None:
        """Drop all other lines; the file is replaced whole."""
        if all(n in numbers for n, _ in enumerate(self.lines())):
            return
        try:
            with replacing(self._path) as temporary, temporary.open("wb") as file:
                file.writelines(
                    _encode(line) for n, line in enumerate(self.lines()) if n in numbers
                )
            self._file.close()
            self._file = self._path.open("ab", buffering=0)
        except OSError as error:
            raise self._unwritable(error) from None

    def _claim(self, settings: Mapping[str, Any]) -> None:
        """Make the folder these settings', or check that it already is."""
        name = "predictions.settings.json"
        text = json.dumps(settings, indent=2) + "\n"
        if self._path.stat().st_size:
            try:
                old = json.loads((self._workdir.path / name).read_text("utf-8"))
                keys = misfits(old, json.loads(text))
            except (OSError, ValueError, AttributeError):
                keys = ["settings"]
            if keys:
                self.close()
                raise InputError(
                    f"{self._path} was made with another {', '.join(keys[:3])}; pass "
                    "another --workdir, or remove the file to predict anew"
                )
        else:
            self._workdir.write(name, text)

    def _unwritable(self, error: OSError) -> InputError:
        return InputError(
            f"{self._path} cannot be written ({error.strerror or error}); pass another "
            "--workdir"
        )


def _encode(line: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(line, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:
        # A file name that is not UTF-8: JSON can escape what UTF-8 cannot say.
        return json.dumps(line).encode() + b"\n"


def _stamp_of(line: Line) -> Stamp | None:
    known = line.get("bytes"), line.get("modified")
    return None if None in known else Stamp(*known)


def _row(line: Line) -> Iterable[Any]:
    values = line | {"regions": len(line.get("regions", ()))}
    box = line.get("box") or ("",) * len(_BOX)
    return [
        *("" if values.get(name) is None else values[name] for name in _COLUMNS),
        *box,
        line.get("error", ""),
        line.get("warning", ""),
    ]
