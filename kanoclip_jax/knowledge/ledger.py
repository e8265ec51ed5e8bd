"""A knowledge file that grows, every line whole."""

import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from kanoclip_jax.errors import InputError
from kanoclip_jax.knowledge.store import Record, from_line, read_records, to_line


class Ledger:
    """An open file of records to which records are appended.

    Opening it cuts off a last line whose writing was interrupted, and reads what is
    there. Use it as a context, in a folder that is held against other writers.

    Args:
        path: the file; made with its folder where it is missing.

    Attributes:
        path: the file.
        records: what was in the file, then what was appended.
        cut: how many bytes of an unfinished line were cut off.

    Raises:
        InputError: it cannot be written, or a line in it is no record.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # Records are appended by whatever thread has one.
        self._guard = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        except OSError as error:
            raise self._unwritable(error) from None
        try:
            self.cut = self._mend()
            self.records = read_records(path)
        except BaseException:
            os.close(self._file)
            raise
        self._keys = {key_of(record) for record in self.records}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        with self._guard:
            os.close(self._file)
            self._file = -1

    def __contains__(self, record: Record) -> bool:
        """Whether the record, whatever its text, is on file."""
        return key_of(record) in self._keys

    def append(self, record: Record) -> bool:
        """Write a record as one line; False if it is on file already.

        Raises:
            InputError: it could not be written; the file ends where it did before.
        """
        data = to_line(record).encode()
        with self._guard:
            if record in self or self._file < 0:
                return False
            end = os.fstat(self._file).st_size
            try:
                while data:
                    data = data[os.write(self._file, data) :]
            except OSError as error:
                os.ftruncate(self._file, end)
                raise self._unwritable(error) from None
            self._keys.add(key_of(record))
            self.records.append(record)
        return True

    def _mend(self) -> int:
        """End the file with a whole line; returns how much was cut off."""
        content = self.path.read_bytes()
        end = content.rfind(b"\n") + 1
        rest = content[end:]
        if not rest:
            return 0
        try:
            from_line(rest)
        except ValueError:
            os.ftruncate(self._file, end)
            return len(rest)
        os.write(self._file, b"\n")
        return 0

    def _unwritable(self, error: OSError) -> InputError:
        return InputError(
            f"{self.path} cannot be written ({error.strerror}); pass another --workdir"
        )


def key_of(record: Record) -> tuple[object, ...]:
    """What makes two records the same answer."""
    return (
        record.class_name,
        record.source,
        record.image,
        record.prompt_sha,
        record.model,
        record.sample,
    )
