"""The BMAD datasets that have masks, test split only: brain, liver and retina.

Bao et al., BMAD: Benchmarks for Medical Anomaly Detection, CVPRW 2024
(DorisBao/BMAD). CC BY-NC-SA 4.0.
"""

from pathlib import Path
from typing import ClassVar

from data_pipelines.builders.base import FileBuilder, Survey, survey_items
from data_pipelines.layouts import find_folder, find_path, list_images, make_items

# Below `test`: where the images lie, and where their masks may. The authors arranged
# each dataset in its own way, in this order; others repackage all in the first.
_ARRANGEMENTS = (
    ("{kind}/img", ("{kind}/label", "{kind}/anomaly_mask")),
    ("img/{kind}", ("label/{kind}", "anomaly_mask/{kind}")),
    ("test/{kind}", ("test_label/{kind}",)),
)
_KINDS = {"good": 0, "Ungood": 1}


class BmadBuilder(FileBuilder, skip_registration=True):
    """BMAD: `test/{good,Ungood}/img/*.png`, `test/Ungood/label/*.png`.

    An image and its mask have the same name; folder names come in either case.
    """

    layout: ClassVar[str] = (
        "test/{good,Ungood}/img/*.png and test/Ungood/{label,anomaly_mask}/*.png"
    )

    @classmethod
    def is_start(cls, folder: Path, classes: tuple[str, ...]) -> bool:
        """Says whether `test` lies in the folder."""
        del classes
        return find_folder(folder, "test") is not None

    @classmethod
    def survey_folder(cls, folder: Path, classes: tuple[str, ...]) -> Survey:
        """Lists the test images and masks of the only class."""
        (name,) = classes
        items, looked_in, known = [], {folder}, []
        for kind, label in _KINDS.items():
            images, masks = _find_kind(folder, kind)
            if images is None:
                continue
            items += make_items(
                list_images(images),
                list_images(masks) if masks and label else (),
                base=folder,
                class_name=name,
                defect=kind,
                label=label,
            )
            # Some copies give normal images empty masks.
            known += [masks] if masks and not label else []
            for used in (images, masks) if label and masks else (images,):
                looked_in.update(
                    p for p in (used, *used.parents) if folder in p.parents
                )
        splits = (find_folder(folder, "train"), find_folder(folder, "valid", "val"))
        return survey_items(
            folder,
            {name: items},
            looked_in=sorted(looked_in),
            known=[*known, *(path for path in splits if path)],
        )


class BrainMriBuilder(BmadBuilder):
    """BMAD Brain MRI (`Brain_AD`)."""

    name: ClassVar[str] = "brainmri"


class LiverCtBuilder(BmadBuilder):
    """BMAD Liver CT (`Liver_AD`)."""

    name: ClassVar[str] = "liverct"


class RescBuilder(BmadBuilder):
    """BMAD retinal OCT (`Retina_RESC_AD`)."""

    name: ClassVar[str] = "resc"


def _find_kind(folder: Path, kind: str) -> tuple[Path | None, Path | None]:
    """Finds the folders of a kind's images and masks, None where there is none."""
    test = find_folder(folder, "test")
    for images, masks in _ARRANGEMENTS if test else ():
        found = find_path(test, images.format(kind=kind))
        if found:
            choices = (find_path(test, path.format(kind=kind)) for path in masks)
            return found, next((path for path in choices if path), None)
    return None, None
