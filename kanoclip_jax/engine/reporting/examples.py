"""A picture of what an evaluation saw: a row for each class, four of its images."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float32, UInt8
from PIL import Image

from data_pipelines.names import printable
from data_pipelines.pipeline import Batch
from data_pipelines.sources import Entry, Source
from kanoclip_jax.engine.reporting.cases import shrink
from kanoclip_jax.engine.workdir import file_name
from kanoclip_jax.files import replacing
from kanoclip_jax.viz import Bar, Heading, Panel, Scale, compare, contact_sheet

# A sheet is as wide as eight tiles and has so many rows at most, 1352 x 5528 pixels; a
# line under them says what it leaves out.
_MOST = 24
_TILE = 160
# So many images of a class are looked at, evenly over it and so over its kinds of
# anomalies; of their scores the sheet shows the highest, the median and the lowest, and
# the median of the normal ones.
_ANOMALOUS, _NORMAL = 9, 3


class Seen(NamedTuple):
    """One image as the sheet may show it, no larger than a tile.

    Attributes:
        image: RGB.
        mask: what is anomalous.
        found: its map.
        score: of the image.
    """

    image: UInt8[np.ndarray, "h w 3"]
    mask: Bool[np.ndarray, "h w"]
    found: Float32[np.ndarray, "h w"]
    score: float


class Examples:
    """Collects a few images of a dataset as they pass.

    Args:
        source: the dataset; which images are looked at depends on it alone.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._seen: dict[int, Seen] = {}
        self._chosen: dict[str, dict[int, list[int]]] = {}
        for name in source.classes[:_MOST]:
            own = [i for i, e in enumerate(source.index) if e.class_name == name]
            self._chosen[name] = {
                label: _evenly([i for i in own if source.index[i].label == label], most)
                for label, most in ((1, _ANOMALOUS), (0, _NORMAL))
            }
        self._wanted = {
            index
            for labels in self._chosen.values()
            for chosen in labels.values()
            for index in chosen
        }

    def add(
        self,
        batch: Batch,
        row: int,
        anomaly_map: Array | np.ndarray,
        score: float,
    ) -> None:
        """Keep one image of a batch if it is among those that are looked at."""
        index = int(batch["index"][row])
        if index in self._wanted:
            mask = (batch["mask"][row] > 0).astype(np.float32)
            self._seen[index] = Seen(
                shrink(batch["image"][row], _TILE),
                shrink(mask, _TILE) > 0,
                shrink(np.asarray(anomaly_map).astype(np.float32), _TILE),
                score,
            )

    def merge(self, other: "Examples") -> None:
        """Take over what another process saw."""
        self._seen |= other._seen

    def save(self, folder: Path, bars: Mapping[str, Bar]) -> Path | None:
        """Write the sheet into `folder`; None if there is nothing to show.

        Args:
            folder: of the run.
            bars: scales of the classes' maps.
        """
        rows, headings = [], {}
        for name in self._chosen:
            row = self._row(name, bars[name].scale)
            if row:
                headings[len(rows)] = Heading(printable(name), bars[name])
                rows.append(row)
        if not rows:
            return None
        path = folder / f"examples-{file_name(self._source.dataset)}.png"
        sheet = contact_sheet(
            rows, tile=_TILE, headings=headings, foot=self._left_out()
        )
        with replacing(path) as temporary:
            Image.fromarray(sheet).save(temporary, "PNG", optimize=True)
        return path

    def _left_out(self) -> str:
        """What the sheet has no rows of."""
        every = len(self._source.classes)
        if every <= _MOST:
            return ""
        return f"the first {_MOST} of {every} classes; figures of all are in the report"

    def _row(self, name: str, scale: Scale | None) -> list[Panel]:
        anomalous, normal = (
            sorted(
                (i for i in self._chosen[name][label] if i in self._seen),
                key=lambda i: (-self._seen[i].score, i),
            )
            for label in (1, 0)
        )
        shown = [*anomalous[:1], *_middle(anomalous), *anomalous[-1:], *_middle(normal)]
        # One of few is several of these.
        distinct = dict.fromkeys(shown)
        return [panel for i in distinct for panel in self._panels(i, scale)]

    def _panels(self, index: int, scale: Scale | None) -> list[Panel]:
        seen, entry = self._seen[index], self._source.index[index]
        captions = f"{_place(entry)}\n{_truth(entry, seen)}", f"score {seen.score:.3f}"
        return compare(seen.image, seen.mask, seen.found, scale, captions)


def _truth(entry: Entry, seen: Seen) -> str:
    """What is known of an image; an anomaly without a mask is not shown as if normal."""
    if entry.label == 0:
        return "normal"
    return "true outline" if seen.mask.any() else f"{printable(entry.defect)}, no mask"


def _place(entry: Entry) -> str:
    """An image's folder and name; its class stands above the row."""
    return printable("/".join(Path(entry.path).parts[-2:]))


def _evenly(indices: Sequence[int], most: int) -> list[int]:
    """So many of some at most, as far apart as they may be, both ends among them."""
    if len(indices) <= most:
        return list(indices)
    places = np.linspace(0, len(indices) - 1, most).round().astype(int)
    return [indices[place] for place in places]


def _middle(ranked: Sequence[int]) -> Sequence[int]:
    """The one in the middle, the later of two; none of none."""
    return ranked[len(ranked) // 2 :][:1]
