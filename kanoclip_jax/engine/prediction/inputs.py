"""The pictures that a user names: one, a folder, a glob or a list file."""

import os
from collections.abc import Sequence
from pathlib import Path

from data_pipelines.folder_names import masked_stems, masks_by_name
from data_pipelines.names import name_some, printable
from data_pipelines.pictures.formats import IMAGE_SUFFIXES
from data_pipelines.suffixes import (
    count_suffixes,
    is_document,
    is_hidden,
    is_picture,
    is_unread,
)
from kanoclip_jax.engine.prediction.lists import SUFFIXES, read_list
from kanoclip_jax.errors import InputError


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
    elif os.path.isfile(path) and path.suffix.lower() in SUFFIXES:
        found = read_list(path, key)
    elif os.path.lexists(path):
        found = [path]
    else:
        found = _match(path)
    found = [path for path in dict.fromkeys(found) if not is_below(path, exclude)]
    if not found:
        left = _left_out(path, exclude) if os.path.isdir(path) else ""
        lacks = "" if os.path.lexists(path) else ": nothing is there"
        raise InputError(
            f"{key} {given!r} names no picture{lacks}; allowed are an image, a folder with "
            f"images ({', '.join(sorted(IMAGE_SUFFIXES))}), a glob or a list file "
            f"(.txt){f'. It holds {left}' if left else ''}"
        )
    return found


def describe_inputs(
    given: str, found: Sequence[Path], exclude: Sequence[Path] = ()
) -> list[str]:
    """What `predict.input` was read as, and what of a folder was left out, in words.

    Args:
        given: what the user named.
        found: the pictures of it.
        exclude: what is not spoken of, as for `find_inputs`.
    """
    count = f"{len(found)} picture{'' if len(found) == 1 else 's'}"
    folder = absolute(Path(given).expanduser())
    if not os.path.isdir(folder):
        return [f"{printable(given)}: {count}"]
    left = _left_out(folder, exclude)
    lines = [f"{printable(given)}: {count}{f'; not used: {left}' if left else ''}"]
    masks = _called_like_masks(folder, found)
    if masks:
        lines.append(
            f"{len(masks)} of them called like masks are scored as pictures "
            f"({name_some(masks)})"
        )
    return lines


def unread(folder: Path, exclude: Sequence[Path] = ()) -> list[Path]:
    """The visible files of a folder that are known pictures and are not read."""
    return [path for path in _files(folder, exclude) if is_unread(path.name)]


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
        folders[:] = _visible(Path(parent), folders, exclude)
        found += [Path(parent, name) for name in names if is_picture(name)]
    found = [path for path in found if not is_below(path, exclude)]
    return sorted([*found, *unreadable])


def is_below(path: Path, folders: Sequence[Path]) -> bool:
    """Whether a path is one of these, or in one of them."""
    return any(path.is_relative_to(folder) for folder in folders)


def absolute(path: Path) -> Path:
    """A path from the root, with symlinks as they are."""
    return Path(os.path.abspath(path))


def _visible(
    parent: Path, folders: Sequence[str], exclude: Sequence[Path]
) -> list[str]:
    return [
        name
        for name in folders
        if not is_hidden(name) and not is_below(Path(parent, name), exclude)
    ]


def _files(folder: Path, exclude: Sequence[Path]) -> list[Path]:
    """All visible files of a folder, and links to folders, which are not followed."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = _visible(Path(parent), folders, exclude)
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        found += [
            Path(parent, name)
            for name in (*names, *links)
            if not is_hidden(name) and not is_below(Path(parent, name), exclude)
        ]
    return sorted(found)


def _left_out(folder: Path, exclude: Sequence[Path]) -> str:
    """What a folder holds besides pictures and documents, in words."""
    known, others, links = [], [], []
    for path in _files(folder, exclude):
        name = path.relative_to(folder).as_posix()
        if os.path.isdir(path):
            links.append(name)
        elif is_unread(path.name):
            known.append(name)
        elif not is_picture(path.name) and not is_document(path.name):
            others.append(name)
    parts = (
        (known, f"of formats that are not read, {count_suffixes(known)}"),
        (others, "that are no pictures by their names"),
        (links, "that are links to folders"),
    )
    return ", ".join(
        f"{len(names)} {what} ({name_some(names)})" for names, what in parts if names
    )


def _called_like_masks(folder: Path, found: Sequence[Path]) -> list[str]:
    files, masks = set(), []
    for path in found:
        files.add((path.parent, path.stem))
    for path in found:
        inner = path.relative_to(folder)
        beside = any(
            sure and (path.parent, stem) in files
            for stem, sure in masked_stems(path.stem)
        )
        if beside or any(masks_by_name(part) == "yes" for part in inner.parts[:-1]):
            masks.append(inner.as_posix())
    return masks


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
