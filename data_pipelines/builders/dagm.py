"""DAGM 2007 in its original layout, test split only.

Wieler and Hahn, Weakly Supervised Learning for Industrial Optical Inspection, DAGM
symposium 2007. Its masks are coarse ellipses around the defects.
"""

from pathlib import Path
from typing import ClassVar

from data_pipelines.builders.base import FileBuilder, Survey, survey_items
from data_pipelines.catalog import CATALOG
from data_pipelines.errors import DataError
from data_pipelines.layouts import (
    Item,
    find_folder,
    find_start,
    list_images,
    pair_masks,
)
from data_pipelines.pictures import SKIP_REMEDY
from data_pipelines.records import Entry, Record

_LABELS = "Labels.txt"


class DagmBuilder(FileBuilder):
    """DAGM: `CLASS/Test/NNNN.PNG`, `CLASS/Test/Label/NNNN_label.PNG` where defective.

    `Labels.txt` beside the masks names the defective images once more; where it is
    there, it must agree with the masks.
    """

    name: ClassVar[str] = "dagm"
    layout: ClassVar[str] = (
        "Class{1..10}/Test/*.PNG with Class{1..10}/Test/Label/*_label.PNG"
    )

    @classmethod
    def is_start(cls, folder: Path, classes: tuple[str, ...]) -> bool:
        """Says whether a class's `Test` lies in the folder."""
        return any(_find_test(folder / name) for name in classes)

    @classmethod
    def survey_folder(cls, folder: Path, classes: tuple[str, ...]) -> Survey:
        """Lists the test images and masks of the classes present, normal ones first.

        Raises:
          DataError: a class has no folder of masks, or two masks share a name.
        """
        items: dict[str, list[Item]] = {name: [] for name in classes}
        known = [folder / name for name in CATALOG[cls.name].classes]
        looked_in, tables = [folder], []
        for name in classes:
            test = _find_test(folder / name)
            if test is None:
                continue
            labels = find_folder(test, "Label")
            if labels is None:
                raise DataError(
                    f"{test} has no folder Label, without which nobody knows which "
                    "images are defective; restore it from the download"
                )
            items[name] = _scan_class(test, labels, folder, name)
            looked_in += [test.parent, test, labels]
            known += [find_folder(test.parent, "Train") or test]
            tables += [labels / _LABELS]
        return survey_items(
            folder, items, files=tables, looked_in=looked_in, known=known
        )

    def record(self, candidate: Item) -> Record:
        """Reads an image and its mask, which `Labels.txt` must not contradict."""
        if bool(candidate.mask) != bool(candidate.entry.label):
            says = "defective" if candidate.entry.label else "free of defects"
            has = f"has the mask {candidate.mask.name}" if candidate.mask else "no mask"
            raise DataError(
                f"{candidate.image} is {says} according to Label/{_LABELS} but {has}; "
                f"restore both from the download, {SKIP_REMEDY}"
            )
        return super().record(candidate)


def _find_test(folder: Path) -> Path | None:
    """Finds a class's test split; each class's archive repeats the class's folder."""
    if not folder.is_dir():
        return None
    inner = find_start(folder, lambda path: find_folder(path, "Test") is not None)
    return find_folder(inner, "Test")


def _scan_class(test: Path, labels: Path, base: Path, name: str) -> list[Item]:
    """Pairs a class's images with their masks; normal images come first."""
    said = _read_labels(labels / _LABELS)
    pairs = pair_masks(list_images(test), list_images(labels), ("_label",))
    items = []
    for image, mask in pairs.items():
        label = said.get(image.stem, int(mask is not None))
        path = image.relative_to(base).as_posix()
        items.append(
            Item(image, mask, Entry(path, name, ("good", "defect")[label], label))
        )
    return sorted(items, key=lambda item: (item.entry.label, item.entry.path))


def _read_labels(path: Path) -> dict[str, int]:
    """Reads `Labels.txt`: number, defective or not, image, and columns of its mask."""
    labels: dict[str, int] = {}
    if not path.is_file():
        return labels
    for line in path.read_text(encoding="utf-8-sig", errors="replace").splitlines():
        cells = line.split()
        # The first line holds one number only.
        if len(cells) >= 3 and cells[1] in ("0", "1"):
            labels[Path(cells[2]).stem] = int(cells[1])
    return labels
