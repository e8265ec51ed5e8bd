"""MVTec AD in its original layout, test split only.

Bergmann et al., The MVTec Anomaly Detection Dataset, IJCV 2021. CC BY-NC-SA 4.0.
"""

from pathlib import Path
from typing import ClassVar

from data_pipelines.builders.base import FileBuilder, Survey, survey_items
from data_pipelines.catalog import CATALOG
from data_pipelines.layouts import list_entries, scan_kinds


class LayoutBuilder(FileBuilder, skip_registration=True):
    """Any dataset in MVTec's layout: CLASS/test/KIND, CLASS/ground_truth/KIND.

    Attributes:
      normal_kind: The kind that is normal; every other one is a kind of anomaly.
    """

    normal_kind: ClassVar[str] = "good"

    @classmethod
    def is_start(cls, folder: Path, classes: tuple[str, ...]) -> bool:
        """Says whether a class's `test` lies in the folder."""
        return any((folder / name / "test").is_dir() for name in classes)

    @classmethod
    def survey_folder(cls, folder: Path, classes: tuple[str, ...]) -> Survey:
        """Lists the test images and masks of the classes present."""
        items, looked_in = {}, [folder]
        for name in classes:
            kinds, masks = _list_kinds(folder / name)
            items[name] = list(
                scan_kinds(
                    kinds,
                    masks,
                    base=folder,
                    class_name=name,
                    normal_names=frozenset((cls.normal_kind,)),
                )
            )
            if items[name]:
                looked_in += _parents(folder / name, kinds, masks)
        return survey_items(
            folder,
            items,
            looked_in=looked_in,
            known=[folder / name for name in CATALOG[cls.name].classes]
            + [folder / name / "train" for name in classes],
        )


class MvtecBuilder(LayoutBuilder):
    """MVTec AD: `CLASS/test/KIND/NNN.png`, `CLASS/ground_truth/KIND/NNN_mask.png`."""

    name: ClassVar[str] = "mvtec"


def _list_kinds(folder: Path) -> tuple[list[Path], Path | None]:
    """Lists a class's folders of images, and finds the one of its masks."""
    test, masks = folder / "test", folder / "ground_truth"
    kinds = (
        [path for path in list_entries(test) if path.is_dir()] if test.is_dir() else []
    )
    return kinds, masks if masks.is_dir() else None


def _parents(folder: Path, kinds: list[Path], masks: Path | None) -> list[Path]:
    """Returns the folders of a class in which every entry should be understood."""
    inner = [masks, *(masks / kind.name for kind in kinds)] if masks else []
    return [folder, folder / "test", *kinds, *(path for path in inner if path.is_dir())]
