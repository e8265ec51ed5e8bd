"""VisA in its original layout, test split of the one-class protocol only.

Zou et al., SPot-the-Difference Self-supervised Pre-training for Anomaly Detection and
Segmentation, ECCV 2022 (amazon-science/spot-diff). CC BY 4.0.
"""

import functools
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

from data_pipelines.builders.base import FileBuilder, Survey, survey_items
from data_pipelines.errors import DataError
from data_pipelines.layouts import Item, is_below, list_images
from data_pipelines.records import Entry
from data_pipelines.tables import read_rows

_SPLIT = "split_csv/1cls.csv"
_COLUMNS = ("object", "split", "label", "image", "mask")
_LABELS = {"normal": 0, "anomaly": 1}
_LAYOUT = (
    f"{_SPLIT} with the columns {','.join(_COLUMNS)} and the images it names, "
    "<class>/Data/Images/{Normal,Anomaly}/*.JPG"
)
_EXPECTED = f"expected ROOT/visa/{_LAYOUT}; set the root with --config.data.root=DIR"


class VisaBuilder(FileBuilder):
    """VisA: `CLASS/Data/{Images/{Normal,Anomaly},Masks/Anomaly}/NNN.*`, by its csv.

    The csv has no kinds of anomaly, so that all are called `anomaly`.
    """

    name: ClassVar[str] = "visa"
    layout: ClassVar[str] = _LAYOUT

    @classmethod
    def is_start(cls, folder: Path, classes: tuple[str, ...]) -> bool:
        """Says whether the csv lies in the folder."""
        del classes
        return (folder / _SPLIT).is_file()

    @classmethod
    def survey_folder(cls, folder: Path, classes: tuple[str, ...]) -> Survey:
        """Lists the test rows of the classes present, normal images first.

        Raises:
          DataError: the csv is missing or damaged, or names no image of the classes; or
            two files may be meant by one name.
        """
        items: dict[str, list[Item]] = {name: [] for name in classes}
        find = functools.cache(_images_by_stem)
        for row in _test_rows(folder / _SPLIT):
            name = row["object"]
            if name in items and (folder / name).is_dir():
                items[name].append(_item(row, folder, find))
        for found in items.values():
            found.sort(key=lambda item: (item.entry.label, item.entry.path))
        return survey_items(folder, items, files=[folder / _SPLIT], named_in=_SPLIT)


def _test_rows(path: Path) -> Iterator[dict[str, str]]:
    """Yields the csv's rows of split `test`, checked."""
    for where, row in read_rows(path, _COLUMNS, _EXPECTED):
        if row["split"] != "test":
            continue
        if row["label"] not in _LABELS or not (
            row["image"] and is_below(row["image"], row["mask"])
        ):
            raise DataError(
                f"{where}; allowed are the labels {' and '.join(_LABELS)}, and paths "
                "below ROOT/visa: restore the file"
            )
        yield row


def _item(
    row: dict[str, str], folder: Path, find: Callable[[Path], dict[str, list[Path]]]
) -> Item:
    label = _LABELS[row["label"]]
    image = _resolve(folder / row["image"], find)
    mask = _resolve(folder / row["mask"], find) if label and row["mask"] else None
    path = image.relative_to(folder).as_posix()
    return Item(
        image, mask, Entry(path, row["object"], "anomaly" if label else "good", label)
    )


def _resolve(path: Path, find: Callable[[Path], dict[str, list[Path]]]) -> Path:
    """Returns the file, or the one of its stem where it was renamed or re-encoded."""
    if path.is_file():
        return path
    found = find(path.parent).get(path.stem, [path])
    if len(found) > 1:
        raise DataError(
            f"{path} is named in {_SPLIT}, and {found[0].name} and {found[1].name} "
            "share its stem; remove one"
        )
    return found[0]


def _images_by_stem(folder: Path) -> dict[str, list[Path]]:
    by_stem = defaultdict(list)
    for path in list_images(folder) if folder.is_dir() else ():
        by_stem[path.stem].append(path)
    return by_stem
