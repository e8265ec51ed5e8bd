"""Reading the csv files that come with datasets."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from data_pipelines.errors import DataError


def read_rows(
    path: Path, columns: Sequence[str], expected: str
) -> Iterator[tuple[str, dict[str, str]]]:
    """Reads a csv file, without the spaces around its cells.

    Args:
      path: The file.
      columns: The columns that it must have.
      expected: What the message says about a file that lacks them.

    Yields:
      Every row that is not blank: what a message says of it, and its cells by column.

    Raises:
      DataError: there is no such file, or it lacks a column.
    """
    if not path.is_file():
        raise DataError(f"{path} is missing: {expected}")
    # Spreadsheets put a byte order mark before the header.
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        rows = csv.reader(file)
        try:
            yield from _rows_of(path, rows, columns, expected)
        except csv.Error as error:
            raise DataError(
                f"{path} line {rows.line_num}: {error}; {expected}"
            ) from None


def _rows_of(
    path: Path, rows: Any, columns: Sequence[str], expected: str
) -> Iterator[tuple[str, dict[str, str]]]:
    header = [cell.strip() for cell in next(rows, ())]
    if not set(columns) <= set(header):
        raise DataError(f"{path} has the columns {','.join(header)}: {expected}")
    for cells in rows:
        row = dict.fromkeys(columns, "")
        row.update(zip(header, (cell.strip() for cell in cells), strict=False))
        if any(row.values()):
            yield f"{path} line {rows.line_num} reads {','.join(cells)!r}", row
