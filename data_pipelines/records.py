"""The record, its index entry, and the contract that every source of them keeps."""

import abc
import hashlib
import json
from dataclasses import dataclass
from typing import TypedDict

from data_pipelines.digests import of_bytes
from data_pipelines.mask_values import PUBLISHED
from data_pipelines.masks import MaskRule
from data_pipelines.pictures.reading import DEFAULT_READING, Reading


class Record(TypedDict):
    """One image as any source yields it.

    Attributes:
      image: The encoded image file.
      mask: The encoded mask file, `b""` where there is none.
      label: 0 normal, 1 anomalous, -1 unknown (a flat folder).
      class_name: The dataset's own class id, such as `metal_nut`.
      defect: The kind of anomaly (its folder's name), `good` for normal images, empty
        where the label is unknown.
      path: The image's path relative to the dataset's folder, with `/`.
    """

    image: bytes
    mask: bytes
    label: int
    class_name: str
    defect: str
    path: str


@dataclass(frozen=True)
class Entry:
    """What is known of a record without reading its image; fields as in `Record`."""

    path: str
    class_name: str
    defect: str
    label: int


@dataclass(frozen=True)
class FileRule:
    """How the files of one record become pixels.

    Attributes:
      upright: Whether the image's EXIF orientation is applied.
      mask: What of its mask counts, and how the mask is turned to lie on the image.
      turned: The orientation that is applied to the image.
    """

    upright: bool
    mask: MaskRule
    turned: int = 1


# Catalogue datasets are read as their published figures were made.
AS_PUBLISHED = FileRule(upright=False, mask=MaskRule(PUBLISHED))


class Source(abc.ABC):
    """A random-access, picklable list of records.

    Attributes:
      dataset: The id as the user gave it (`mvtec`, `folder:PATH`).
      classes: The classes present, in the catalogue's order, or sorted.
      prompt_names: Class id to the name used in prompts.
      has_masks: Whether anomalous images carry masks.
      labelled: False for a flat folder, whose labels are all -1.
      index: One entry per record, in record order.
      skipped: The message of every file that was left out; it names the file.
      missing_classes: Classes of the catalogue that the data root lacks.
      strays: Folders and files that were met but not understood, and left out.
      reading: What the numbers of its images mean.
      description: How a user's folder was read, a line for each class; of a catalogue
        dataset nothing.
      differences: Where the counts are not the published ones, one line each.
    """

    dataset: str
    classes: tuple[str, ...]
    prompt_names: dict[str, str]
    has_masks: bool
    labelled: bool
    index: tuple[Entry, ...]
    skipped: tuple[str, ...]
    missing_classes: tuple[str, ...]
    strays: tuple[str, ...] = ()
    reading: Reading = DEFAULT_READING
    description: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.index)

    @property
    def parts(self) -> tuple["Source", ...]:
        """The datasets that it is made of: itself, where it is not a join."""
        return (self,)

    @abc.abstractmethod
    def __getitem__(self, i: int) -> Record:
        """Reads record `i`; raises DataError where its files cannot be read."""

    @abc.abstractmethod
    def mask(self, i: int) -> bytes:
        """Reads only the encoded mask of record `i`, `b""` where there is none."""

    @abc.abstractmethod
    def key(self, i: int) -> str:
        """Returns the SHA-256 (hex) of the encoded image of record `i`."""

    def mask_key(self, i: int) -> str:
        """Returns the SHA-256 of its encoded mask, empty where there is none."""
        return of_bytes(self.mask(i))

    def digest(self) -> str:
        """Returns the SHA-256 of all that training learns from it, in its order.

        Every image and mask is read where their own digests are not known.
        """
        names = [self.prompt_names[name] for name in self.classes]
        found = hashlib.sha256(json.dumps([self.classes, names]).encode())
        for i, entry in enumerate(self.index):
            row = [
                *(entry.path, entry.class_name, entry.defect, entry.label),
                *(self.key(i), self.mask_key(i)),
            ]
            found.update(json.dumps(row).encode())
        return found.hexdigest()

    def file_rule(self, i: int) -> FileRule:
        """Says how the files of record `i` become pixels."""
        del i
        return AS_PUBLISHED
