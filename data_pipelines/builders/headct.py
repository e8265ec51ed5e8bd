"""Head CT in its original layout, all images.

Kitamura, Head CT - hemorrhage, Kaggle 2018. Its licence is unclear.
"""

from pathlib import Path
from typing import ClassVar

from data_pipelines.builders.base import FileBuilder, Survey, survey_items
from data_pipelines.errors import DataError
from data_pipelines.layouts import Item, find_folder, list_images
from data_pipelines.records import Entry
from data_pipelines.tables import read_rows

_LABELS = "labels.csv"
_COLUMNS = ("id", "hemorrhage")
_LAYOUT = (
    f"{_LABELS} with the columns {','.join(_COLUMNS)} and head_ct/head_ct/NNN.png, "
    "where id 0 is 000.png"
)
_EXPECTED = f"expected ROOT/headct/{_LAYOUT}; set the root with --config.data.root=DIR"


class HeadCtBuilder(FileBuilder):
    """Head CT: `labels.csv`, `head_ct/head_ct/NNN.png`; the csv's `id` is the number."""

    name: ClassVar[str] = "headct"
    layout: ClassVar[str] = _LAYOUT
    needs_masks: ClassVar[bool] = False

    @classmethod
    def is_start(cls, folder: Path, classes: tuple[str, ...]) -> bool:
        """Says whether the csv lies in the folder."""
        del classes
        return (folder / _LABELS).is_file()

    @classmethod
    def survey_folder(cls, folder: Path, classes: tuple[str, ...]) -> Survey:
        """Lists the images that the csv names, normal ones first.

        Raises:
          DataError: the csv is missing or damaged, or two images have one number.
        """
        (name,) = classes
        images, outer = folder, [folder]
        while inner := find_folder(images, "head_ct"):
            images = inner
            outer.append(inner)
        numbered = _by_number(images)
        items = []
        for number, label in _read_labels(folder / _LABELS).items():
            image = numbered.get(number, images / f"{number:03d}.png")
            path = image.relative_to(folder).as_posix()
            defect = "hemorrhage" if label else "good"
            items.append(Item(image, None, Entry(path, name, defect, label)))
        items.sort(key=lambda item: (item.entry.label, item.entry.path))
        return survey_items(
            folder,
            {name: items},
            files=[folder / _LABELS],
            looked_in=outer,
            named_in=_LABELS,
        )


def _by_number(folder: Path) -> dict[int, Path]:
    numbered: dict[int, Path] = {}
    for path in list_images(folder):
        if not path.stem.isdecimal():
            continue
        other = numbered.setdefault(int(path.stem), path)
        if other != path:
            raise DataError(
                f"{other} and {path.name} have the same number; remove one of them"
            )
    return numbered


def _read_labels(path: Path) -> dict[int, int]:
    """Reads the label of every number."""
    labels: dict[int, int] = {}
    for where, row in read_rows(path, _COLUMNS, _EXPECTED):
        number, label = row["id"], row["hemorrhage"]
        if not number.isdecimal() or label not in ("0", "1") or int(number) in labels:
            raise DataError(
                f"{where}; allowed are a number that occurs once, and 0 or 1: restore "
                "the file"
            )
        labels[int(number)] = int(label)
    return labels
