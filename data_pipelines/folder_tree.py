"""A user's folder as it lies there: every visible file, by what its name says it is."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from data_pipelines.errors import DataError
from data_pipelines.names import printable
from data_pipelines.suffixes import (
    is_document,
    is_hidden,
    is_picture,
    is_unread,
)

# Pillow knows more formats, and runs Ghostscript on some.
_FORMATS = ("PNG", "JPEG", "BMP", "DIB", "TIFF", "WEBP", "GIF", "PPM")
# Of a folder of pictures, so many say what all are like.
_SAMPLE = 3
_SAMPLE_PIXELS = 50_000_000
_SAMPLE_SIDE = 512
# Near black and near white, for JPEG rings around edges.
_DARK, _BRIGHT = 16, 239
_FEW_VALUES = 16
_MOST = 0.98


@dataclass(frozen=True, eq=False)
class Tree:
    """What a folder holds, by name; hidden files, clutter and documents are left out.

    Attributes:
      path: The folder.
      pictures: Image files directly in it.
      unread: Known image files that are not read.
      others: Files of which nothing is known.
      links: Links to folders, which are not followed.
      folders: Visible sub-folders.
      is_empty: Whether it holds nothing visible at all.
    """

    path: Path
    pictures: tuple[Path, ...]
    unread: tuple[Path, ...]
    others: tuple[Path, ...]
    links: tuple[Path, ...]
    folders: tuple["Tree", ...]
    is_empty: bool

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    def walk(self) -> Iterator["Tree"]:
        """This folder and all below it, a folder before what it holds."""
        yield self
        for folder in self.folders:
            yield from folder.walk()

    def all_pictures(self) -> list[Path]:
        """Image files at any depth, those directly in a folder first."""
        return [path for folder in self.walk() for path in folder.pictures]

    def holds_pictures(self) -> bool:
        """Whether there is an image file at any depth."""
        return any(folder.pictures for folder in self.walk())

    def find(self, name: str) -> "Tree | None":
        """The sub-folder of this name."""
        return next((f for f in self.folders if f.name == name), None)


def scan_tree(path: Path) -> Tree:
    """Lists a folder to any depth.

    Raises:
      DataError: a link leads nowhere, or a picture's name is not a file's.
    """
    pictures, unread, others, links, folders = [], [], [], [], []
    seen = False
    for entry in sorted(path.iterdir()):
        if is_hidden(entry.name):
            continue
        seen = True
        if entry.is_dir():
            if entry.is_symlink():
                links.append(entry)
            else:
                folders.append(scan_tree(entry))
        elif is_document(entry.name):
            continue
        elif not entry.is_file():
            _refuse(entry)
        elif is_picture(entry.name):
            pictures.append(entry)
        elif is_unread(entry.name):
            unread.append(entry)
        else:
            others.append(entry)
    return Tree(
        path,
        tuple(pictures),
        tuple(unread),
        tuple(others),
        tuple(links),
        tuple(folders),
        is_empty=not seen,
    )


def looks_like_masks(pictures: list[Path]) -> bool:
    """Says whether pictures may be masks: black and white, or of few values."""
    return bool(pictures) and all(
        levels is not None and (len(levels) <= _FEW_VALUES or _in_ends(levels))
        for levels in map(_levels, _sample(pictures))
    )


def black_and_white(pictures: list[Path]) -> bool:
    """Says whether pictures are black with something white on them."""
    both = False
    for levels in map(_levels, _sample(pictures)):
        # The first photograph ends it: most folders cost one decoding.
        if levels is None or not _in_ends(levels):
            return False
        both = both or len(levels) > 1
    return both


def is_blank(picture: Path) -> bool:
    """Says whether a picture is of one value all over; False where it is unreadable."""
    try:
        with Image.open(picture, formats=_FORMATS) as image:
            extremes = image.getextrema()
    except Exception:  # noqa: BLE001
        # Pillow raises nearly anything; who decodes it says so.
        return False
    bands = extremes if isinstance(extremes[0], tuple) else (extremes,)
    return all(low == high for low, high in bands)


def _sample(pictures: list[Path]) -> list[Path]:
    step = max(1, -(-len(pictures) // _SAMPLE))
    return pictures[::step][:_SAMPLE]


def _levels(path: Path) -> dict[int, int] | None:
    """How many pixels have which grey value; None where nobody can tell cheaply."""
    try:
        with Image.open(path, formats=_FORMATS) as image:
            if image.width * image.height > _SAMPLE_PIXELS:
                return None
            # Of a JPEG, an eighth of its size is decoded eight times as fast.
            image.draft("L", (_SAMPLE_SIDE, _SAMPLE_SIDE))
            pixels = np.asarray(image if image.mode == "1" else image.convert("L"))
    except Exception:  # noqa: BLE001
        return None
    step = max(1, max(pixels.shape) // _SAMPLE_SIDE)
    values, counts = np.unique(pixels[::step, ::step], return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def _in_ends(levels: dict[int, int]) -> bool:
    """Whether all values are black or one other, or nearly all black or white."""
    if len(levels) <= 2 and (0 in levels or max(levels) == 255):
        return True
    ends = sum(n for v, n in levels.items() if v <= _DARK or v >= _BRIGHT)
    has_both = min(levels) <= _DARK and max(levels) >= _BRIGHT
    return has_both and ends >= _MOST * sum(levels.values())


def _refuse(entry: Path) -> None:
    where = printable(str(entry))
    if entry.is_symlink():
        raise DataError(
            f"{where} is a link to what is not there "
            f"({printable(str(entry.readlink()))}); restore it, or remove the link"
        )
    if is_picture(entry.name):
        raise DataError(f"{where} is not a regular file; replace or remove the file")
