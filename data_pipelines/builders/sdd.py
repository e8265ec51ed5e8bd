"""KolektorSDD in its original layout, and in two preparations of the literature.

Tabernik et al., Segmentation-Based Deep-Learning Approach for Surface-Defect
Detection, Journal of Intelligent Manufacturing 31, 2020. CC BY-NC-SA 4.0. Its figures
in different papers are not comparable unless the preparation is the same.
"""

import functools
import io
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from data_pipelines.builders.base import FileBuilder, Survey, survey_items
from data_pipelines.builders.mvtec import LayoutBuilder
from data_pipelines.checks import read_checked
from data_pipelines.errors import DataError
from data_pipelines.layouts import (
    Item,
    find_folder,
    list_entries,
    list_images,
    pair_masks,
)
from data_pipelines.masks import decode_original_mask
from data_pipelines.pictures import SKIP_REMEDY, Reading, load_stored
from data_pipelines.records import AS_PUBLISHED, Entry, Record

_ITEM_FOLDER = re.compile(r"kos\d+", re.IGNORECASE)
_ENDING = "_label"


class SddBuilder(FileBuilder):
    """KolektorSDD, whole strips: `kosNN/PartN.jpg`, `kosNN/PartN_label.bmp`.

    Every part has a mask; a part is anomalous if any pixel of it is set.
    """

    name: ClassVar[str] = "sdd"
    layout: ClassVar[str] = "kos{01..50}/Part*.jpg with kos{01..50}/Part*_label.bmp"

    @classmethod
    def is_start(cls, folder: Path, classes: tuple[str, ...]) -> bool:
        """Says whether there are folders `kosNN`."""
        return bool(_list_item_folders(folder))

    @classmethod
    def survey_folder(cls, folder: Path, classes: tuple[str, ...]) -> Survey:
        """Lists all parts; whether one is anomalous is seen when its mask is read.

        Raises:
          DataError: two masks share a name.
        """
        (class_name,) = classes
        folders, items = _list_item_folders(folder), []
        for inner in folders:
            files = list_images(inner)
            masks = [file for file in files if file.stem.endswith(_ENDING)]
            parts = [file for file in files if not file.stem.endswith(_ENDING)]
            for part, mask in pair_masks(parts, masks, (_ENDING,)).items():
                path = part.relative_to(folder).as_posix()
                items.append(Item(part, mask, Entry(path, class_name, "", -1)))
        return survey_items(folder, {class_name: items}, looked_in=[folder, *folders])

    def record(self, candidate: Item) -> Record:
        """Reads a strip; its mask is kept where any pixel of it is set."""
        image, mask, region = _read_strip(candidate, self.reading)
        return _make_record(candidate.entry, image, mask, bool(region.any()))


