"""MVTec AD in its original layout, which other datasets share; test split only.

Bergmann et al., The MVTec Anomaly Detection Dataset, IJCV 2021. CC BY-NC-SA 4.0.
"""

from pathlib import Path
from typing import ClassVar

from data_pipelines.builders.base import FileBuilder, Survey, survey_items
from data_pipelines.catalog import CATALOG
from data_pipelines.layouts import list_entries, scan_kinds


class LayoutBuilder(FileBuilder, skip_registration=True):
    """Any dataset in MVTec's layout: `CLASS/test/KIND`, `CLASS/ground_truth/KIND`.

    Attributes:
      normal_kind: The kind that is normal.
      anomalous_kinds: The kinds of anomaly where they are known, so that any other
        folder is a stray; where empty, every further kind is one and needs its masks.
    """

    normal_kind: ClassVar[str] = "good"
    anomalous_kinds: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def class_folder(cls, folder: Path, name: str) -> Path:
        """Returns where a class lies, whether or not it is there."""
        return folder / name

    @classmethod
    def is_start(cls, folder: Path, classes: tuple[str, ...]) -> bool:
        """Says whether a class's `test` lies in the folder."""
        return any(
            (cls.class_folder(folder, name) / "test").is_dir() for name in classes
        )

    @classmethod
    def survey_folder(cls, folder: Path, classes: tuple[str, ...]) -> Survey:
        """Lists the test images and masks of the classes present."""
        items, looked_in = {}, [folder]
        known = [cls.class_folder(folder, name) for name in CATALOG[cls.name].classes]
        for name in classes:
            home = cls.class_folder(folder, name)
            kinds, masks = cls._list_kinds(home / "test"), home / "ground_truth"
            items[name] = list(
                scan_kinds(
                    kinds,
                    masks if masks.is_dir() else None,
                    base=folder,
                    class_name=name,
                    normal_names=frozenset((cls.normal_kind,)),
                )
            )
            mask_folders = [masks / k.name for k in kinds if k.name != cls.normal_kind]
            looked_in += [home, home / "test", *kinds, masks, *mask_folders]
            known += [home / "train", masks / cls.normal_kind]
        there = [path for path in looked_in if path.is_dir()]
        return survey_items(folder, items, looked_in=there, known=known)

    @classmethod
    def _list_kinds(cls, test: Path) -> list[Path]:
        """Lists a class's folders of images, of which `test` may hold none."""
        return [
            path
            for path in (list_entries(test) if test.is_dir() else ())
            if path.is_dir()
            and (
                not cls.anomalous_kinds
                or path.name in (cls.normal_kind, *cls.anomalous_kinds)
            )
        ]


class MvtecBuilder(LayoutBuilder):
    """MVTec AD: `CLASS/test/KIND/NNN.png`, `CLASS/ground_truth/KIND/NNN_mask.png`."""

    name: ClassVar[str] = "mvtec"
