"""Which classes a user's folder holds, and which of their folders mean what."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from data_pipelines.errors import DataError
from data_pipelines.folder_names import (
    is_normal,
    is_result,
    masks_by_name,
    may_be_normal,
    says_pictures,
    split_of,
)
from data_pipelines.folder_tree import Tree, looks_like_masks, scan_tree
from data_pipelines.names import name_some, printable


@dataclass(frozen=True)
class ClassLayout:
    """Where one class keeps its kinds of images, and their masks if there are any.

    Attributes:
      home: The class's folder.
      level: The folder whose sub-folders are the kinds: the class's, or its split.
      kinds: Folders of images, one per kind.
      masks: The folder of masks beside the kinds or beside their split.
    """

    home: Tree
    level: Tree
    kinds: tuple[Tree, ...]
    masks: Tree | None


@dataclass(frozen=True)
class FolderLayout:
    """A user's folder as classes, none where it has no sub-folders of images.

    Attributes:
      tree: All that it holds.
      classes: Each class by its name.
    """

    tree: Tree
    classes: dict[str, ClassLayout] = field(default_factory=dict)


def find_layout(path: Path, normal_folders: frozenset[str]) -> FolderLayout:
    """Finds the classes of a folder.

    Args:
      path: The folder.
      normal_folders: Lower-case names of kinds that mean normal.

    Raises:
      DataError: some sub-folders hold images and others hold classes, there are two
        folders of masks, a link leads nowhere.
    """
    finder = _Finder(normal_folders)
    tree = scan_tree(path)
    own_name = Path(os.path.abspath(path)).name
    own = finder.class_at(tree)
    if own:
        return FolderLayout(tree, {own_name: own})
    level = finder.level_of(tree)
    outer = finder.masks_at(tree, level)
    found = {}
    for child in finder.candidates(level):
        masks = outer.find(child.name) if outer else None
        layout = finder.class_at(child, masks)
        if layout and not child.pictures:
            found[child.name] = layout
    # A folder called like masks, or like a split, may be a class if nothing else is.
    for child in level.folders:
        if masks_by_name(child.name) != "no" and finder.is_class(child):
            layout = finder.class_at(child)
            if layout and not _look_alike(child):
                found[child.name] = layout
    if not found:
        _refuse_splits(tree, level)
    return FolderLayout(tree, dict(sorted(found.items())))


def holds_masks(folder: Tree) -> bool:
    """Says whether a folder of pictures is one of masks.

    Raises:
      DataError: it is called as masks may be, and its pictures do not look like any.
    """
    said = masks_by_name(folder.name)
    if said == "maybe" and not _look_alike(folder):
        raise DataError(
            f"{folder.path} is called as masks are, but its pictures are not black and "
            "white; call it ground_truth if they are masks, or otherwise if they are "
            "pictures of one kind"
        )
    return said != "no"


def _look_alike(folder: Tree) -> bool:
    return looks_like_masks(folder.all_pictures())


class _Finder:
    """Tells kinds from classes; of a folder's name, what it means."""

    def __init__(self, normal_folders: frozenset[str]):
        self._normal = normal_folders

    def class_at(self, tree: Tree, masks: Tree | None = None) -> ClassLayout | None:
        """Reads a folder as one class, None where it is none."""
        level = self.level_of(tree)
        candidates = self.candidates(level)
        kinds = [child for child in candidates if self._is_kind(child)]
        if not kinds:
            return None
        for child in candidates:
            if child not in kinds and self.is_class(child):
                raise DataError(
                    f"{level.path} mixes a folder of images ({kinds[0].name}) with a "
                    f"folder of folders ({child.name}); keep either kinds of images or "
                    "classes in it. A folder of masks is called ground_truth or masks"
                )
        return ClassLayout(
            tree, level, tuple(candidates), self.masks_at(tree, level) or masks
        )

    def is_class(self, tree: Tree) -> bool:
        """Whether a folder is a class beyond doubt: it has a split, or normal images."""
        level = self.level_of(tree)
        if level is not tree and not says_pictures(level.name):
            return bool(self.candidates(level))
        return any(
            is_normal(child.name, self._normal) and child.holds_pictures()
            for child in self.candidates(level)
        )

    def candidates(self, level: Tree) -> list[Tree]:
        """The sub-folders that may be kinds or classes: those with images below."""
        return [
            child
            for child in level.folders
            if masks_by_name(child.name) == "no"
            and not is_result(child.name)
            and not split_of(child.name)
            and child.holds_pictures()
        ]

    def level_of(self, tree: Tree) -> Tree:
        """Where the kinds are: in the split that is evaluated, in `images`, or here."""
        splits = {
            split_of(child.name): child for child in tree.folders if self._holds(child)
        }
        for split in ("test", "val"):
            if split in splits:
                return splits[split]
        candidates = self.candidates(tree)
        if len(candidates) == 1 and says_pictures(candidates[0].name):
            (inner,) = candidates
            if not inner.pictures and self.is_class(inner):
                return inner
        return tree

    def masks_at(self, tree: Tree, level: Tree) -> Tree | None:
        """The folder of masks of a class, beside its kinds or beside its split.

        Raises:
          DataError: there are two, or one that is called like masks holds none.
        """
        folders = [*tree.folders, *(level.folders if level is not tree else ())]
        found = []
        for folder in folders:
            if masks_by_name(folder.name) == "no" or not folder.holds_pictures():
                continue
            may_be_class = masks_by_name(folder.name) == "maybe"
            if may_be_class and self.is_class(folder) and not _look_alike(folder):
                continue
            if holds_masks(folder):
                found.append(folder)
        if len(found) > 1:
            raise DataError(
                f"{tree.path} has two folders of masks, "
                f"{' and '.join(printable(f.name) for f in found[:2])}; keep one of "
                "them in it"
            )
        if not found:
            return None
        # As in masks/test/KIND.
        inner = found[0].find(level.name) if level is not tree else None
        return inner or found[0]

    def _is_kind(self, tree: Tree) -> bool:
        """Whether a folder holds images of one kind, directly or, if normal, below."""
        if tree.pictures:
            return True
        named = may_be_normal(tree.name) or is_normal(tree.name, self._normal)
        return named and tree.holds_pictures() and not self.is_class(tree)

    def _holds(self, split: Tree) -> bool:
        return split_of(split.name) is not None and split.holds_pictures()


def _refuse_splits(tree: Tree, level: Tree) -> None:
    """Say what a folder of splits lacks.

    Raises:
      DataError: it has splits and nothing that can be read.
    """
    splits = [f for f in tree.folders if split_of(f.name) and f.holds_pictures()]
    if not splits or tree.pictures:
        return
    if level is not tree:
        raise DataError(
            f"{level.path} holds images without labels; expected are sub-folders of it, "
            "one per kind, as in good/ and bad/"
        )
    raise DataError(
        f"{tree.path} has no split that is evaluated, only "
        f"{name_some([f.name for f in splits])}; name that folder itself, as in "
        f"folder:{printable(str(splits[0].path))}"
    )
