"""The TFDS builder that all catalogue datasets share: records in array_record shards.

TFDS's GeneratorBasedBuilder spills to disk through TensorFlow above 1000 MiB, which a
complete dataset exceeds; ShardBasedBuilder streams in bounded memory and keeps order.
"""

import abc
import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from data_pipelines.checks import read_checked
from data_pipelines.digests import of_bytes
from data_pipelines.errors import DataError
from data_pipelines.layouts import Item, find_strays
from data_pipelines.mask_check import look_at
from data_pipelines.mask_values import PUBLISHED
from data_pipelines.masks import tell_mask
from data_pipelines.pictures import DEFAULT_READING, SKIP_REMEDY, Reading
from data_pipelines.records import Entry, Record

# A shard is held in memory until it is counted: some 100 MB of 1024 px PNG files.
_RECORDS_PER_SHARD = 64


@dataclass(frozen=True)
class Survey:
    """What there is to prepare, found without reading any image.

    Attributes:
      classes: The classes present, in the catalogue's order.
      missing: Classes of the catalogue that are not there.
      items: The image files; empty for generated datasets.
      listing: What the prepared copy depends on: relative name, size, mtime_ns.
      strays: Folders and files that were met but not understood, and left out.
      named_in: The file that names the items, empty where their folders do.
    """

    classes: tuple[str, ...]
    missing: tuple[str, ...]
    items: tuple[Item, ...]
    listing: tuple[tuple[str, int, int], ...]
    strays: tuple[str, ...] = ()
    named_in: str = ""


def list_files(folder: Path, files: Iterable[Path]) -> tuple[tuple[str, int, int], ...]:
    """A survey's listing of the files that are there."""
    return tuple(
        (path.relative_to(folder).as_posix(), stat.st_size, stat.st_mtime_ns)
        for path in files
        if path.is_file()
        for stat in (path.stat(),)
    )


def survey_items(
    folder: Path,
    items: Mapping[str, Sequence[Item]],
    *,
    files: Sequence[Path] = (),
    looked_in: Iterable[Path] = (),
    known: Iterable[Path] = (),
    named_in: str = "",
) -> Survey:
    """Makes a survey of the items that were found class by class.

    Args:
      folder: Where the dataset's content begins.
      items: Every wanted class's items; a class without any is missing.
      files: What else the prepared copy depends on, such as a csv of labels.
      looked_in: Folders in which whatever is no item is a stray.
      known: Files and folders there that are understood, though they are no items.
      named_in: The file that names the items, empty where their folders do.

    Returns:
      The survey.
    """
    kept = tuple(item for found in items.values() for item in found)
    used = [path for item in kept for path in (item.image, item.mask) if path]
    looked_in = tuple(looked_in)
    return Survey(
        classes=tuple(name for name in items if items[name]),
        missing=tuple(name for name in items if not items[name]),
        items=kept,
        listing=list_files(folder, dict.fromkeys((*files, *used))),
        strays=find_strays(folder, looked_in, {*used, *files, *looked_in, *known}),
        named_in=named_in,
    )


