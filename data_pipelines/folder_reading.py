"""How a user's folder was read, in words: one line a class, and what was left out."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from data_pipelines.folder_kinds import ClassReading
from data_pipelines.folder_names import (
    is_result,
    masked_stems,
    masks_by_name,
    split_of,
)
from data_pipelines.folder_tree import Tree
from data_pipelines.names import name_some, printable
from data_pipelines.suffixes import count_suffixes

_MOST_NAMED = 3


@dataclass
class Unused:
    """What of a folder was met and left out.

    Attributes:
      splits: Splits that are not evaluated,
      results: and folders of results, each with its number of images.
      masks: Masks of no anomalous image.
      pictures: Images that are none of a kind's.
      unread: Images of formats that are not read.
      others: Files that are neither images nor known documents.
      links: Links to folders.
      empty: Folders without anything.
    """

    splits: list[tuple[str, int]] = field(default_factory=list)
    results: list[tuple[str, int]] = field(default_factory=list)
    masks: list[str] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)

    def strays(self) -> list[str]:
        """What was not understood, or not read."""
        return [*self.pictures, *self.masks, *self.unread, *self.others, *self.links]

    def __str__(self) -> str:
        """All of it in words, empty where there is none."""
        return ", ".join(self._parts())

    def _parts(self) -> Iterator[str]:
        yield from _folders(self.splits, "a split that is not read")
        yield from _folders(self.results, "results")
        if self.pictures:
            yield _counted(self.pictures, "picture", "in no folder of a kind")
        if self.masks:
            yield _counted(self.masks, "mask", "of no anomalous picture")
        if self.unread:
            suffixes = count_suffixes(self.unread)
            yield _counted(self.unread, "picture", f"of a format not read, {suffixes}")
        if self.others:
            yield _counted(self.others, "other file")
        if self.links:
            yield _counted(self.links, "link", "to a folder, not followed")
        if self.empty:
            yield _counted(self.empty, "empty folder")


def find_unused(
    tree: Tree, used: frozenset[Path], without: Iterable[Tree] = ()
) -> Unused:
    """Finds what of a folder was not used.

    Args:
      tree: The folder, from which names are given.
      used: The files that were.
      without: Folders in it that are not looked into.
    """
    unused, leave = Unused(), {id(folder) for folder in without}

    def look(folder: Tree, masks: bool) -> None:
        def named(paths: Iterable[Path]) -> list[str]:
            return [path.relative_to(tree.path).as_posix() for path in paths]

        for path in folder.pictures:
            if path not in used:
                is_mask = masks or _beside(path, folder)
                (unused.masks if is_mask else unused.pictures).extend(named([path]))
        unused.unread += named(folder.unread)
        unused.others += named(folder.others)
        unused.links += named(folder.links)
        for child in folder.folders:
            if id(child) in leave:
                continue
            inner = child.all_pictures()
            (name,) = named([child.path])
            if child.is_empty:
                unused.empty.append(name)
            elif inner and used.isdisjoint(inner) and split_of(child.name):
                if not any(id(below) in leave for below in child.walk()):
                    unused.splits.append((name, len(inner)))
                    continue
                look(child, masks)
            elif is_result(child.name) and used.isdisjoint(inner):
                unused.results.append((name, len(inner)))
            else:
                look(child, masks or masks_by_name(child.name) != "no")

    look(tree, masks=False)
    return unused


def describe_class(reading: ClassReading, unused: Unused, called: str = "") -> str:
    """One class in a line: `nut: normal: good 60; anomalous: bent 9; masks: …`.

    Args:
      reading: The class.
      unused: What of it was left out.
      called: What prompts call it, where its user said so.
    """
    left = str(unused)
    return (
        f"{printable(reading.name)}{f' (in prompts: {called})' if called else ''}: normal: {_list(reading.normal)}; "
        f"anomalous: {_list(reading.anomalous)}; masks: {_list(reading.masks)}"
        f"{f'; not used: {left}' if left else ''}"
    )


def used_files(reading: ClassReading) -> frozenset[Path]:
    """The images and masks that a class is made of."""
    return frozenset(
        path for item in reading.items for path in (item.image, item.mask) if path
    )


def _beside(path: Path, folder: Tree) -> bool:
    """Whether a file is called like the mask of one beside it."""
    stems = {other.stem for other in folder.pictures}
    return any(stem in stems for stem, _ in masked_stems(path.stem))


def _list(counts: dict[str, int]) -> str:
    found = (f"{printable(name)} {count}" for name, count in counts.items())
    return ", ".join(found) or "none"


def _folders(found: list[tuple[str, int]], what: str) -> Iterator[str]:
    """Folders with how many images are in each, or in all where there are many."""
    if len(found) <= _MOST_NAMED:
        yield from (f"{printable(name)} {count} ({what})" for name, count in found)
    else:
        names = name_some([name for name, _ in found])
        yield f"{sum(count for _, count in found)} pictures in {names} ({what})"


def _counted(names: list[str], what: str, more: str = "") -> str:
    plural = "" if len(names) == 1 else "s"
    said = f" {more}" if more else ""
    return f"{len(names)} {what}{plural}{said} ({name_some(names)})"
