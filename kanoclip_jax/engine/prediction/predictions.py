"""The log of predictions: one line a picture, appended whole, continued after a kill."""

import contextlib
import csv
import errno
import heapq
import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from data_pipelines.names import canonical, name_some, table_cell
from kanoclip_jax import documents
from kanoclip_jax.engine import shapes
from kanoclip_jax.engine.prediction.identity import misfits
from kanoclip_jax.errors import InputError
from kanoclip_jax.files import reason, replacing, write_atomically

Line = dict[str, Any]
TABLE = "predictions.csv"
_COLUMNS = ("path", "class_name", "score", "label", "regions", "map", "overlay")
_NO_LINE = "it is no prediction: remove the line, or pass another --workdir"
_CHECK = "crc32"
_BOX = ("box_x", "box_y", "box_width", "box_height")
# What settings of a folder held before each line said by what it was labelled.
_OF_LINES = ("thresholds", "min_area", "overlays")


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


class Predictions:
    """`predictions.jsonl` of a folder, which its mode holds against other writers.

    Args:
        folder: is made where it is not there.
        settings: all that scores depend on besides the pictures.
        is_current: whether a line is labelled as it would be now.

    Raises:
        InputError: the folder cannot be written to, or holds predictions of other
            settings.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any],
        is_current: Callable[[Line], bool] = lambda line: True,
    ) -> None:
        self._folder, self._is_current = folder, is_current
        self._path = folder / "predictions.jsonl"
        # The number of each picture's last line, where no line came since.
        self._newest: dict[str, int] | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("ab", buffering=0)
            self._cut()
        except OSError as error:
            raise self._unwritable(error) from None
        self._claim(settings)

    def begin(self, inputs: Iterable[Path]) -> dict[Path, Stamp | None]:
        """Which pictures are still to be done: those that are new, changed or failed.

        So are those that are labelled otherwise, which is for what `outdated` gives and
        keeps no map. Their old lines are dropped.

        Returns:
            Each with its stamp, None where the file is not there.

        Raises:
            InputError: some that are labelled otherwise are not among the inputs.
        """
        last = {}
        for number, line in enumerate(self.lines()):
            failed = "error" in line
            last[line["path"]] = number, failed, self._is_outdated(line), stamp_of(line)
        todo = {}
        for path in inputs:
            known = stamp(path)
            _, failed, outdated, old = last.get(str(path), (0, True, False, None))
            if failed or outdated or old != known:
                todo[path] = known
                last.pop(str(path), None)
        stale = [path for path, (_, _, outdated, _) in last.items() if outdated]
        if stale:
            raise InputError(
                f"{self._path} has {len(stale)} predictions by other thresholds or "
                "settings that keep no map to label them again by, and are not among "
                f"the inputs ({name_some(stale, 1)}); name their pictures too, pass "
                "another --workdir, or remove the file to predict anew"
            )
        kept = {number for number, *_ in last.values()}
        self._keep(kept)
        return todo

    def outdated(self) -> list[int]:
        """The numbers of the lines that would be labelled otherwise now."""
        return [n for n, line in self._latest() if self._is_outdated(line)]

    def at(self, numbers: Iterable[int]) -> Iterator[Line]:
        """The lines of these numbers, which ascend; others may be added meanwhile."""
        wanted = iter(numbers)
        sought = next(wanted, None)
        for number, line in enumerate(self.lines()):
            if sought is None:
                return
            if number == sought:
                yield line
                sought = next(wanted, None)

    def latest(self) -> Iterator[Line]:
        """The newest line of each picture, failures too, oldest first."""
        return (line for _, line in self._latest())

    def append(
        self, path: Path, content: Mapping[str, Any], known: Stamp | None
    ) -> Line:
        """Write the line of a picture at once: a kill leaves all of it or none.

        Args:
            path: the picture.
            content: what is said of it.
            known: what the file was before it was read.
        """
        self._newest = None
        line = {"path": str(path), **content} | (known._asdict() if known else {})
        data = _encode(line)
        end = os.fstat(self._file.fileno()).st_size
        try:
            if self._file.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            # What is left of a line is cut off by the next run at the latest.
            with contextlib.suppress(OSError):
                self._file.truncate(end)
            raise self._unwritable(error) from None
        return line

    def lines(self) -> Iterator[Line]:
        """All lines, oldest first; a path that came again has several.

        Raises:
            InputError: a line that nobody here wrote.
        """
        with self._path.open("rb") as file:
            for number, data in enumerate(file, start=1):
                place = f"{self._path}:{number}"
                line = documents.parse(data, place, dict, _NO_LINE)
                if not _is_whole(line, data):
                    raise InputError(
                        f"{place} has changed since it was written; remove the line to "
                        "have its picture predicted again, or pass another --workdir"
                    )
                shape = shapes.FAILED if "error" in line else shapes.PREDICTED
                documents.check(line, shape, place, _NO_LINE)
                yield line

    def highest(self, count: int) -> list[Line]:
        """The lines of the highest scores, the highest first."""
        scored = (line for line in self.latest() if "error" not in line)
        return heapq.nlargest(count, scored, key=lambda line: line["score"])

    def write_table(self) -> None:
        """Write `predictions.csv`: the same for a spreadsheet."""
        try:
            with (
                replacing(self._folder / TABLE) as temporary,
                temporary.open(
                    "w", encoding="utf-8", errors="backslashreplace", newline=""
                ) as file,
            ):
                writer = csv.writer(file)
                writer.writerow([*_COLUMNS, *_BOX, "error", "warning"])
                writer.writerows(map(_row, self.latest()))
        except OSError as error:
            raise self._unwritable(error) from None

    def close(self) -> None:
        """Write nothing more."""
        self._file.close()

    def _latest(self) -> Iterator[tuple[int, Line]]:
        if self._newest is None:
            self._newest = {line["path"]: n for n, line in enumerate(self.lines())}
        newest = self._newest
        for number, line in enumerate(self.lines()):
            if newest.get(line["path"]) == number:
                yield number, line

    def _is_outdated(self, line: Line) -> bool:
        return "error" not in line and not self._is_current(line)

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
        self._newest = None
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
            new = json.loads(text)
            try:
                old = documents.read(
                    self._folder / name,
                    {"class_name": str},
                    f"nobody knows how {self._path} was made; pass another --workdir, "
                    "or remove that file to predict anew",
                )
            except InputError:
                self.close()
                raise
            # What the model reads alike is the same name.
            old["class_name"], new["class_name"] = (
                canonical(given["class_name"]) for given in (old, new)
            )
            old = {key: old[key] for key in old if key not in _OF_LINES}
            keys = misfits(old, new)
            if keys:
                self.close()
                raise InputError(
                    f"{self._path} was made with another {', '.join(keys[:3])}; pass "
                    "another --workdir, or remove the file to predict anew"
                )
        else:
            try:
                write_atomically(self._folder / name, text.encode())
            except OSError as error:
                raise self._unwritable(error) from None

    def _unwritable(self, error: OSError) -> InputError:
        return InputError(
            f"{self._path} cannot be written ({reason(error)}); pass another --workdir"
        )


def _encode(line: Mapping[str, Any]) -> bytes:
    """A line, and a sum over its bytes as its last value."""
    try:
        data = json.dumps(line, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        # A file name that is not UTF-8: JSON can escape what UTF-8 cannot say.
        data = json.dumps(line).encode()
    return data[:-1] + b', "%s": "%08x"}\n' % (_CHECK.encode(), zlib.crc32(data))


def _is_whole(line: Line, data: bytes) -> bool:
    """Whether a line is what was written; its sum, which earlier ones lack, is taken off."""
    check = line.pop(_CHECK, None)
    body = data.rpartition(b', "%s": ' % _CHECK.encode())[0] + b"}"
    return check is None or check == f"{zlib.crc32(body):08x}"


def stamp_of(line: Line) -> Stamp | None:
    """The stamp of the file that a line is about; None where there was no file."""
    known = line.get("bytes"), line.get("modified")
    return None if None in known else Stamp(*known)


def _row(line: Line) -> Iterable[Any]:
    count = len(line.get("regions", ())) + line.get("more_regions", 0)
    values = line | {"regions": count}
    box = line.get("box") or ("",) * len(_BOX)
    cells = [
        *("" if values.get(name) is None else values[name] for name in _COLUMNS),
        *box,
        line.get("error", ""),
        line.get("warning", ""),
    ]
    return map(table_cell, cells)
