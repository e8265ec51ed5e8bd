"""Medical datasets of lesions and their outlines, in which no image is normal.

ISIC 2016: Gutman et al., Skin Lesion Analysis toward Melanoma Detection, arXiv
1605.01397. CC0. CVC-ColonDB: Bernal et al., Towards Automatic Polyp Detection with a
Polyp Appearance Model, Pattern Recognition 45, 2012. CVC-ClinicDB: Bernal et al.,
WM-DOVA Maps for Accurate Polyp Highlighting in Colonoscopy, Computerized Medical
Imaging and Graphics 43, 2015. TN3K: Gong et al., Multi-Task Learning for Thyroid Nodule
Segmentation with Thyroid Region Prior, ISBI 2021.
"""

from pathlib import Path
from typing import ClassVar

from data_pipelines.builders.base import FileBuilder, Survey, survey_items
from data_pipelines.errors import DataError
from data_pipelines.layouts import (
    Item,
    find_folder,
    find_path,
    list_images,
    pair_masks,
)
from data_pipelines.records import Entry


class LesionBuilder(FileBuilder, skip_registration=True):
    """One class: a folder of images, all anomalous, and a folder of their masks.

    An image and its mask are paired by name; folder names come in either case.

    Attributes:
      defect: What every image shows.
      arrangements: Where images and masks may lie, the authors' own place first.
      ending: What the stem of a mask adds to that of its image.
      left_out: Names of folders that are understood and not read.
    """

    defect: ClassVar[str]
    arrangements: ClassVar[tuple[tuple[str, str], ...]]
    ending: ClassVar[str] = ""
    left_out: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def is_start(cls, folder: Path, classes: tuple[str, ...]) -> bool:
        """Says whether the images' folder lies here."""
        del classes
        return cls._find(folder) is not None

    @classmethod
    def survey_folder(cls, folder: Path, classes: tuple[str, ...]) -> Survey:
        """Lists the images and their masks.

        Raises:
          DataError: there are images but no folder of masks, or two masks share a name.
        """
        (name,) = classes
        found = cls._find(folder)
        if found is None:
            return survey_items(folder, {name: []})
        images, path = found
        masks = find_path(folder, path)
        if masks is None:
            raise DataError(
                f"{folder} has no folder {path}, the masks of {images.name}; restore "
                "it from the download"
            )
        pairs = pair_masks(list_images(images), list_images(masks), (cls.ending,))
        items = [
            Item(
                image,
                mask,
                Entry(image.relative_to(folder).as_posix(), name, cls.defect, 1),
            )
            for image, mask in pairs.items()
        ]
        between = [p for p in (*images.parents, *masks.parents) if folder in p.parents]
        looked_in = dict.fromkeys((folder, *between, images, masks))
        known = [find_folder(p, n) for p in (folder, *between) for n in cls.left_out]
        return survey_items(
            folder,
            {name: items},
            looked_in=looked_in,
            known=[path for path in known if path],
        )

    @classmethod
    def _find(cls, folder: Path) -> tuple[Path, str] | None:
        """Finds the folder of images, and says where the masks belong."""
        for images, masks in cls.arrangements:
            found = find_path(folder, images)
            if found:
                return found, masks
        return None


class IsicBuilder(LesionBuilder):
    """ISIC 2016, task 1: `ISBI2016_ISIC_Part1_Test_{Data,GroundTruth}`.

    An image is called `ISIC_NNNNNNN.jpg`, its mask `ISIC_NNNNNNN_Segmentation.png`.
    """

    name: ClassVar[str] = "isic"
    layout: ClassVar[str] = (
        "ISBI2016_ISIC_Part1_Test_Data/*.jpg and "
        "ISBI2016_ISIC_Part1_Test_GroundTruth/*_Segmentation.png"
    )
    defect: ClassVar[str] = "lesion"
    arrangements: ClassVar[tuple[tuple[str, str], ...]] = (
        ("ISBI2016_ISIC_Part1_Test_Data", "ISBI2016_ISIC_Part1_Test_GroundTruth"),
    )
    ending: ClassVar[str] = "_Segmentation"
    left_out: ClassVar[tuple[str, ...]] = (
        "ISBI2016_ISIC_Part1_Training_Data",
        "ISBI2016_ISIC_Part1_Training_GroundTruth",
    )


class ColonDbBuilder(LesionBuilder):
    """CVC-ColonDB, the 380 frames: `images/N.png`, `masks/N.png`.

    They are distributed among the test sets of PraNet too, in `CVC-ColonDB`. The 300
    frames of its own page (`N.bmp`, `pN.bmp`) are another choice, which no published
    table of anomaly detection uses.
    """

    name: ClassVar[str] = "colondb"
    layout: ClassVar[str] = "images/*.png and masks/*.png"
    defect: ClassVar[str] = "polyp"
    arrangements: ClassVar[tuple[tuple[str, str], ...]] = (
        ("images", "masks"),
        ("CVC-ColonDB/images", "CVC-ColonDB/masks"),
        ("Original", "Ground Truth"),
    )
    left_out: ClassVar[tuple[str, ...]] = (
        "CVC-300",
        "CVC-ClinicDB",
        "ETIS-LaribPolypDB",
        "Kvasir",
    )


class ClinicDbBuilder(LesionBuilder):
    """CVC-ClinicDB: `Original/N.tif`, `Ground Truth/N.tif`.

    Kaggle's archive holds both in `TIF`, and once more in `PNG`; others repackage them
    as `images` and `masks`.
    """

    name: ClassVar[str] = "clinicdb"
    layout: ClassVar[str] = "Original/*.tif and Ground Truth/*.tif"
    defect: ClassVar[str] = "polyp"
    arrangements: ClassVar[tuple[tuple[str, str], ...]] = (
        ("Original", "Ground Truth"),
        ("TIF/Original", "TIF/Ground Truth"),
        ("PNG/Original", "PNG/Ground Truth"),
        ("images", "masks"),
    )
    left_out: ClassVar[tuple[str, ...]] = ("TIF", "PNG")


class Tn3kBuilder(LesionBuilder):
    """TN3K: `test-image/NNNN.jpg`, `test-mask/NNNN.jpg`, below `tn3k` in the archive.

    The masks are JPEG files, binarised at 127: the noise beside an edge is no nodule.
    """

    name: ClassVar[str] = "tn3k"
    layout: ClassVar[str] = "test-image/*.jpg and test-mask/*.jpg"
    defect: ClassVar[str] = "nodule"
    arrangements: ClassVar[tuple[tuple[str, str], ...]] = (
        ("test-image", "test-mask"),
        ("tn3k/test-image", "tn3k/test-mask"),
    )
    left_out: ClassVar[tuple[str, ...]] = (
        "trainval-image",
        "trainval-mask",
        "tg3k",
        "ddti dataset",
    )
