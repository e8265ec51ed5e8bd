"""A user's own folder of images as a source, read in place.

Per class, either MVTec's layout (`test/KIND/`) or one sub-folder per kind (`good/`,
`bad/`); masks, if any, in `ground_truth/` or `masks/` beside them, within a kind, or
beside their images as `NAME_mask`. A folder whose sub-folders are such classes is a
folder of classes; one whose sub-folders hold images is a single class called like
itself. Images directly in the folder have no labels.

What is read is what the source says in `description`, a line for each class: every visible
file is used, a document, or named.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from data_pipelines.catalog import select_classes
from data_pipelines.errors import DataError
from data_pipelines.folder_files import (
    AS_MASKS_TELL,
    MaskSettings,
    check_files,
    file_rules,
)
from data_pipelines.folder_kinds import ClassReading, read_class, read_kind
from data_pipelines.folder_layout import find_layout
from data_pipelines.folder_names import NORMAL_FOLDERS
from data_pipelines.folder_prompts import read_prompt_names
from data_pipelines.folder_reading import (
    Unused,
    describe_class,
    find_unused,
    used_files,
)
from data_pipelines.folder_tree import Tree
from data_pipelines.layouts import Item
from data_pipelines.mask_check import check_masks, look_at_all
from data_pipelines.names import name_some, printable, readable
from data_pipelines.orientation import AS_STORED
from data_pipelines.pictures import DEFAULT_READING, Reading, read_file
from data_pipelines.records import Entry, FileRule, Record, Source

_PREFIX = "folder:"


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
        description: tuple[str, ...] = (),
        strays: tuple[str, ...] = (),
        prompt_names: Mapping[str, str] = MappingProxyType({}),
    ):
        self.dataset = dataset
        self.classes = classes
        self.prompt_names = {
            name: prompt_names.get(name) or readable(name) for name in classes
        }
        self.has_masks = has_masks
        self.labelled = labelled
        self.index = tuple(item.entry for item in items)
        self.skipped = skipped
        self.missing_classes = ()
        self.description = description
        self.strays = strays
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
    strict: bool = False,
    reading: Reading = DEFAULT_READING,
    masks: MaskSettings = AS_MASKS_TELL,
    prompt_names: Mapping[str, str] | None = MappingProxyType({}),
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
      strict: Refuses a folder that holds what is not used, or masks that are odd.
      reading: What the numbers of images mean, and how large they may be.
      masks: How masks are read.
      prompt_names: What prompts call some classes, besides what `class_names.json` in
        the folder says; None is as they are called themselves, whatever that says.

    Returns:
      The source.

    Raises:
      DataError: not a folder, no images, an ambiguous or unlabelled layout, names that
        may mean normal or masks and are not said to, an unknown class, an unusable
        file, or a stray one that `strict` forbids.
    """
    if not path.is_dir():
        raise DataError(
            f"{path} is not a folder; folder:PATH takes a folder of images with "
            f"{_expected(normal_folders)}"
        )
    layout = find_layout(path, _names(normal_folders))
    if not layout.classes:
        source = _open_flat(
            path, layout.tree, dataset, classes, skip_bad_files, labelled, reading
        )
    else:
        chosen = select_classes(dataset, classes, layout.classes)
        found = [
            read_class(layout.classes[name], name, path, normal_folders)
            for name in chosen
        ]
        others = [
            one.home for name, one in layout.classes.items() if name not in chosen
        ]
        if not labelled:
            _refuse_loose(found)
        _refuse_unlabelled(path, found, normal_folders)
        named: dict[str, str] = {}
        if prompt_names is not None:
            named = read_prompt_names(path, tuple(layout.classes), prompt_names)
        source = _open_classes(
            path,
            layout.tree,
            dataset,
            found,
            others,
            named,
            skip_bad_files,
            reading,
            masks,
            strict,
        )
    if strict and source.strays:
        raise DataError(
            f"{path} holds {len(source.strays)} files that are not used "
            f"({name_some(source.strays)}); move them elsewhere, or accept them "
            "with --config.data.strict=False"
        )
    return source


def find_classes(
    path: Path, normal_folders: Sequence[str] = NORMAL_FOLDERS
) -> tuple[str, ...]:
    """Finds the classes of a folder, none where it has no sub-folders of images.

    Raises:
      DataError: an ambiguous layout.
    """
    return tuple(find_layout(path, _names(normal_folders)).classes)


