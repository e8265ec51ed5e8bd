"""A user's own folder of images as a source, read in place.

Per class, either MVTec's layout (`test/KIND/`) or one sub-folder per kind (`good/`,
`bad/`); masks, if any, in `ground_truth/` or `masks/` beside them. A folder whose
sub-folders are such classes is a folder of classes; one whose sub-folders hold images
is a single class called like itself. Images directly in the folder have no labels.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from absl import logging

from data_pipelines.catalog import select_classes
from data_pipelines.checks import check_headers, read_checked
from data_pipelines.errors import DataError
from data_pipelines.layouts import Item, list_folders, list_images, scan_kinds
from data_pipelines.pictures import DEFAULT_READING, Reading, read_file
from data_pipelines.records import Entry, Record, Source

NORMAL_FOLDERS = ("good", "ok", "normal", "no")
MASK_FOLDERS = ("ground_truth", "masks")
_PREFIX = "folder:"


@dataclass(frozen=True)
class ClassLayout:
    """Where one class keeps its kinds of images, and their masks if there are any."""

    kinds: tuple[Path, ...]
    masks: Path | None


class FolderSource(Source):
    """The images of a user's folder; see `Source`."""

    def __init__(
        self,
        dataset: str,
        items: Sequence[Item],
        *,
        classes: tuple[str, ...],
        has_masks: bool,
        labelled: bool,
        skipped: tuple[str, ...],
    ):
        self.dataset = dataset
        self.classes = classes
        self.prompt_names = {name: name.replace("_", " ") for name in classes}
        self.has_masks = has_masks
        self.labelled = labelled
        self.index = tuple(item.entry for item in items)
        self.skipped = skipped
        self.missing_classes = ()
        self._files = tuple((item.image, item.mask) for item in items)
        self._keys: dict[int, str] = {}

    def __getitem__(self, i: int) -> Record:
        entry = self.index[i]
        return Record(
            image=read_file(self._files[i][0]),
            mask=self.mask(i),
            label=entry.label,
            class_name=entry.class_name,
            defect=entry.defect,
            path=entry.path,
        )

    def mask(self, i: int) -> bytes:
        """Reads only the encoded mask of record `i`, `b""` where there is none."""
        mask = self._files[i][1]
        return b"" if mask is None else read_file(mask)

    def key(self, i: int) -> str:
        """Returns the SHA-256 of the image file, computed once."""
        if i not in self._keys:
            self._keys[i] = hashlib.sha256(read_file(self._files[i][0])).hexdigest()
        return self._keys[i]


def folder_of(dataset: str) -> Path | None:
    """Returns where `folder:PATH` lies, None for an id of another kind."""
    if not dataset.startswith(_PREFIX):
        return None
    return Path(dataset.removeprefix(_PREFIX)).expanduser()


def open_folder(
    path: Path,
    *,
    dataset: str,
    classes: tuple[str, ...] = (),
    skip_bad_files: bool = False,
    normal_folders: tuple[str, ...] = NORMAL_FOLDERS,
    labelled: bool = True,
    reading: Reading = DEFAULT_READING,
) -> FolderSource:
    """Scans a folder of images.

    Headers are read, so that an unusable file is found before anything is computed;
    with `skip_bad_files` every file is decoded instead.

    Args:
      path: The folder; symlinked sub-folders are not followed.
      dataset: The id that the source goes by.
      classes: Keeps these classes only; all where empty.
      skip_bad_files: Counts and skips unusable files instead of raising.
      normal_folders: Names of kinds that mean normal, in any case.
      labelled: Whether labels are needed; False accepts images without sub-folders.
      reading: What the numbers of images mean, and how large they may be.

    Returns:
      The source.

    Raises:
      DataError: not a folder, no images, an ambiguous or unlabelled layout, an unknown
        class, or an unusable file.
    """
    if not path.is_dir():
        raise DataError(
            f"{path} is not a folder; folder:PATH takes a folder of images with "
            f"{_expected(normal_folders)}"
        )
    layouts = find_classes(path)
    if not layouts:
        return _open_flat(path, dataset, classes, skip_bad_files, labelled, reading)
    chosen = select_classes(dataset, classes, layouts)
    has_masks = any(layouts[name].masks for name in chosen)
    normal_names = frozenset(name.lower() for name in normal_folders)
    found = [
        item
        for name in chosen
        for item in scan_kinds(
            layouts[name].kinds,
            layouts[name].masks,
            base=path,
            class_name=name,
            normal_names=normal_names,
        )
    ]
    if not has_masks and all(item.entry.label == 1 for item in found):
        kinds = sorted({item.entry.defect for item in found})
        raise DataError(
            f"{path} has neither normal images nor masks, only {', '.join(kinds)}; "
            f"expected {_expected(normal_folders)}"
        )
    items, skipped = _check(found, path, has_masks, skip_bad_files, reading)
    return FolderSource(
        dataset,
        items,
        classes=chosen,
        has_masks=has_masks,
        labelled=True,
        skipped=skipped,
    )


