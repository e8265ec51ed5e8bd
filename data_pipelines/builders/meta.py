"""AnomalyCLIP's `meta.json`, a layout that every catalogue dataset may have instead.

It lists images and masks by class:
`{"test": {CLASS: [{"img_path", "mask_path", "cls_name", "specie_name", "anomaly"}]}}`.
Its generators (zqhang/AnomalyCLIP, generate_dataset_json) pair masks by sorted index,
so that one missing mask shifts the others; some put the root before every path.
"""

import functools
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from data_pipelines import documents
from data_pipelines.builders.base import FileBuilder, Survey, survey_items
from data_pipelines.catalog import Card
from data_pipelines.errors import DataError
from data_pipelines.layouts import Item, is_below, list_images
from data_pipelines.records import Entry

_META = "meta.json"
# Of some million pictures.
_MOST_BYTES = 512 * documents.MEGABYTE
_MASK_ENDINGS = ("", "_mask", "_label", "_Segmentation")


@dataclass(frozen=True)
class _Row:
    """One image of the list: the class as it is called there, `mask` may be empty."""

    class_name: str
    image: str
    mask: str
    kind: str
    label: int


def make_meta_builder(card: Card) -> type[FileBuilder]:
    """Makes the builder of a dataset that reads what its meta.json lists.

    The dataset's own builder may cut images or tell labels from masks; here both are
    as listed.
    """

    class MetaBuilder(FileBuilder, skip_registration=True):
        """A dataset in the layout of AnomalyCLIP's meta.json."""

        name: ClassVar[str] = card.id
        layout: ClassVar[str] = _META
        needs_masks: ClassVar[bool] = card.has_masks

        @classmethod
        def is_start(cls, folder: Path, classes: tuple[str, ...]) -> bool:
            """Says whether the file lies in the folder."""
            del classes
            return (folder / _META).is_file()

        @classmethod
        def survey_folder(cls, folder: Path, classes: tuple[str, ...]) -> Survey:
            """Lists the test images of the classes that the file has."""
            return _survey_meta(card, folder / _META, classes)

    return MetaBuilder


def _survey_meta(card: Card, path: Path, classes: tuple[str, ...]) -> Survey:
    """Lists the images of the split `test`, normal ones first.

    Raises:
      DataError: the file is damaged, names a class that the dataset lacks or a path
        outside its folder, or gives an image the mask of another.
    """
    rows = _strip_root(path.parent, list(_read_rows(path)))
    images_of = functools.cache(_images_by_stem)
    items: dict[str, list[Item]] = {name: [] for name in classes}
    for row in rows:
        name = _class_id(card, path, row.class_name)
        if name in items:
            item = _item(path.parent, row, name, card.has_masks)
            _refuse_swapped(path, item, images_of)
            items[name].append(item)
    for found in items.values():
        found.sort(key=lambda item: (item.entry.label, item.entry.path))
    return survey_items(path.parent, items, files=[path], named_in=_META)


def _read_rows(path: Path) -> Iterator[_Row]:
    """Yields the entries of the test split, checked."""
    bases = (path.parent.absolute(), path.parent.resolve())
    for name, entries in _test_split(path).items():
        for entry in entries:
            row = _parse(name, entry, bases)
            if row is None:
                raise DataError(
                    f"{path} has {json.dumps(entry)[:300]} in test, {name}; allowed are an "
                    "img_path, a mask_path or none, both relative and below its "
                    "folder, and anomaly 0 or 1: generate it anew"
                )
            yield row


def _test_split(path: Path) -> dict[str, list[Any]]:
    meta = documents.read(path, dict, "generate it anew", most=_MOST_BYTES)
    # DAGM's generator writes `Test`.
    splits = {k.lower(): v for k, v in meta.items()}
    test = splits.get("test") if len(splits) == len(meta) else None
    if not isinstance(test, dict) or not all(
        isinstance(rows, list) for rows in test.values()
    ):
        raise DataError(
            f"{path} lists no images by class in 'test'; its keys are "
            f"{', '.join(meta) or 'none'}: generate it anew"
        )
    return test


def _parse(name: str, entry: Any, bases: tuple[Path, ...]) -> _Row | None:
    """Reads an entry; None where it is none, or leads out of the folder."""
    if not isinstance(entry, dict) or entry.get("anomaly") not in (0, 1):
        return None
    texts = [entry.get(key) or "" for key in ("img_path", "mask_path", "specie_name")]
    if not texts[0] or not all(isinstance(text, str) for text in texts):
        return None
    image, mask = (_relative(text, bases) for text in texts[:2])
    if not is_below(image, mask):
        return None
    return _Row(name, image, mask, texts[2], int(entry["anomaly"]))


def _relative(text: str, bases: tuple[Path, ...]) -> str:
    """Strips the folder itself from an absolute path."""
    path = PurePosixPath(text)
    for base in bases:
        if path.is_relative_to(base):
            return path.relative_to(base).as_posix()
    return text


def _strip_root(folder: Path, rows: list[_Row]) -> list[_Row]:
    """Strips leading folders that all paths share and that are not below the folder."""
    if not rows:
        return rows
    shared = PurePosixPath(os.path.commonpath([os.path.dirname(r.image) for r in rows]))
    for cut in range(len(shared.parts) + 1):
        root = PurePosixPath(*shared.parts[:cut])
        if any((folder / _strip(row.image, root)).is_file() for row in rows):
            return [
                replace(r, image=_strip(r.image, root), mask=_strip(r.mask, root))
                for r in rows
            ]
    return rows


def _strip(text: str, root: PurePosixPath) -> str:
    path = PurePosixPath(text)
    inside = bool(text) and path.is_relative_to(root)
    return path.relative_to(root).as_posix() if inside else text


def _class_id(card: Card, path: Path, name: str) -> str:
    """Returns the card's class; the only one where there is one."""
    if name in card.classes:
        return name
    if len(card.classes) == 1:
        return next(iter(card.classes))
    raise DataError(
        f"{path} has the class {name!r}; allowed are the classes of {card.id}: "
        f"{', '.join(card.classes)}"
    )


def _item(folder: Path, row: _Row, name: str, has_masks: bool) -> Item:
    """Makes an item; the masks of normal images are empty and not read."""
    mask = folder / row.mask if has_masks and row.label and row.mask else None
    kind = (row.kind or "anomaly") if row.label else "good"
    return Item(folder / row.image, mask, Entry(row.image, name, kind, row.label))


def _refuse_swapped(
    path: Path, item: Item, images_of: Callable[[Path], dict[str, Path]]
) -> None:
    """Refuses a mask of another name where the image's own one lies beside it.

    Masks whose names tell nothing are accepted.
    """
    own = [f"{item.image.stem}{ending}" for ending in _MASK_ENDINGS]
    if item.mask is None or item.mask.stem in own:
        return
    beside = images_of(item.mask.parent)
    right = next((beside[stem] for stem in own if stem in beside), item.image)
    if right != item.image:
        raise DataError(
            f"{path} gives {item.entry.path} the mask {item.mask.name}, but "
            f"{right.name} lies beside it; pair masks by name and generate it anew"
        )


def _images_by_stem(folder: Path) -> dict[str, Path]:
    return {p.stem: p for p in list_images(folder)} if folder.is_dir() else {}