def _open_classes(
    path: Path,
    tree: Tree,
    dataset: str,
    classes: Sequence[ClassReading],
    others: Sequence[Tree],
    prompt_names: Mapping[str, str],
    skip_bad_files: bool,
    reading: Reading,
    masks: MaskSettings,
    strict: bool,
) -> FolderSource:
    """The source of some classes; `others` are those that are not kept."""
    has_masks = any(one.masks for one in classes)
    found = [item for one in classes for item in one.items]
    seen, skipped = check_files(found, path, has_masks, skip_bad_files, reading, masks)
    lines, strays, rest = [], [], []
    for one in classes:
        home, name = one.layout.home, printable(one.name)
        unused = find_unused(home, used_files(one))
        rest += [home.path / mask for mask in unused.masks]
        lines.append(describe_class(one, unused, prompt_names.get(one.name, "")))
        lines += [f"{name}: {remark}" for remark in one.remarks]
        if not one.normal:
            lines.append(
                f"{name}: no picture is normal, so its image metrics are undefined and "
                "no part of the mean over classes"
            )
        where = home.path.relative_to(path)
        strays += [(where / stray).as_posix() for stray in unused.strays()]
    blank = check_masks(
        [one.item for one in seen],
        {one.item.mask: one.look for one in seen if one.look},
        look_at_all(rest, masks.values, reading),
        dataset=dataset,
        strict=strict,
    )
    # A mask that marks nothing is right where the picture is normal.
    strays = [name for name in strays if path / name not in blank]
    homes = [one.layout.home for one in classes]
    if homes != [tree]:
        used = frozenset().union(*map(used_files, classes))
        around = find_unused(tree, used, (*homes, *others))
        strays += around.strays()
        lines += [f"not used: {around}"] if str(around) else []
    return FolderSource(
        dataset,
        [one.item for one in seen],
        classes=tuple(one.name for one in classes),
        has_masks=has_masks,
        labelled=True,
        skipped=skipped,
        rules=file_rules(seen, dataset, reading, masks),
        description=tuple(lines),
        strays=tuple(strays),
        prompt_names=prompt_names,
    )


def _refuse_loose(classes: Sequence[ClassReading]) -> None:
    """Where a flat folder would do, images beside folders of images may mean either.

    Raises:
      DataError: there are some.
    """
    for one in classes:
        level = one.layout.level
        if level.pictures:
            kinds = [*one.normal, *one.anomalous]
            raise DataError(
                f"{printable(str(level.path))} holds {len(level.pictures)} pictures "
                f"({name_some([p.name for p in level.pictures])}) beside folders of "
                f"pictures ({name_some(kinds)}); move them into a folder of their kind"
            )


def _refuse_unlabelled(
    path: Path, classes: Sequence[ClassReading], normal_folders: Sequence[str]
) -> None:
    """Without normal images and without masks there is nothing to tell apart.

    Raises:
      DataError: there are neither.
    """
    if any(one.normal or one.masks for one in classes):
        return
    kinds = sorted({kind for one in classes for kind in one.anomalous})
    raise DataError(
        f"{path} has neither normal images nor masks, only "
        f"{', '.join(map(printable, kinds))}; expected {_expected(normal_folders)}. If "
        "one of these is normal, say so with --config.data.normal_folders=NAME"
    )


def _open_flat(
    path: Path,
    tree: Tree,
    dataset: str,
    classes: tuple[str, ...],
    skip_bad_files: bool,
    labelled: bool,
    reading: Reading,
) -> FolderSource:
    if not tree.pictures:
        raise DataError(
            f"{path} holds no images{_elsewhere(tree)}; expected "
            f"{_expected(NORMAL_FOLDERS)}"
        )
    if labelled:
        raise DataError(
            f"{path} holds images without labels; expected {_expected(NORMAL_FOLDERS)}"
        )
    name = Path(os.path.abspath(path)).name
    select_classes(dataset, classes, (name,))
    images = [p for p in read_kind(tree).pictures if p.parent == tree.path]
    found = [Item(image, None, Entry(image.name, name, "", -1)) for image in images]
    seen, skipped = check_files(
        found, path, False, skip_bad_files, reading, AS_MASKS_TELL
    )
    unused = find_unused(tree, frozenset(images))
    left = f"; not used: {unused}" if str(unused) else ""
    line = f"{printable(name)}: {len(images)} pictures without labels{left}"
    return FolderSource(
        dataset,
        [one.item for one in seen],
        classes=(name,),
        has_masks=False,
        labelled=False,
        skipped=skipped,
        rules=file_rules(seen, dataset, reading, AS_MASKS_TELL),
        description=(line,),
        strays=tuple(unused.strays()),
    )


def _elsewhere(tree: Tree) -> str:
    """What there is where no images are found."""
    unused: Unused = find_unused(tree, frozenset())
    return f" where they are looked for ({unused})" if str(unused) else ""


def _names(normal_folders: Sequence[str]) -> frozenset[str]:
    return frozenset(name.strip().lower() for name in normal_folders)


def _expected(normal_folders: Sequence[str]) -> str:
    return (
        f"sub-folders of which one is called {' or '.join(normal_folders)} and the "
        "others are kinds of anomaly, or test/KIND/ and ground_truth/KIND/, directly "
        "or per class"
    )