@dataclass(frozen=True)
class Third:
    """The upper (0), middle (1) or lower (2) third of a strip."""

    strip: Item
    number: int
    anomalous: bool

    def cut(self, image: Image.Image) -> bytes:
        """Cuts the third out of a strip or its mask, as a PNG file."""
        top, bottom = (image.height * n // 3 for n in (self.number, self.number + 1))
        file = io.BytesIO()
        image.crop((0, top, image.width, bottom)).save(file, "PNG")
        return file.getvalue()


class SddThirdsBuilder(SddBuilder):
    """KolektorSDD in thirds, as DRA and AdaCLIP test on it: 286 good, 54 defective.

    Their scripts (DRA's `convert_SDD.py`, AdaCLIP's `sdd-pre.py`) cut every strip
    across its long side into thirds, of which one is defective if any pixel of its
    mask is set; all of those are tested, and the quarter of the good ones that
    scikit-learn's `train_test_split(test_size=0.25, random_state=42)` draws. They do so
    in the order in which the file system happens to list the files, which nobody can
    know afterwards: here it is by name, so that the numbers agree with theirs, and the
    defective thirds, but not which good ones were drawn.
    """

    name: ClassVar[str] = "sdd_thirds"
    twins: ClassVar[tuple[str, ...]] = ("sdd",)

    def count(self) -> int:
        """Returns the number of thirds tested, which takes reading all masks."""
        return len(self._thirds)

    def candidates(self) -> Sequence[Third]:
        """Returns the good thirds drawn, then the defective ones, each by name."""
        return self._thirds

    def record(self, candidate: Third) -> Record:
        """Cuts the third out of its strip and its mask."""
        entry = candidate.strip.entry
        path = Path(entry.path)
        name = f"{path.parent}_{path.stem}_{candidate.number}.png"
        image, _, region = _read_strip(candidate.strip, self.reading)
        mask = Image.fromarray(region * np.uint8(255))
        return _make_record(
            replace(entry, path=name),
            candidate.cut(load_stored(image, str(candidate.strip.image), self.reading)),
            candidate.cut(mask),
            candidate.anomalous,
        )

    @functools.cached_property
    def _thirds(self) -> list[Third]:
        good, defective = [], []
        for strip in self.survey.items:
            try:
                _, _, region = _read_strip(strip, self.reading)
            except DataError as error:
                if not self.skip_bad_files:
                    raise
                self.skipped.append(str(error))
                continue
            for number in range(3):
                top, bottom = (len(region) * n // 3 for n in (number, number + 1))
                third = Third(strip, number, bool(region[top:bottom].any()))
                (defective if third.anomalous else good).append(third)
        return [good[i] for i in sorted(draw_quarter(len(good)))] + defective


def draw_quarter(count: int) -> Sequence[int]:
    """Draws what `train_test_split(test_size=0.25, random_state=42)` tests on."""
    order = np.random.RandomState(42).permutation(count)
    return order[: math.ceil(count / 4)].tolist()


class SddAnomalyclipBuilder(LayoutBuilder):
    """AnomalyCLIP's own copy of KolektorSDD in thirds: 181 good, 74 defective.

    It lies in MVTec's layout, `electrical commutators/test/{good,defect}/*.png`, with
    names such as `kos01_Part5_0.png`. How its thirds were chosen is not published.
    """

    name: ClassVar[str] = "sdd_anomalyclip"
    layout: ClassVar[str] = (
        "electrical commutators/{test/{good,defect},ground_truth/defect}/*.png"
    )
    anomalous_kinds: ClassVar[frozenset[str]] = frozenset(("defect",))

    @classmethod
    def class_folder(cls, folder: Path, name: str) -> Path:
        """Finds the class under the names that its scripts and its readme give it."""
        spaced = name.replace("_", " ")
        names = (f"{spaced}s", f"{name}s", spaced, name)
        return find_folder(folder, *names) or folder / names[0]


def _list_item_folders(folder: Path) -> list[Path]:
    return [
        path
        for path in list_entries(folder)
        if _ITEM_FOLDER.fullmatch(path.name) and path.is_dir()
    ]


def _read_strip(
    item: Item, reading: Reading
) -> tuple[bytes, bytes, UInt8[np.ndarray, "h w"]]:
    """Reads a strip's image and mask, checked, and where the mask is set."""
    if item.mask is None:
        raise DataError(
            f"{item.image} has no mask {item.image.stem}{_ENDING}.bmp, without which "
            f"nobody knows whether it is anomalous; add it, {SKIP_REMEDY}"
        )
    image, mask = read_checked(item, needs_mask=True, reading=reading)
    rule = AS_PUBLISHED.mask
    return image, mask, decode_original_mask(mask, str(item.mask), rule)


def _make_record(entry: Entry, image: bytes, mask: bytes, anomalous: bool) -> Record:
    known = replace(
        entry, defect="defect" if anomalous else "good", label=int(anomalous)
    )
    return Record(image=image, mask=mask if anomalous else b"", **asdict(known))
