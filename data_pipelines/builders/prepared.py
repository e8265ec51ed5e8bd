"""Prepared copies of catalogue datasets: written once, atomically, then only opened.

A copy's index holds digests of its files and of every image and mask. What can be told
on opening makes the copy be prepared again; an image or mask is checked when it is read.
"""

import contextlib
import dataclasses
import errno
import functools
import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import tensorflow_datasets as tfds
from absl import logging

from data_pipelines import documents
from data_pipelines.builders.base import AnomalyBuilder, Survey
from data_pipelines.builders.meta import make_meta_builder
from data_pipelines.builders.published import (
    compare_counts,
    refuse_differences,
    warn_of_differences,
    warn_once,
)
from data_pipelines.catalog import Card, select_classes
from data_pipelines.digests import of_file, seal, unseal
from data_pipelines.errors import AbsentError, DataError
from data_pipelines.layouts import find_start, naming_unreadable
from data_pipelines.locks import hold
from data_pipelines.mask_check import odd_classes
from data_pipelines.pictures import DEFAULT_READING, Reading
from data_pipelines.records import Entry, Record, Source

_INDEX = "index.json"
_FULL = os.strerror(errno.ENOSPC)
_REMEDY = "free some space, or choose another folder with --config.data.prepared=DIR"
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
        index = _read_index(home)
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
        if hashlib.sha256(row["image"]).hexdigest() != self._keys[i]:
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
        if self._mask_keys:
            mask = row["mask"]
            found = hashlib.sha256(mask).hexdigest() if mask else ""
            if found != self._mask_keys[i]:
                path = self.index[i].path
                raise _damaged(self._home, f"the mask of {path} is another")
        return row


def open_prepared(
    card: Card,
    builder_class: type[AnomalyBuilder],
    *,
    root: str,
    prepared: Path,
    classes: tuple[str, ...],
    skip_bad_files: bool,
    strict: bool = False,
    options: Mapping[str, Any] = MappingProxyType({}),
    reading: Reading = DEFAULT_READING,
) -> PreparedSource:
    """Opens a dataset's prepared copy, writing it first where there is none.

    The copy lies in `PREPARED/ID/FINGERPRINT/`, where the fingerprint covers the
    builder's version, the listing of the source files, the classes and the skip flag.
    It is written beside its final name and renamed, under a lock: an interrupted
    preparation leaves no copy, and the next one removes its remains.

    Args:
      card: The dataset.
      builder_class: Its builder.
      root: Folder that holds the dataset's folder, if it has one.
      prepared: Folder for prepared copies.
      classes: Keeps these classes only; all where empty.
      skip_bad_files: Counts and skips unusable files instead of raising.
      strict: Whether a copy that differs from the published one is refused.
      options: Keywords of the builder's `survey_folder` beyond the common ones.
      reading: What the numbers of images mean: which of them are usable.

    Returns:
      The source.

    Raises:
      DataError: the root lacks the dataset or a wanted class, a file is unusable,
        `prepared` cannot be written, or the copy differs and `strict` is set.
    """
    wanted = select_classes(card.id, classes, card.classes)
    with naming_unreadable(Path(root) / card.id):
        builder_class, survey = _survey(
            card, builder_class, root, wanted, bool(classes), options
        )
    home = (
        prepared
        / card.id
        / _fingerprint(builder_class, survey, skip_bad_files, reading)
    )
    copy = functools.partial(
        PreparedSource, card, home, str(builder_class.VERSION), survey.strays
    )
    if not _is_sound(copy, home):
        try:
            _prepare(builder_class, survey, skip_bad_files, reading, home, copy)
        except DataError:
            raise
        except Exception as error:
            # What writes the records has errors of its own, which only quote the system.
            full = _FULL in str(error)
            if not (full or isinstance(error, OSError)):
                raise
            why = _FULL if full else getattr(error, "strerror", None) or error
            raise DataError(f"{home} cannot be prepared ({why}); {_REMEDY}") from error
    source = copy()
    if not source.knows_masks:
        warn_once(
            f"{home} was prepared by a version that kept no digests of masks, so damage "
            "to them would not be noticed; remove it to have it prepared again"
        )
    if strict:
        refuse_differences(source)
    warn_of_differences(source, root)
    return source


