"""The only door to data: opens catalogue datasets and users' folders as sources."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal, get_args

from data_pipelines.catalog import CATALOG, find_card, nearest
from data_pipelines.errors import DataError
from data_pipelines.folder import find_classes, folder_of, open_folder
from data_pipelines.folder_files import AS_MASKS_TELL, MaskSettings
from data_pipelines.folder_names import NORMAL_FOLDERS
from data_pipelines.joined import JoinedSource, share_classes
from data_pipelines.layouts import naming_unreadable
from data_pipelines.pictures import DEFAULT_READING, Reading
from data_pipelines.records import Entry, Record, Source

__all__ = [
    "ClassNames",
    "Entry",
    "JoinedSource",
    "MaskSettings",
    "Record",
    "Source",
    "open_source",
    "refuse_unknown_classes",
    "share_classes",
]

ClassNames = Literal["display", "raw"]


def open_source(
    dataset: str,
    *,
    root: str,
    prepared: str,
    classes: Sequence[str] = (),
    skip_bad_files: bool = False,
    normal_folders: Sequence[str] = NORMAL_FOLDERS,
    labelled: bool = True,
    strict: bool = False,
    covid19_include: Sequence[str] = (),
    class_names: ClassNames = "display",
    reading: Reading = DEFAULT_READING,
    masks: MaskSettings = AS_MASKS_TELL,
    folder_class_names: Mapping[str, str] = MappingProxyType({}),
) -> Source:
    """Opens a dataset, preparing it first where needed.

    Args:
      dataset: A catalogue id, or `folder:PATH`.
      root: Folder that holds one folder per catalogue id; never written to.
      prepared: Folder for prepared copies; unused for `folder:PATH`.
      classes: Keeps these classes only; all where empty.
      skip_bad_files: Counts and skips unusable files instead of raising.
      normal_folders: Sub-folder names that mean normal, for `folder:PATH`.
      labelled: Whether labels are needed; False also accepts a flat folder of images.
      strict: Refuses a catalogue dataset that differs from the published counts, lacks
        classes or has unusable files, masks that are odd, or, of a folder, files that
        are not used, instead of warning.
      covid19_include: Further folders that `covid19` counts as anomalous.
      class_names: What prompts call a class. `display` is a name as people say it
        (`printed circuit board`), `raw` the dataset's own id (`pcb1`), which most
        published tables were made with.
      reading: What the numbers of images mean, and how large they may be.
      masks: How masks of `folder:PATH` are read; those of catalogue datasets are as
        published figures were made.
      folder_class_names: What prompts call classes of `folder:PATH`, besides what
        `class_names.json` in the folder says; classes of other folders may be among
        them.

    Returns:
      The source.

    Raises:
      DataError: an unknown dataset, class or kind of class names, a root without the
        dataset, unusable files, or differences that `strict` forbids.
    """
    if class_names not in get_args(ClassNames):
        raise DataError(
            f"class_names is {class_names!r}; allowed are "
            f"{' and '.join(get_args(ClassNames))}"
        )
    if folder_class_names and class_names == "raw":
        raise DataError(
            "class_names is 'raw', so classes are called as their folders are, and "
            f"folder_class_names calls {next(iter(folder_class_names))!r} otherwise; "
            "leave out one of the two"
        )
    path = folder_of(dataset)
    if path is not None:
        with naming_unreadable(path):
            folder = open_folder(
                path,
                dataset=dataset,
                classes=tuple(classes),
                skip_bad_files=skip_bad_files,
                normal_folders=tuple(normal_folders),
                labelled=labelled,
                reading=reading,
                masks=masks,
                strict=strict,
                prompt_names=None if class_names == "raw" else folder_class_names,
            )
        folder.reading = reading
        return _name_classes(folder, class_names)
    card = find_card(dataset)
    # TFDS takes long to import, and a user's own folder never needs it.
    from data_pipelines.builders import BUILDERS, open_prepared

    if card.id not in BUILDERS:
        readable = [name for name in CATALOG if name in BUILDERS]
        raise DataError(
            f"dataset {dataset!r} cannot be read yet; use one of "
            f"{', '.join(readable)}, or folder:PATH"
        )
    options = {"include": tuple(covid19_include)} if card.id == "covid19" else {}
    copy = open_prepared(
        card,
        BUILDERS[card.id],
        root=root,
        prepared=Path(prepared).expanduser(),
        classes=tuple(classes),
        skip_bad_files=skip_bad_files,
        strict=strict,
        options=options,
        reading=reading,
    )
    copy.reading = reading
    return _name_classes(copy, class_names)


def refuse_unknown_classes(
    named: Mapping[str, str],
    datasets: Sequence[str],
    normal_folders: Sequence[str] = NORMAL_FOLDERS,
) -> None:
    """Sees that each class that is given a name is in one of the folders.

    Args:
      named: What prompts call classes of folders.
      datasets: Ids of all datasets that are used; those of the catalogue have names.
      normal_folders: Sub-folder names that mean normal.

    Raises:
      DataError: one is not; or a folder's layout is ambiguous.
    """
    known: list[str] = []
    for path in filter(None, map(folder_of, datasets)):
        # What is no folder is said when it is opened.
        if path.is_dir():
            with naming_unreadable(path):
                known += find_classes(path, tuple(normal_folders))
    for name in named:
        if name not in known:
            raise DataError(
                f"folder_class_names has {name!r}, which is no class of a folder:PATH "
                f"that is used; {nearest(name, known) if known else 'there is none'}"
            )


def _name_classes(source: Source, class_names: ClassNames) -> Source:
    if class_names == "raw":
        source.prompt_names = {name: name for name in source.classes}
    return source
