"""One look at all masks of a dataset: what no single file can tell to be wrong."""

import functools
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from data_pipelines.errors import DataError
from data_pipelines.folder_names import MASK_ENDINGS
from data_pipelines.layouts import Item
from data_pipelines.mask_values import IDS, LOSSY, PLAIN, SOFT, VOID
from data_pipelines.masks import tell_mask
from data_pipelines.names import name_some
from data_pipelines.notices import warn_once
from data_pipelines.pictures import DEFAULT_READING, Reading, read_file
from data_pipelines.records import Entry

_LARGE = 0.5
_READERS = 4
# What no other reading of the file would give otherwise needs no word.
_SILENT = frozenset((PLAIN, IDS, LOSSY))
_RULE = "--config.data.mask_values=nonzero, half or ids"


class Look(NamedTuple):
    """What a mask marks.

    Attributes:
      share: Of the picture.
      corners: Whether all four corners are marked.
      how: How it was read; see `mask_values`.
    """

    share: float
    corners: bool
    how: str

    @property
    def is_large(self) -> bool:
        """Whether it marks so much that it may be the background."""
        return self.share > _LARGE or self.corners


def look_at(mask: Bool[np.ndarray, "h w"], how: str = "") -> Look:
    """Says what a mask marks."""
    corners = mask[[0, 0, -1, -1], [0, -1, 0, -1]]
    return Look(float(mask.mean()), bool(corners.all()), how)


def look_at_all(
    masks: Iterable[Path], values: str, reading: Reading = DEFAULT_READING
) -> dict[Path, Look | DataError]:
    """Decodes masks, each once in a process and four at a time.

    Args:
      masks: Their files.
      values: How they are read; see `mask_values`.
      reading: How large they may be.

    Returns:
      What each marks, or why it cannot be read.
    """
    masks = list(masks)
    with ThreadPoolExecutor(_READERS) as pool:
        found = pool.map(lambda path: _look_at_file(path, values, reading), masks)
        return dict(zip(masks, found, strict=True))


def check_masks(
    items: Sequence[Item],
    looks: Mapping[Path, Look],
    others: Mapping[Path, Look | DataError],
    *,
    dataset: str,
    strict: bool,
) -> frozenset[Path]:
    """Says once what is odd about the masks of a dataset, and how they were read.

    Args:
      items: The images.
      looks: At the masks of those that are anomalous.
      others: At the masks beside these that no anomalous image has.
      dataset: Its id.
      strict: Whether what is odd is an error.

    Returns:
      Those of `others` that are as they should be: empty ones of normal pictures.

    Raises:
      DataError: something is odd, and `strict` is set.
    """
    owners = _owners(items, others)
    odd = list(_find_odd(items, looks, others, owners))
    if odd and strict:
        raise DataError(
            f"{dataset}: {'; '.join(odd)}; mend the masks, or accept them with "
            "--config.data.strict=False"
        )
    for line in odd:
        warn_once(f"{dataset}: {line}")
    ways = Counter(look.how for look in looks.values())
    if set(ways) - _SILENT:
        said = ", ".join(f"{count} {how}" for how, count in sorted(ways.items()))
        warn_once(f"{dataset}: masks were read {said}; another rule is {_RULE}")
    return frozenset(path for path in owners if not _marks(others[path]))


def odd_classes(
    found: Mapping[str, Sequence[str]], what: str, index: Iterable[Entry]
) -> Iterator[str]:
    """Yields the classes most of whose masks are odd, as no publication's are.

    Args:
      found: The paths of images with odd masks, by class.
      what: What these masks do.
      index: What there is of the dataset.
    """
    anomalous = Counter(entry.class_name for entry in index if entry.label == 1)
    for name, paths in found.items():
        if 2 * len(paths) > anomalous[name]:
            yield (
                f"{len(paths)} of {anomalous[name]} masks of class {name} {what} "
                f"({name_some(paths)}); fetch them again"
            )


def _find_odd(
    items: Sequence[Item],
    looks: Mapping[Path, Look],
    others: Mapping[Path, Look | DataError],
    owners: Mapping[Path, Item],
) -> Iterator[str]:
    anomalous = [item for item in items if item.mask and item.entry.label == 1]
    empty = [i.entry.path for i in anomalous if not looks[i.mask].share]
    if empty:
        yield (
            f"{len(empty)} of {len(anomalous)} masks of anomalous pictures are empty "
            f"({name_some(empty)}), so that all their pixels count as normal; another "
            f"reading is {_RULE}"
        )
    large = [i.entry.path for i in anomalous if looks[i.mask].is_large]
    if large:
        yield (
            f"{len(large)} of {len(anomalous)} masks mark more than half of the picture "
            f"or all of its corners ({name_some(large)}); they may be inverted, or be "
            f"meant otherwise: {_RULE}"
        )
    ways = {look.how for look in looks.values()}
    if SOFT in ways and ways & {IDS, VOID}:
        yield (
            "some masks were read as class ids and others as soft ones, above half; "
            f"say which they are with {_RULE}"
        )
    marked = [item.entry.path for path, item in owners.items() if _marks(others[path])]
    if marked:
        yield (
            f"{len(marked)} normal pictures have a mask that marks something, and count "
            f"as normal all the same ({name_some(marked)})"
        )
    unused = [path.name for path in others if path not in owners]
    if unused:
        yield f"{len(unused)} masks belong to no picture ({name_some(unused)})"


def _owners(items: Sequence[Item], masks: Iterable[Path]) -> dict[Path, Item]:
    """The normal picture of each mask that has one, by kind and stem."""
    kinds = {item.image.parent.name.lower() for item in items}
    normal: dict[str, list[Item]] = {}
    for item in items:
        if item.entry.label == 0:
            normal.setdefault(item.image.stem, []).append(item)
    found = {}
    for path in masks:
        kind = path.parent.name.lower()
        stems = {path.stem.removesuffix(ending) for ending in MASK_ENDINGS}
        fitting = [
            item
            for stem in stems
            for item in normal.get(stem, ())
            # A folder of masks that is none of a kind's holds those of all kinds.
            if kind not in kinds or item.image.parent.name.lower() == kind
        ]
        if fitting:
            # Of several classes that of its own.
            found[path] = max(
                fitting, key=lambda item: len(os.path.commonpath((item.image, path)))
            )
    return found


def _marks(look: Look | DataError) -> bool:
    return isinstance(look, Look) and look.share > 0


def _look_at_file(path: Path, values: str, reading: Reading) -> Look | DataError:
    try:
        stat = path.stat()
        return _remembered(path, stat.st_size, stat.st_mtime_ns, values, reading)
    except DataError as error:
        return error
    except OSError as error:
        return DataError(f"{path} cannot be read ({error.strerror or error})")


@functools.lru_cache(maxsize=100_000)
def _remembered(
    path: Path, size: int, modified: int, values: str, reading: Reading
) -> Look:
    """What a file marks; a suite opens its datasets again for each run."""
    del size, modified
    told = tell_mask(read_file(path), str(path), values, reading)
    return look_at(told.mask, told.how)
