"""The most confident right and wrong cases of each class, as small pictures."""

import base64
import bisect
import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Float, UInt8
from PIL import Image

from data_pipelines.pipeline import Batch
from data_pipelines.sources import Source
from kanoclip_jax.viz import colourise, outline, overlay


class Kind(NamedTuple):
    """What cases are collected: those of a label at one end of the scores."""

    label: int
    highest: bool


# Wrong ones first.
KINDS = {
    "missed": Kind(label=1, highest=False),
    "false_alarm": Kind(label=0, highest=True),
    "found": Kind(label=1, highest=True),
    "passed": Kind(label=0, highest=False),
}
_MOST = 4
# Of one kind over all classes; one each where there are more classes.
_IN_ALL = 48
_SIDE = 160
_QUALITY = 80


class Case:
    """One case; its pictures are drawn when somebody asks, as most are given up before.

    Args:
        facts: what is said of it.
        raw: image, mask and map that the pictures are drawn from.
    """

    def __init__(self, facts: Mapping[str, Any], raw: Sequence[np.ndarray]) -> None:
        self._facts, self._raw = facts, raw
        self._pictures: dict[str, str] = {}

    def drawn(self) -> dict[str, Any]:
        """The facts and the pictures; what these were drawn from is let go."""
        if self._raw:
            self._pictures, self._raw = _pictures(*self._raw), ()
        return {**self._facts, "pictures": self._pictures}

    def __getstate__(self) -> dict[str, object]:
        """Processes exchange pictures, not what they are drawn from."""
        self.drawn()
        return vars(self)


class Ranked(NamedTuple):
    """A case and its place: the lower, the more confident."""

    place: tuple[float, int]
    case: Case


class Cases:
    """Keeps the extremes of a dataset as its images pass; memory does not grow with them.

    No image is of two kinds: a class of few images shows fewer. No more cases than a
    class has stay undrawn: where images come class by class, each is drawn once it is
    sure to stay.

    Args:
        source: the dataset.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        most = max(1, min(_MOST, _IN_ALL // max(1, len(source.classes))))
        labels: dict[str, list[int]] = {name: [] for name in source.classes}
        for entry in source.index:
            labels[entry.class_name].append(entry.label)
        self._room = {
            (name, kind): min(most, (labels[name].count(label) + highest) // 2)
            for name in source.classes
            for kind, (label, highest) in KINDS.items()
        }
        self._kept: dict[tuple[str, str], list[Ranked]] = {
            key: [] for key in self._room
        }
        self._undrawn: list[Case] = []
        self._most_undrawn = most * len(KINDS)

    def add(
        self,
        batch: Batch,
        row: int,
        anomaly_map: Float[Array | np.ndarray, "h w"],
        score: float,
    ) -> None:
        """Keep one image of a batch if it is more confident than another of its kind.

        Args:
            batch: with `image`, `mask` and `index`.
            row: which of its images.
            anomaly_map: fetched from its device only if it is kept.
            score: of the image.
        """
        index = int(batch["index"][row])
        entry = self._source.index[index]
        for kind, (label, highest) in KINDS.items():
            key = (entry.class_name, kind)
            # Of equal scores the order is reversed too, so that the ends do not meet.
            place = (-score, index) if highest else (score, -index)
            if entry.label != label or not self._enters(key, place):
                continue
            facts = {"path": entry.path, "defect": entry.defect, "score": score}
            # Copies: what is kept must not keep the whole batch.
            raw = (batch["image"][row], batch["mask"][row], np.asarray(anomaly_map))
            case = Case(facts, [array.copy() for array in raw])
            self._undrawn.append(case)
            self._insert(key, Ranked(place, case))
            if len(self._undrawn) > self._most_undrawn:
                self._undrawn.pop(0).drawn()

    def merge(self, other: "Cases") -> None:
        """Take over what another process saw."""
        for key, ranked in other._kept.items():
            for one in ranked:
                self._insert(key, one)

    def of(self, class_name: str) -> dict[str, list[dict[str, Any]]]:
        """A class's cases by kind, the most confident first: path, score, pictures.

        Pictures are JPEG in base64, by what they show.
        """
        return {
            kind: [ranked.case.drawn() for ranked in self._kept[class_name, kind]]
            for kind in KINDS
        }

    def _enters(self, key: tuple[str, str], place: tuple[float, int]) -> bool:
        kept, room = self._kept[key], self._room[key]
        return len(kept) < room or bool(kept) and place < kept[-1].place

    def _insert(self, key: tuple[str, str], ranked: Ranked) -> None:
        kept = self._kept[key]
        bisect.insort(kept, ranked, key=lambda one: one.place)
        for given_up in kept[self._room[key] :]:
            if given_up.case in self._undrawn:
                self._undrawn.remove(given_up.case)
        del kept[self._room[key] :]


def _pictures(
    image: UInt8[np.ndarray, "h w 3"],
    mask: UInt8[np.ndarray, "h w"],
    anomaly_map: Float[np.ndarray, "h w"],
) -> dict[str, str]:
    """Small pictures in base64; lines are drawn at their size, to stay a pixel wide."""
    small = _shrink(image)
    found = _shrink(anomaly_map)
    pictures = {"image": small}
    if mask.any():
        inside = _shrink((mask > 0).astype(np.float32)) > 0
        pictures["mask"] = outline(small, inside)
    pictures |= {"map": colourise(found), "overlay": overlay(small, found)}
    return {name: _jpeg(picture) for name, picture in pictures.items()}


def _shrink(array: np.ndarray) -> np.ndarray:
    picture = Image.fromarray(array)
    height, width = array.shape[:2]
    factor = min(1, _SIDE / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(picture.resize(size, Image.Resampling.BOX))


def _jpeg(picture: UInt8[np.ndarray, "h w 3"]) -> str:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=_QUALITY, optimize=True)
    return base64.b64encode(file.getvalue()).decode("ascii")
