"""Datasets without masks whose folders are their kinds: Br35H and Kaggle's brain MRI.

Hamada, Br35H :: Brain Tumor Detection 2020. Chakrabarty, Brain MRI Images for Brain
Tumor Detection, 2019. Both on Kaggle, their licences are unclear.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from data_pipelines.builders.base import FileBuilder, Survey, survey_items
from data_pipelines.layouts import Item, find_folder, list_images, make_items


class KindsBuilder(FileBuilder, skip_registration=True):
    """One class, one folder per kind, its images directly in it or in `images`.

    Attributes:
      kinds: A kind's folder names, lower-case, `good` for the normal one.
      left_out: Names of folders that are understood and not read.
    """

    needs_masks: ClassVar[bool] = False
    kinds: ClassVar[Mapping[str, tuple[str, ...]]] = {"good": ("no",), "yes": ("yes",)}
    left_out: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def is_start(cls, folder: Path, classes: tuple[str, ...]) -> bool:
        """Says whether the normal images' folder lies here."""
        del classes
        return find_folder(folder, *cls.kinds["good"]) is not None

    @classmethod
    def survey_folder(cls, folder: Path, classes: tuple[str, ...]) -> Survey:
        """Lists the images of the only class, normal ones first."""
        return survey_kinds(folder, classes, cls.kinds, cls.left_out)


class Br35hBuilder(KindsBuilder):
    """Br35H: `no/noN.jpg`, `yes/yN.jpg`; `pred/` has no labels."""

    name: ClassVar[str] = "br35h"
    layout: ClassVar[str] = "{no,yes}/*.jpg"
    # Copies of `yes` with outlines, for detection.
    left_out: ClassVar[tuple[str, ...]] = ("br35h-mask-rcnn",)


class BrainMriKaggleBuilder(KindsBuilder):
    """Brain MRI (Kaggle): `brain_tumor_dataset/{no,yes}/*`, or without the top folder.

    Kaggle's archive holds everything twice, with and without it.
    """

    name: ClassVar[str] = "brainmri_kaggle"
    layout: ClassVar[str] = "{no,yes}/*.{jpg,jpeg,png}"
    left_out: ClassVar[tuple[str, ...]] = ("brain_tumor_dataset",)


def survey_kinds(
    folder: Path,
    classes: tuple[str, ...],
    kinds: Mapping[str, tuple[str, ...]],
    left_out: tuple[str, ...],
) -> Survey:
    """Surveys a dataset of one class whose kinds are folders.

    Args:
      folder: Where the dataset's content begins.
      classes: The only class.
      kinds: A kind's folder names, lower-case, `good` for the normal one.
      left_out: Names of folders that are understood and not read.

    Returns:
      The survey, in which every other folder is a stray.
    """
    (name,) = classes
    items: list[Item] = []
    looked_in, known = [folder], [find_folder(folder, other) for other in left_out]
    for kind, names in kinds.items():
        outer = find_folder(folder, *names)
        if outer is None:
            continue
        images = find_folder(outer, "images") or outer
        items += make_items(
            list_images(images),
            base=folder,
            class_name=name,
            defect=kind,
            label=int(kind != "good"),
        )
        looked_in += dict.fromkeys((outer, images))
        known.append(find_folder(outer, "masks"))
    return survey_items(
        folder,
        {name: items},
        looked_in=looked_in,
        known=[path for path in known if path],
    )