class AnomalyBuilder(tfds.core.ShardBasedBuilder, skip_registration=True):
    """Writes one dataset's records as split `test`, in order, without TensorFlow.

    A subclass says how the dataset's folder is surveyed, what its candidates are and
    how a candidate becomes a record.

    Attributes:
      layout: What is expected below the data root, for messages.
      twins: Ids of datasets made of the same files, whose folder serves as well.
      entries: Index entry and image key of every record written, in order.
      mask_keys: The keys of their masks, empty where there is none.
      skipped: The error of every candidate left out.
      odd_masks: Anomalous images whose masks are `empty` or `large`, by class.
    """

    VERSION: ClassVar[tfds.core.Version] = tfds.core.Version("1.0.0")
    needs_root: ClassVar[bool] = True
    layout: ClassVar[str] = "<class>/test/<kind>/*.png"
    twins: ClassVar[tuple[str, ...]] = ()
    # TFDS looks beside the code for checksums of downloads, of which there are none;
    # its search imports importlib_resources, which it does not declare.
    code_path: ClassVar[None] = None

    def __init__(
        self,
        survey: Survey,
        *,
        skip_bad_files: bool,
        data_dir: str | Path,
        reading: Reading = DEFAULT_READING,
    ) -> None:
        self.survey = survey
        self.skip_bad_files = skip_bad_files
        self.reading = reading
        self.entries: list[tuple[Entry, str]] = []
        self.mask_keys: list[str] = []
        self.skipped: list[str] = []
        self.odd_masks: dict[str, dict[str, list[str]]] = {"empty": {}, "large": {}}
        super().__init__(data_dir=str(data_dir), file_format="array_record")

    @classmethod
    def is_start(cls, folder: Path, classes: tuple[str, ...]) -> bool:
        """Says whether the layout begins in this folder, not in one further down."""
        return any((folder / name).is_dir() for name in classes)

    @classmethod
    @abc.abstractmethod
    def survey_folder(cls, folder: Path, classes: tuple[str, ...]) -> Survey:
        """Lists a dataset in its original layout; a subclass may take options too.

        Args:
          folder: Where the dataset's content begins, to which all paths are relative.
          classes: The classes to keep, in the catalogue's order.

        Returns:
          The survey, whose classes may be fewer.
        """

    @abc.abstractmethod
    def count(self) -> int:
        """Returns the number of candidates."""

    @abc.abstractmethod
    def candidates(self) -> Iterable[Any]:
        """Returns everything that may become a record, in order."""

    @abc.abstractmethod
    def record(self, candidate: Any) -> Record:
        """Turns a candidate into a record; raises DataError where it is unusable."""

    def _info(self) -> tfds.core.DatasetInfo:
        encoded = tfds.features.Tensor(shape=(), dtype=np.object_)
        return tfds.core.DatasetInfo(
            builder=self,
            description=(type(self).__doc__ or "").strip(),
            features=tfds.features.FeaturesDict(
                {
                    "image": encoded,
                    "mask": encoded,
                    "label": tfds.features.Scalar(np.int64),
                    "class_name": tfds.features.Text(),
                    "defect": tfds.features.Text(),
                    "path": tfds.features.Text(),
                    "key": tfds.features.Text(),
                }
            ),
            disable_shuffling=True,
        )

    def _shard_iterators_per_split(self, dl_manager: Any) -> dict[str, list[Any]]:
        del dl_manager
        total = self.count()
        # Where stderr is no terminal, a bar would fill the log.
        bar = tqdm(
            self.candidates(),
            total=total,
            desc=f"prepare {self.name}",
            unit="image",
            disable=None,
        )
        rest = iter(bar)
        shards = -(-total // _RECORDS_PER_SHARD)
        return {"test": [functools.partial(self._write_shard, rest)] * shards}

    def _write_shard(self, rest: Iterator[Any]) -> Iterator[tuple[int, dict[str, Any]]]:
        for candidate in itertools.islice(rest, _RECORDS_PER_SHARD):
            try:
                record = self.record(candidate)
            except DataError as error:
                if not self.skip_bad_files:
                    raise
                self.skipped.append(str(error))
                continue
            key = of_bytes(record["image"])
            entry = Entry(*(record[field.name] for field in fields(Entry)))
            self.entries.append((entry, key))
            self.mask_keys.append(of_bytes(record["mask"]))
            self._look(record)
            yield len(self.entries), {**record, "key": key}

    def _look(self, record: Record) -> None:
        """Notes a mask that may be damaged, as one that marks nothing."""
        if record["label"] != 1 or not record["mask"]:
            return
        mask = tell_mask(record["mask"], record["path"], PUBLISHED).mask
        look = look_at(mask)
        for what, is_so in (("empty", not look.share), ("large", look.is_large)):
            if is_so:
                of_class = self.odd_masks[what].setdefault(record["class_name"], [])
                of_class.append(record["path"])


class FileBuilder(AnomalyBuilder, skip_registration=True):
    """A builder whose candidates are the image files that its survey found.

    Attributes:
      needs_masks: Whether an anomalous image without a mask is unusable.
    """

    needs_masks: ClassVar[bool] = True

    def count(self) -> int:
        """Returns the number of image files."""
        return len(self.survey.items)

    def candidates(self) -> Sequence[Item]:
        """Returns the image files, in the survey's order."""
        return self.survey.items

    def record(self, candidate: Item) -> Record:
        """Reads and fully decodes an image and its mask."""
        for path in (candidate.image, candidate.mask):
            if self.survey.named_in and path and not path.is_file():
                raise DataError(
                    f"{path} is named in {self.survey.named_in} but is not there; "
                    f"restore it, {SKIP_REMEDY}"
                )
        image, mask = read_checked(
            candidate, needs_mask=self.needs_masks, reading=self.reading
        )
        return Record(image=image, mask=mask, **asdict(candidate.entry))
