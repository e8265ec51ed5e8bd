"""DAGM 2007 in its original layout, test split only.

Wieler and Hahn, Weakly Supervised Learning for Industrial Optical Inspection, DAGM
symposium 2007. Its masks are coarse ellipses around the defects.
"""

from pathlib import Path
from typing import ClassVar

from data_pipelines.builders.base import FileBuilder, Survey, survey_items
from data_pipelines.errors import DataError
from data_pipelines.layouts import Item, find_folder, list_images, pair_masks
from data_pipelines.records import Entry, Record
from data_pipelines.transforms import SKIP_REMEDY

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
          DataError: two masks share a name.
        """
        items: dict[str, list[Item]] = {name: [] for name in classes}
        looked_in, tables = [], []
        for name in classes:
            test = _find_test(folder / name)
            if test is None:
                continue
            labels = find_folder(test, "Label")
            table = (labels or test) / _LABELS
            items[name] = _scan_class(test, labels, table, folder, name)
            looked_in += [test, labels] if labels else [test]
            tables += [table] if table.is_file() else []
        return survey_items(folder, items, files=tables, looked_in=looked_in)

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
    return find_folder(folder, "Test") if folder.is_dir() else None


def _scan_class(
    test: Path, labels: Path | None, table: Path, base: Path, name: str
) -> list[Item]:
    """Pairs a class's images with their masks; normal images come first."""
    masks = list_images(labels) if labels else []
    said = _read_labels(table) if table.is_file() else {}
    items = []
    for image, mask in pair_masks(list_images(test), masks, ("_label",)).items():
        label = said.get(image.stem, int(mask is not None))
        path = image.relative_to(base).as_posix()
        items.append(
            Item(image, mask, Entry(path, name, ("good", "defect")[label], label))
        )
    return sorted(items, key=lambda item: (item.entry.label, item.entry.path))


def _read_labels(path: Path) -> dict[str, int]:
    """Reads `Labels.txt`: number, defective or not, image, and columns of its mask."""
    labels = {}
    for line in path.read_text(encoding="utf-8-sig", errors="replace").splitlines():
        cells = line.split()
        # The first line holds one number only.
        if len(cells) >= 3 and cells[1] in ("0", "1"):
            labels[Path(cells[2]).stem] = int(cells[1])
    return labels
