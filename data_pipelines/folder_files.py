"""Files of a user's folder before anything is computed: usable, and how they are read."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from absl import logging

from data_pipelines.checks import check_headers, read_checked
from data_pipelines.errors import DataError
from data_pipelines.layouts import Item
from data_pipelines.mask_check import Look, look_at_all
from data_pipelines.masks import MaskRule
from data_pipelines.orientation import (
    AS_STORED,
    Header,
    MaskOrientation,
    Posture,
    mask_turns,
    say_turned,
)
from data_pipelines.pictures import Reading
from data_pipelines.records import FileRule


@dataclass(frozen=True)
class MaskSettings:
    """How the masks of a folder are read, as far as they do not tell.

    Attributes:
      values: What of a mask counts; see `mask_values`.
      orientation: On what they were drawn; see `mask_turns`.
    """

    values: str = "auto"
    orientation: MaskOrientation = "auto"


AS_MASKS_TELL = MaskSettings()


@dataclass(frozen=True)
class Seen:
    """A usable item, and what its headers and its mask say."""

    item: Item
    header: Header
    posture: Posture | None
    look: Look | None


def check_files(
    found: Sequence[Item],
    path: Path,
    has_masks: bool,
    skip_bad_files: bool,
    reading: Reading,
    masks: MaskSettings,
) -> tuple[list[Seen], tuple[str, ...]]:
    """Keeps the usable items; names the others where they may be skipped."""
    seen, skipped = [], []
    looks = look_at_all(
        (item.mask for item in found if item.mask), masks.values, reading
    )
    for item in found:
        try:
            header, posture = check_headers(item, has_masks, reading)
            if skip_bad_files:
                read_checked(item, has_masks, reading, as_stored=False)
            look = looks[item.mask] if item.mask else None
            if isinstance(look, DataError):
                raise look
        except DataError as error:
            if not skip_bad_files:
                raise
            skipped.append(str(error))
        else:
            seen.append(Seen(item, header, posture, look))
    if skipped:
        logging.warning("%s: skipped %d unusable files", path, len(skipped))
    if not seen:
        raise DataError(f"{path} holds no usable image; {len(skipped)} were skipped")
    return seen, tuple(skipped)


def file_rules(
    seen: Sequence[Seen], dataset: str, reading: Reading, masks: MaskSettings
) -> list[FileRule]:
    """How each record is read; what was decided is said."""
    names = [one.item.entry.path for one in seen]
    turned = [
        name
        for name, one in zip(names, seen, strict=True)
        if one.header.orientation != AS_STORED
    ]
    say_turned(dataset, turned, reading.upright, len(seen))
    turns = mask_turns(
        [one.posture for one in seen],
        names,
        dataset=dataset,
        upright=reading.upright,
        drawn=masks.orientation,
    )
    return [
        FileRule(
            reading.upright,
            MaskRule(masks.values, of_mask, reading),
            one.header.orientation
            if reading.upright and not one.header.by_reader
            else AS_STORED,
        )
        for one, of_mask in zip(seen, turns, strict=True)
    ]
