"""List files: one path a line, as editors, shells and PowerShell write them."""

import codecs
import os
import re
from pathlib import Path

from kanoclip_jax.errors import InputError

SUFFIXES = (".txt", ".lst", ".list")
_QUOTES = ('"', "'")
_BETWEEN = re.compile(r"[\s,;]+")
# The longer marks first: UTF-32's begins as UTF-16's does.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_list(path: Path, key: str) -> list[Path]:
    """The paths that a list file names, relative to its own folder.

    A line may be in quotes; one that begins with `#` is a comment unless it is a file.

    Args:
        path: UTF-8 or UTF-16 text.
        key: the setting that names the list, for messages.

    Raises:
        InputError: no text, paths of Windows on another system, or more on a line than
            a path.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}); {key} takes a list of paths"
        ) from None
    found = []
    for number, line in enumerate(_decode(data, path, key).split("\n"), start=1):
        name = line.strip()
        if not name:
            continue
        there = os.path.lexists(path.parent / name)
        if name.startswith("#") and not there:
            continue
        bare = name if there else _unquote(name)
        _check(path, number, bare)
        found.append(Path(os.path.abspath(path.parent / bare)))
    return found


def _decode(data: bytes, path: Path, key: str) -> str:
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "")
    if not encoding and b"\0" in data:
        # Without a mark, most of what is written has its zeros on one side.
        encoding = "utf-16-be" if data[:1] == b"\0" else "utf-16-le"
    try:
        # Names need not be UTF-8, on the file system as in the list.
        text = (
            data.decode(encoding)
            if encoding
            else data.decode("utf-8-sig", "surrogateescape")
        )
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise InputError(
            f"{path} is no text; {key} takes a list with one path a line, in UTF-8 or "
            "UTF-16"
        )
    return text


def _unquote(name: str) -> str:
    quoted = len(name) > 2 and name[0] in _QUOTES and name[-1] == name[0]
    return name[1:-1] if quoted else name


def _check(path: Path, number: int, name: str) -> None:
    """Refuse a line that means another path than it says.

    Raises:
        InputError: backslashes that part nothing here, or something after the path.
    """
    if os.path.lexists(path.parent / name):
        return
    if os.sep == "/" and "\\" in name:
        raise InputError(
            f"{path}:{number} has backslashes ({name!r}), which part no folders on this "
            "system; write the paths of a list with /"
        )
    for gap in _BETWEEN.finditer(name):
        head, rest = _unquote(name[: gap.start()]), name[gap.end() :]
        if head and os.path.isfile(path.parent / head):
            raise InputError(
                f"{path}:{number} has {rest!r} after the path {head!r}; a list holds "
                "one path a line and nothing else"
            )
