"""Prepared copies of catalogue datasets: written once, atomically, then only opened.

A copy that is damaged, as far as opening it tells, is prepared again; see `copies`.
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

from data_pipelines.builders.base import AnomalyBuilder, Survey
from data_pipelines.builders.copies import (
    INDEX,
    DamagedCopyError,
    PreparedSource,
    describe_files,
)
from data_pipelines.builders.meta import make_meta_builder
from data_pipelines.builders.published import (
    refuse_differences,
    warn_of_differences,
)
from data_pipelines.catalog import Card, select_classes
from data_pipelines.digests import seal
from data_pipelines.errors import AbsentError, DataError
from data_pipelines.layouts import find_start, naming_unreadable
from data_pipelines.locks import hold
from data_pipelines.notices import warn_once
from data_pipelines.pictures import DEFAULT_READING, Reading

_FULL = os.strerror(errno.ENOSPC)
_REMEDY = "free some space, or choose another folder with --config.data.prepared=DIR"


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
    source = _open(copy, home)
    if source is None:
        try:
            source = _prepare(
                builder_class, survey, skip_bad_files, reading, home, copy
            )
        except DataError:
            raise
        except Exception as error:
            # What writes the records has errors of its own, which only quote the system.
            full = _FULL in str(error)
            if not (full or isinstance(error, OSError)):
                raise
            why = _FULL if full else getattr(error, "strerror", None) or error
            raise DataError(f"{home} cannot be prepared ({why}); {_REMEDY}") from error
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
) -> PreparedSource:
    """Writes a complete copy at `home`, or nothing."""
    with hold(home.parent, "prepare", remedy=_REMEDY, wait=True):
        # Another process may have written it meanwhile.
        source = _open(copy, home)
        if source is not None:
            return source
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
            return copy()
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
        "files": describe_files(folder),
    }
    (folder / INDEX).write_text(json.dumps(seal(index)))


def _open(copy: Callable[[], PreparedSource], home: Path) -> PreparedSource | None:
    """The copy, where there is one that opens; one that does not is named."""
    if not (home / INDEX).is_file():
        return None
    try:
        return copy()
    except DamagedCopyError as error:
        warn_once(f"{error}: this one does")
        return None


@contextlib.contextmanager
def _quiet_tfds() -> Iterator[None]:
    """Silences TFDS's own bars and its prints on stdout, for the builder has a bar."""
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tfds.enable_progress_bar()
