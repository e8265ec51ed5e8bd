"""A prepared copy on disk: its index, and the source that reads it and meets damage.

The index holds digests of the copy's files and of every image and mask. What can be told
on opening is told there; an image or mask is checked when it is read.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from data_pipelines import documents
from data_pipelines.builders.published import compare_counts
from data_pipelines.catalog import Card
from data_pipelines.digests import of_bytes, of_file, unseal
from data_pipelines.errors import DataError
from data_pipelines.mask_check import odd_classes
from data_pipelines.records import Entry, Record, Source

INDEX = "index.json"
# Of some million pictures.
_MOST_BYTES = 1024 * documents.MEGABYTE
_SHAPE = {
    "classes": [str],
    "missing": [str],
    "skipped": [str],
    # Path, class, defect, label and digest.
    "records": [documents.Row((str, str, str, documents.Choice((0, 1)), str))],
    "masks?": [str],
    "files?": {...: documents.Row((int, str))},
}
# Files up to this size are digested on opening; of larger ones the records are checked
# as they are read, so that opening stays quick.
_SMALL = 2**20


class DamagedCopyError(DataError):
    """A prepared copy that is not what was prepared."""


class PreparedSource(Source):
    """The records of a prepared copy; see `Source`.

    Args:
      card: The dataset.
      home: The copy's folder.
      version: The builder's version.
      strays: What the survey met and did not understand.
    """

    def __init__(
        self, card: Card, home: Path, version: str, strays: tuple[str, ...] = ()
    ):
        self._opened_with = (card, home, version, strays)
        index = read_index(home)
        for name in index["classes"]:
            if name not in card.classes:
                raise _damaged(
                    home, f"it has the class {name!r}, which is not {card.id}'s"
                )
        self._home = home
        self.dataset = card.id
        self.classes = tuple(index["classes"])
        self.prompt_names = {name: card.classes[name] for name in self.classes}
        self.has_masks = card.has_masks
        self.labelled = True
        self.index = tuple(Entry(*row[:-1]) for row in index["records"])
        self.skipped = tuple(index["skipped"])
        self.missing_classes = tuple(index["missing"])
        self.strays = strays
        # Older copies were made without a look at their masks.
        odd = index.get("odd_masks", {})
        self.differences = (
            *compare_counts(card, self.index),
            *odd_classes(odd.get("empty", {}), "are empty", self.index),
            *odd_classes(
                odd.get("large", {}),
                "mark more than half of the picture or all of its corners",
                self.index,
            ),
        )
        self._keys = tuple(row[-1] for row in index["records"])
        # Copies of earlier versions have none, and then what is read is believed.
        self._mask_keys = tuple(index.get("masks", ()))
        with _naming_damage(home):
            builder = tfds.builder_from_directory(home / card.id / version)
            self._records = builder.as_data_source(split="test")
            if len(self._records) != len(self.index):
                raise ValueError(f"{len(self._records)} records, not {len(self.index)}")

    def __reduce__(self) -> tuple[Any, ...]:
        return (
            type(self),
            self._opened_with,
            {
                "prompt_names": self.prompt_names,
                "reading": self.reading,
            },
        )

    def __getitem__(self, i: int) -> Record:
        entry, row = self.index[i], self._row(i)
        if of_bytes(row["image"]) != self._keys[i]:
            raise _damaged(self._home, f"the image of {entry.path} is another")
        return Record(
            image=row["image"],
            mask=row["mask"],
            label=entry.label,
            class_name=entry.class_name,
            defect=entry.defect,
            path=entry.path,
        )

    @property
    def knows_masks(self) -> bool:
        """Whether the copy holds digests of its masks."""
        return bool(self._mask_keys)

    def mask(self, i: int) -> bytes:
        """Reads the encoded mask of record `i`, `b""` where there is none."""
        return self._row(i)["mask"]

    def key(self, i: int) -> str:
        """Returns the stored SHA-256 of the image."""
        return self._keys[i]

    def mask_key(self, i: int) -> str:
        """Returns the stored SHA-256 of the mask."""
        return self._mask_keys[i] if self._mask_keys else super().mask_key(i)

    def _row(self, i: int) -> dict[str, Any]:
        """A record as it is stored; its mask is the one that was."""
        with _naming_damage(self._home):
            row = self._records[i]
        if self._mask_keys and of_bytes(row["mask"]) != self._mask_keys[i]:
            path = self.index[i].path
            raise _damaged(self._home, f"the mask of {path} is another")
        return row


def describe_files(folder: Path) -> dict[str, list[Any]]:
    """The size of each file of a copy, and the digest of small ones."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            size = path.stat().st_size
            digest = of_file(path) if size <= _SMALL else ""
            found[path.relative_to(folder).as_posix()] = [size, digest]
    return found


def read_index(home: Path) -> dict[str, Any]:
    """What a copy says of itself, which its files agree with.

    Raises:
      DamagedCopyError: they do not, or it cannot be read.
    """
    try:
        index = documents.read(
            home / INDEX, _SHAPE, "it is no index", most=_MOST_BYTES, opened=unseal
        )
        known = index.get("files", {})
        for name, (size, digest) in known.items():
            path = home / name
            if path.stat().st_size != size or (digest and of_file(path) != digest):
                raise ValueError(f"{name} is not what was written")
        lengths = {len(index["records"]), len(index.get("masks", index["records"]))}
        if len(lengths) > 1:
            raise ValueError("its lists have different lengths")
    except (OSError, ValueError) as error:
        raise _damaged(home, str(error)) from None
    return index


def _damaged(home: Path, reason: str) -> DamagedCopyError:
    return DamagedCopyError(
        f"the prepared copy {home} is damaged ({reason}); remove that folder, and the "
        "next run prepares it again"
    )


@contextlib.contextmanager
def _naming_damage(home: Path) -> Iterator[None]:
    """TFDS and array_record promise no exception types."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise _damaged(home, reason) from None
