"""Several datasets as one source, as methods train on that are trained on more than one."""

import bisect
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from data_pipelines.catalog import find_card, nearest
from data_pipelines.errors import DataError
from data_pipelines.folder import find_classes, folder_of
from data_pipelines.folder_names import NORMAL_FOLDERS
from data_pipelines.layouts import naming_unreadable
from data_pipelines.records import FileRule, Record, Source


class JoinedSource(Source):
    """The records of several sources, one source after the other; see `Source`.

    A class keeps its id where no other part has it, and is called `DATASET/CLASS` where
    one does. A record keeps its key: features of an image are the same whatever it is
    joined with. Its path begins with its dataset.

    Args:
      parts: Labelled sources of different datasets.

    Attributes:
      names: For each part, its own class ids to those here.
    """

    def __init__(self, parts: Sequence[Source]):
        shared = Counter(name for part in parts for name in part.classes)
        self._parts = tuple(parts)
        self.names = tuple(
            {
                name: f"{part.dataset}/{name}" if shared[name] > 1 else name
                for name in part.classes
            }
            for part in parts
        )
        both = tuple(zip(parts, self.names, strict=True))
        self.dataset = ",".join(part.dataset for part in parts)
        self.classes = tuple(new for names in self.names for new in names.values())
        self.prompt_names = {
            new: part.prompt_names[name]
            for part, names in both
            for name, new in names.items()
        }
        self.has_masks = all(part.has_masks for part in parts)
        self.labelled = all(part.labelled for part in parts)
        self.index = tuple(
            replace(
                entry,
                class_name=names[entry.class_name],
                path=f"{part.dataset}/{entry.path}",
            )
            for part, names in both
            for entry in part.index
        )
        self.skipped = tuple(line for part in parts for line in part.skipped)
        self.missing_classes = tuple(
            f"{part.dataset}/{name}" for part in parts for name in part.missing_classes
        )
        self.strays = tuple(
            f"{part.dataset}/{path}" for part in parts for path in part.strays
        )
        self.differences = tuple(line for part in parts for line in part.differences)
        self.reading = parts[0].reading
        self._ends = tuple(itertools.accumulate(map(len, parts)))

    @property
    def parts(self) -> tuple[Source, ...]:
        """The sources, as given."""
        return self._parts

    def __getitem__(self, i: int) -> Record:
        """Reads record `i`; raises DataError where its files cannot be read."""
        part, own = self._find(i)
        entry = self.index[i]
        record = part[own]
        record["class_name"], record["path"] = entry.class_name, entry.path
        return record

    def mask(self, i: int) -> bytes:
        """Reads only the encoded mask of record `i`, `b""` where there is none."""
        part, own = self._find(i)
        return part.mask(own)

    def key(self, i: int) -> str:
        """Returns the SHA-256 of the image, the one that its part knows it by."""
        part, own = self._find(i)
        return part.key(own)

    def mask_key(self, i: int) -> str:
        """Returns the SHA-256 of the mask, as its part knows it."""
        part, own = self._find(i)
        return part.mask_key(own)

    def file_rule(self, i: int) -> FileRule:
        """Says how its part reads record `i`."""
        part, own = self._find(i)
        return part.file_rule(own)

    def _find(self, i: int) -> tuple[Source, int]:
        """The part that holds record `i`, and its number there."""
        number = bisect.bisect_right(self._ends, i)
        return self._parts[number], i - (self._ends[number - 1] if number else 0)


def share_classes(
    datasets: Sequence[str],
    wanted: Sequence[str],
    normal_folders: Sequence[str] = NORMAL_FOLDERS,
) -> dict[str, tuple[str, ...]]:
    """Says which of the wanted classes are whose.

    Args:
      datasets: Ids of datasets that are to be joined.
      wanted: Classes, as `CLASS` (of every dataset that has it) or `DATASET/CLASS`; all
        where empty.
      normal_folders: Names of kinds that mean normal, where a dataset is a folder.

    Returns:
      For each dataset the classes to keep; none named is all of them.

    Raises:
      DataError: A class that no dataset has, or a dataset of which nothing would stay.
    """
    if not wanted:
        return {dataset: () for dataset in datasets}
    known = {name: _classes_of(name, normal_folders) for name in datasets}
    allowed = [name for names in known.values() for name in names]
    allowed += [f"{dataset}/{name}" for dataset, own in known.items() for name in own]
    for name in wanted:
        if name not in allowed:
            raise DataError(
                f"none of {', '.join(datasets)} has a class {name!r}; "
                f"{nearest(name, allowed)}"
            )
    shares = {
        dataset: tuple(
            name for name in own if {name, f"{dataset}/{name}"} & set(wanted)
        )
        for dataset, own in known.items()
    }
    for dataset, own in shares.items():
        if not own:
            raise DataError(
                f"the classes {', '.join(wanted)} leave nothing of {dataset}; name one "
                f"of its own ({', '.join(known[dataset])}) too, or leave {dataset} out"
            )
    return shares


def _classes_of(dataset: str, normal_folders: Sequence[str]) -> tuple[str, ...]:
    """The classes of a catalogue dataset as published, of a folder as they lie there."""
    path = folder_of(dataset)
    if path is None:
        return tuple(find_card(dataset).classes)
    with naming_unreadable(path):
        return find_classes(path, normal_folders)
