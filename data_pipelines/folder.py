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
from data_pipelines.mask_check import Look, check_masks, look_at_all, other_masks
from data_pipelines.masks import MaskRule
from data_pipelines.orientation import (
    AS_STORED,
    Header,
    MaskOrientation,
    Posture,
    mask_turns,
    say_turned,
)
from data_pipelines.pictures import DEFAULT_READING, Reading, read_file
from data_pipelines.records import Entry, FileRule, Record, Source

NORMAL_FOLDERS = ("good", "ok", "normal", "no")
MASK_FOLDERS = ("ground_truth", "masks")
_PREFIX = "folder:"


@dataclass(frozen=True)
class MaskSettings:
    """How the masks of a folder are read, as far as they do not tell.

    Attributes:
      values: What of a mask counts; see `mask_values`.
      orientation: On what they were drawn; see `mask_turns`.
    """

    values: str = "auto"
    orientation: MaskOrientation = "auto"


AS_MASKS_TELL = MaskSettings()


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
        rules: Sequence[FileRule],
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
        self._rules = tuple(rules)
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
        """Returns the SHA-256 of the image file, computed once.

        Of one that is turned when it is read it is another.
        """
        if i not in self._keys:
            digest = hashlib.sha256(read_file(self._files[i][0]))
            if self._rules[i].turned != AS_STORED:
                digest.update(f"turned {self._rules[i].turned}".encode())
            self._keys[i] = digest.hexdigest()
        return self._keys[i]

    def file_rule(self, i: int) -> FileRule:
        """Says how the files of record `i` become pixels."""
        return self._rules[i]


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
    masks: MaskSettings = AS_MASKS_TELL,
    strict: bool = False,
) -> FolderSource:
    """Scans a folder of images.

    Headers are read and masks decoded, so that an unusable file is found before
    anything is computed; with `skip_bad_files` every image is decoded, too.

    Args:
      path: The folder; symlinked sub-folders are not followed.
      dataset: The id that the source goes by.
      classes: Keeps these classes only; all where empty.
      skip_bad_files: Counts and skips unusable files instead of raising.
      normal_folders: Names of kinds that mean normal, in any case.
      labelled: Whether labels are needed; False accepts images without sub-folders.
      reading: What the numbers of images mean, and how large they may be.
      masks: How masks are read.
      strict: Whether masks that are odd, taken together, are an error.

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
    seen, skipped = _check(found, path, has_masks, skip_bad_files, reading, masks)
    items = [one.item for one in seen]
    others = [
        mask
        for name in chosen
        if layouts[name].masks
        for mask in other_masks(layouts[name].masks, found)
    ]
    check_masks(
        items,
        {one.item.mask: one.look for one in seen if one.look},
        look_at_all(others, masks.values),
        dataset=dataset,
        strict=strict,
    )
    return FolderSource(
        dataset,
        items,
        classes=chosen,
        has_masks=has_masks,
        labelled=True,
        skipped=skipped,
        rules=_file_rules(seen, dataset, reading, masks),
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
    seen, skipped = _check(found, path, False, skip_bad_files, reading, AS_MASKS_TELL)
    return FolderSource(
        dataset,
        [one.item for one in seen],
        classes=(name,),
        has_masks=False,
        labelled=False,
        skipped=skipped,
        rules=_file_rules(seen, dataset, reading, AS_MASKS_TELL),
    )


@dataclass(frozen=True)
class _Seen:
    """A usable item, and what its headers and its mask say."""

    item: Item
    header: Header
    posture: Posture | None
    look: Look | None


def _check(
    found: Sequence[Item],
    path: Path,
    has_masks: bool,
    skip_bad_files: bool,
    reading: Reading,
    masks: MaskSettings,
) -> tuple[list[_Seen], tuple[str, ...]]:
    """Keeps the usable items; names the others where they may be skipped."""
    seen, skipped = [], []
    looks = look_at_all((item.mask for item in found if item.mask), masks.values)
    for item in found:
        try:
            header, posture = check_headers(item, has_masks, reading)
            if skip_bad_files:
                read_checked(item, has_masks, reading, as_stored=False)
            look = looks[item.mask] if item.mask else None
            if isinstance(look, DataError):
                raise look
        except DataError as error:
            if not skip_bad_files:
                raise
            skipped.append(str(error))
        else:
            seen.append(_Seen(item, header, posture, look))
    if skipped:
        logging.warning("%s: skipped %d unusable files", path, len(skipped))
    if not seen:
        raise DataError(f"{path} holds no usable image; {len(skipped)} were skipped")
    return seen, tuple(skipped)


def _file_rules(
    seen: Sequence[_Seen], dataset: str, reading: Reading, masks: MaskSettings
) -> list[FileRule]:
    """How each record is read; what was decided is said."""
    names = [one.item.entry.path for one in seen]
    turned = [
        name
        for name, one in zip(names, seen, strict=True)
        if one.header.orientation != AS_STORED
    ]
    say_turned(dataset, turned, reading.upright, len(seen))
    turns = mask_turns(
        [one.posture for one in seen],
        names,
        dataset=dataset,
        upright=reading.upright,
        drawn=masks.orientation,
    )
    return [
        FileRule(
            reading.upright,
            MaskRule(masks.values, of_mask),
            one.header.orientation
            if reading.upright and not one.header.by_reader
            else AS_STORED,
        )
        for one, of_mask in zip(seen, turns, strict=True)
    ]


def _expected(normal_folders: Sequence[str]) -> str:
    return (
        f"sub-folders of which one is called {' or '.join(normal_folders)} and the "
        "others are kinds of anomaly, or test/KIND/ and ground_truth/KIND/, directly "
        "or per class"
    )
