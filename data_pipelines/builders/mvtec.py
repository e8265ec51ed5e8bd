"""MVTec AD in its original layout, test split only.

Bergmann et al., The MVTec Anomaly Detection Dataset, IJCV 2021. CC BY-NC-SA 4.0.
"""

from pathlib import Path
from typing import ClassVar

from data_pipelines.builders.base import FileBuilder, Survey, list_files
from data_pipelines.checks import read_checked
from data_pipelines.layouts import Item, list_folders, scan_kinds
from data_pipelines.records import Record


class MvtecBuilder(FileBuilder):
    """MVTec AD: `CLASS/test/KIND/NNN.png`, `CLASS/ground_truth/KIND/NNN_mask.png`."""

    name: ClassVar[str] = "mvtec"

    @classmethod
    def survey_folder(cls, folder: Path, classes: tuple[str, ...]) -> Survey:
        """Lists the test images and masks of the classes present."""
        items = {name: _scan_class(folder, name) for name in classes}
        present = tuple(name for name in classes if items[name])
        kept = tuple(item for name in present for item in items[name])
        files = [path for item in kept for path in (item.image, item.mask) if path]
        return Survey(
            classes=present,
            missing=tuple(name for name in classes if not items[name]),
            items=kept,
            listing=list_files(folder, files),
        )

    def record(self, candidate: Item) -> Record:
        """Reads and fully decodes an image and its mask."""
        image, mask = read_checked(candidate, needs_mask=True)
        entry = candidate.entry
        return Record(
            image=image,
            mask=mask,
            label=entry.label,
            class_name=entry.class_name,
            defect=entry.defect,
            path=entry.path,
        )


def _scan_class(folder: Path, name: str) -> list[Item]:
    test, masks = folder / name / "test", folder / name / "ground_truth"
    if not test.is_dir():
        return []
    return list(
        scan_kinds(
            list_folders(test, follow=True),
            masks if masks.is_dir() else None,
            base=folder,
            class_name=name,
            normal_names=frozenset(("good",)),
        )
    )
