"""The pictures that a user names: one, a folder, a glob or a list file."""

import os
from collections.abc import Sequence
from pathlib import Path

from data_pipelines.pictures.formats import IMAGE_SUFFIXES
from kanoclip_jax.errors import InputError

_LISTS = (".txt", ".lst", ".list")


def find_inputs(
    given: str, exclude: Sequence[Path] = (), key: str = "predict.input"
) -> list[Path]:
    """The pictures that `predict.input` names, as absolute paths in a fixed order.

    Args:
        given: an image, a folder, a glob (`**` for any depth; symlinked folders are
            not followed), or a text file that lists one path a line, relative to it.
        exclude: absolute folders and files that are none, such as earlier results.
        key: the setting that names them, for messages.

    Returns:
        Each path once. Of a folder, see `walk`; a glob and a list give what they name,
        whatever it is.

    Raises:
        InputError: nothing is there.
    """
    if not given:
        raise InputError(
            f"{key} is empty; name an image, a folder, a glob or a list file, as in "
            f"--config.{key}=photos/"
        )
    path = absolute(Path(given).expanduser())
    if os.path.isdir(path):
        found = walk(path, exclude)
    elif os.path.isfile(path) and path.suffix.lower() in _LISTS:
        found = _read_list(path)
    elif os.path.lexists(path):
        found = [path]
    else:
        found = _match(path)
    found = [path for path in dict.fromkeys(found) if not is_below(path, exclude)]
    if not found:
        raise InputError(
            f"{key} {given!r} names no picture; allowed are an image, a folder with "
            f"images ({', '.join(sorted(IMAGE_SUFFIXES))}), a glob or a list file "
            "(.txt)"
        )
    return found


def walk(folder: Path, exclude: Sequence[Path] = ()) -> list[Path]:
    """The visible image files of a folder, by suffix, at any depth.

    Symlinked folders are not followed. A folder that may not be read stands for what
    it holds, so that it is reported and not passed over.
    """
    unreadable: list[Path] = []
    found: list[Path] = []

    def note(error: OSError) -> None:
        # Folders come and go; one that is gone holds nothing.
        if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
            unreadable.append(Path(error.filename))

    for parent, folders, names in os.walk(folder, onerror=note):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and not is_below(Path(parent, name), exclude)
        ]
        found += [Path(parent, name) for name in names if is_picture(name)]
    found = [path for path in found if not is_below(path, exclude)]
    return sorted([*found, *unreadable])


def is_picture(name: str) -> bool:
    """Whether a file's name says that it is a visible picture."""
    return Path(name).suffix.lower() in IMAGE_SUFFIXES and not name.startswith(".")


def is_below(path: Path, folders: Sequence[Path]) -> bool:
    """Whether a path is one of these, or in one of them."""
    return any(path.is_relative_to(folder) for folder in folders)


def absolute(path: Path) -> Path:
    """A path from the root, with symlinks as they are."""
    return Path(os.path.abspath(path))


def _read_list(path: Path) -> list[Path]:
    try:
        # Names need not be UTF-8, on the file system as in the list.
        text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}); predict.input takes a list of "
            "paths"
        ) from None
    lines = (line.strip() for line in text.split("\n"))
    return [absolute(path.parent / line) for line in lines if line]


def _match(pattern: Path) -> list[Path]:
    """Files that match a pattern; pathlib's `**` does not follow symlinks."""
    inner = str(pattern.relative_to(pattern.anchor))
    if inner.endswith("**"):
        inner = f"{inner}/*"
    try:
        matched = sorted(Path(pattern.anchor).glob(inner))
    except (ValueError, OSError):
        # «**» within a name, or a name that no file system takes.
        return []
    return [path for path in matched if not os.path.isdir(path)]