def _survey(
    card: Card,
    builder_class: type[AnomalyBuilder],
    root: str,
    wanted: tuple[str, ...],
    named: bool,
    options: Mapping[str, Any],
) -> tuple[type[AnomalyBuilder], Survey]:
    """Surveys the dataset's folder; a class that was named must be there.

    Returns:
      The builder of the layout that was found, and the survey.
    """
    places = [Path(root).expanduser() / n for n in (card.id, *builder_class.twins)]
    folder = next((place for place in places if place.is_dir()), places[0])
    expected = (
        f"expected ROOT/{card.id}/{builder_class.layout}, or AnomalyCLIP's meta.json "
        "there; set the root with --config.data.root=DIR"
    )
    about = (
        f"{card.title} ({card.description.rstrip('.')}; licence: {card.licence}; "
        f"size: {card.size}) can be had from {card.homepage}; {expected}"
    )
    if builder_class.needs_root:
        if not root:
            raise AbsentError(f"no data root is set for {card.id}: {about}")
        if not folder.is_dir():
            raise AbsentError(f"{folder} is not a folder: {about}")
    chosen, survey = _survey_either(card, builder_class, folder, wanted, options)
    if not survey.classes:
        raise DataError(
            f"{folder} holds none of the classes {', '.join(wanted)}: {about}"
        )
    if named and survey.missing:
        raise DataError(
            f"{folder} lacks the class {survey.missing[0]!r} that was asked for: "
            f"{expected}, or leave the class out"
        )
    return chosen, survey


def _survey_either(
    card: Card,
    builder_class: type[AnomalyBuilder],
    folder: Path,
    wanted: tuple[str, ...],
    options: Mapping[str, Any],
) -> tuple[type[AnomalyBuilder], Survey]:
    """Surveys the original layout, or meta.json where there is nothing of it.

    The original one wins because it pairs masks by name.
    """
    own = builder_class, options
    # A twin's list is of the twin's images.
    meta = [(make_meta_builder(card), {})] if folder.name == card.id else []
    for choice, its_options in (own, *meta) if builder_class.needs_root else ():
        is_start = functools.partial(choice.is_start, classes=wanted)
        start = find_start(folder, is_start)
        if is_start(start):
            survey = choice.survey_folder(start, wanted, **its_options)
            if survey.items:
                return choice, survey
    # It says best what is missing.
    return builder_class, builder_class.survey_folder(folder, wanted, **options)


def _fingerprint(
    builder_class: type[AnomalyBuilder],
    survey: Survey,
    skip_bad_files: bool,
    reading: Reading,
) -> str:
    parts = [
        str(builder_class.VERSION),
        survey.listing,
        survey.classes,
        survey.missing,
        skip_bad_files,
    ]
    if changed := reading.changed():
        # Older copies keep their place.
        parts.append(changed)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _prepare(
    builder_class: type[AnomalyBuilder],
    survey: Survey,
    skip_bad_files: bool,
    reading: Reading,
    home: Path,
    copy: Callable[[], PreparedSource],
) -> None:
    """Writes a complete copy at `home`, or nothing."""
    with hold(home.parent, "prepare", remedy=_REMEDY, wait=True):
        if _is_sound(copy, home):
            return
        # Nothing but a damaged copy is there, if anything.
        shutil.rmtree(home, ignore_errors=True)
        for remains in home.parent.glob("*.partial"):
            shutil.rmtree(remains, ignore_errors=True)
        partial = home.with_suffix(".partial")
        try:
            builder = builder_class(
                survey,
                skip_bad_files=skip_bad_files,
                data_dir=partial,
                reading=reading,
            )
            _write(builder, partial)
            partial.rename(home)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _write(builder: AnomalyBuilder, folder: Path) -> None:
    logging.info("preparing %s into %s", builder.name, folder)
    with _quiet_tfds():
        builder.download_and_prepare(file_format="array_record")
    shutil.rmtree(folder / "downloads", ignore_errors=True)
    if not builder.entries:
        raise DataError(
            f"{builder.name} has no usable image: {len(builder.skipped)} were skipped, "
            f"the first: {builder.skipped[0]}"
        )
    index = {
        "classes": builder.survey.classes,
        "missing": builder.survey.missing,
        "skipped": builder.skipped,
        "odd_masks": builder.odd_masks,
        "records": [
            [*dataclasses.astuple(entry), key] for entry, key in builder.entries
        ],
        "masks": builder.mask_keys,
        "files": _describe_files(folder),
    }
    (folder / _INDEX).write_text(json.dumps(seal(index)))


def _describe_files(folder: Path) -> dict[str, list[Any]]:
    """The size of each file of a copy, and the digest of small ones."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            size = path.stat().st_size
            digest = of_file(path) if size <= _SMALL else ""
            found[path.relative_to(folder).as_posix()] = [size, digest]
    return found


def _read_index(home: Path) -> dict[str, Any]:
    """What a copy says of itself, which its files agree with.

    Raises:
      DamagedCopyError: they do not, or it cannot be read.
    """
    try:
        index = documents.read(
            home / _INDEX, _SHAPE, "it is no index", most=_MOST_BYTES, opened=unseal
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


def _is_sound(copy: Callable[[], PreparedSource], home: Path) -> bool:
    """Whether there is a copy that opens; one that does not is named."""
    if not (home / _INDEX).is_file():
        return False
    try:
        copy()
    except DamagedCopyError as error:
        warn_once(f"{error}: this one does")
        return False
    return True


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


@contextlib.contextmanager
def _quiet_tfds() -> Iterator[None]:
    """Silences TFDS's own bars and its prints on stdout, for the builder has a bar."""
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tfds.enable_progress_bar()