def find_classes(path: Path) -> dict[str, ClassLayout]:
    """Finds the classes of a folder, empty where it has no sub-folders of images.

    Raises:
      DataError: some sub-folders hold images and others hold classes.
    """
    own_name = Path(os.path.abspath(path)).name
    layout = _class_layout(path)
    if layout and layout.kinds[0].parent != path:
        return {own_name: layout}
    nested = {
        folder.name: inner
        for folder in _image_parents(path)
        if not list_images(folder) and (inner := _class_layout(folder))
    }
    if layout and nested:
        raise DataError(
            f"{path} mixes a folder of images ({layout.kinds[0].name}) with a folder "
            f"of folders ({next(iter(nested))}); keep either kinds of images or "
            "classes in it"
        )
    ignored = [f.name for f in _image_parents(path) if f.name not in nested]
    if nested and ignored:
        logging.warning("%s: no class found in %s", path, ", ".join(ignored))
    return {own_name: layout} if layout else nested


def _class_layout(folder: Path) -> ClassLayout | None:
    """Reads a folder as one class: MVTec's layout first, then kinds of images."""
    masks = next(
        (f for f in list_folders(folder) if f.name.lower() in MASK_FOLDERS), None
    )
    for parent in (folder / "test", folder):
        if parent.is_dir() and not parent.is_symlink():
            kinds = tuple(f for f in _image_parents(parent) if list_images(f))
            if kinds:
                return ClassLayout(kinds, masks)
    return None


def _image_parents(folder: Path) -> list[Path]:
    return [f for f in list_folders(folder) if f.name.lower() not in MASK_FOLDERS]


def _open_flat(
    path: Path,
    dataset: str,
    classes: tuple[str, ...],
    skip_bad_files: bool,
    labelled: bool,
    reading: Reading,
) -> FolderSource:
    images = list_images(path)
    if not images:
        raise DataError(f"{path} holds no images; expected {_expected(NORMAL_FOLDERS)}")
    if labelled:
        raise DataError(
            f"{path} holds images without labels; expected {_expected(NORMAL_FOLDERS)}"
        )
    name = Path(os.path.abspath(path)).name
    select_classes(dataset, classes, (name,))
    found = [Item(image, None, Entry(image.name, name, "", -1)) for image in images]
    items, skipped = _check(found, path, False, skip_bad_files, reading)
    return FolderSource(
        dataset,
        items,
        classes=(name,),
        has_masks=False,
        labelled=False,
        skipped=skipped,
    )


def _check(
    found: Sequence[Item],
    path: Path,
    has_masks: bool,
    skip_bad_files: bool,
    reading: Reading,
) -> tuple[list[Item], tuple[str, ...]]:
    """Keeps the usable items; names the others where they may be skipped."""
    items, skipped = [], []
    for item in found:
        try:
            if skip_bad_files:
                read_checked(item, has_masks, reading)
            else:
                check_headers(item, has_masks, reading)
        except DataError as error:
            if not skip_bad_files:
                raise
            skipped.append(str(error))
        else:
            items.append(item)
    if skipped:
        logging.warning("%s: skipped %d unusable files", path, len(skipped))
    if not items:
        raise DataError(f"{path} holds no usable image; {len(skipped)} were skipped")
    return items, tuple(skipped)


def _expected(normal_folders: Sequence[str]) -> str:
    return (
        f"sub-folders of which one is called {' or '.join(normal_folders)} and the "
        "others are kinds of anomaly, or test/KIND/ and ground_truth/KIND/, directly "
        "or per class"
    )
