"""The most confident right and wrong cases of each class, as small pictures."""

import base64
import bisect
import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Float, UInt8, UInt16
from PIL import Image

from data_pipelines.pipeline import Batch
from data_pipelines.sources import Source
from kanoclip_jax.viz import Scale, colourise, outline, overlay
from kanoclip_jax.viz.scale import is_coloured


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
# Maps are kept in so many steps of [0, 1].
_STEPS = 2**16 - 1


class Case:
    """One case, made small when it is sure to stay, as most are given up before.

    Its map is coloured at the end, when the class's scale is known.

    Args:
        facts: what is said of it.
        raw: image, mask and map.
    """

    def __init__(self, facts: Mapping[str, Any], raw: Sequence[np.ndarray]) -> None:
        self._facts, self._raw = facts, raw
        self._pictures: dict[str, bytes] = {}
        self._found: UInt16[np.ndarray, "h w"] | None = None

    def shrink(self) -> None:
        """Let go of what is large."""
        if self._raw:
            self._pictures, self._found = _shrunk(*self._raw)
            self._raw = ()

    def drawn(self, scale: Scale | None) -> dict[str, Any]:
        """The facts and the pictures.

        Args:
            scale: of the map; None for the absolute one.
        """
        self.shrink()
        found = (self._found / np.float32(_STEPS)).astype(np.float32)
        with Image.open(io.BytesIO(self._pictures["image"])) as small:
            laid = _laid(np.asarray(small.convert("RGB")), found, scale)
        coloured = {"map": _jpeg(colourise(found, scale)), "overlay": _jpeg(laid)}
        pictures = self._pictures | coloured
        text = {k: base64.b64encode(v).decode("ascii") for k, v in pictures.items()}
        return {**self._facts, "pictures": text}

    def __getstate__(self) -> dict[str, object]:
        """Processes exchange what is small."""
        self.shrink()
        return vars(self)


class Ranked(NamedTuple):
    """A case and its place: the lower, the more confident."""

    place: tuple[float, int]
    case: Case


class Cases:
    """Keeps the extremes of a dataset as its images pass; memory does not grow with them.

    No image is of two kinds: a class of few images shows fewer. No more cases than a
    class has stay large: where images come class by class, each is shrunk once it is
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
        self._large: list[Case] = []
        self._most_large = most * len(KINDS)

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
            self._large.append(case)
            self._insert(key, Ranked(place, case))
            if len(self._large) > self._most_large:
                self._large.pop(0).shrink()

    def merge(self, other: "Cases") -> None:
        """Take over what another process saw."""
        for key, ranked in other._kept.items():
            for one in ranked:
                self._insert(key, one)

    def of(
        self, class_name: str, scale: Scale | None = None
    ) -> dict[str, list[dict[str, Any]]]:
        """A class's cases by kind, the most confident first: path, score, pictures.

        Pictures are JPEG in base64, by what they show.

        Args:
            class_name: of the dataset's.
            scale: of its maps; None for the absolute one.
        """
        return {
            kind: [ranked.case.drawn(scale) for ranked in self._kept[class_name, kind]]
            for kind in KINDS
        }

    def _enters(self, key: tuple[str, str], place: tuple[float, int]) -> bool:
        kept, room = self._kept[key], self._room[key]
        return len(kept) < room or bool(kept) and place < kept[-1].place

    def _insert(self, key: tuple[str, str], ranked: Ranked) -> None:
        kept = self._kept[key]
        bisect.insort(kept, ranked, key=lambda one: one.place)
        for given_up in kept[self._room[key] :]:
            if given_up.case in self._large:
                self._large.remove(given_up.case)
        del kept[self._room[key] :]


def _shrunk(
    image: UInt8[np.ndarray, "h w 3"],
    mask: UInt8[np.ndarray, "h w"],
    anomaly_map: Float[np.ndarray, "h w"],
) -> tuple[dict[str, bytes], UInt16[np.ndarray, "h w"]]:
    """Small pictures as JPEG, and the small map; lines are drawn at this size."""
    small = shrink(image, _SIDE)
    pictures = {"image": small}
    if mask.any():
        inside = shrink((mask > 0).astype(np.float32), _SIDE) > 0
        pictures["mask"] = outline(small, inside)
    found = np.clip(shrink(anomaly_map.astype(np.float32), _SIDE), 0, 1)
    steps = np.rint(found * np.float32(_STEPS)).astype(np.uint16)
    return {name: _jpeg(picture) for name, picture in pictures.items()}, steps


def _laid(
    image: UInt8[np.ndarray, "h w 3"],
    found: Float[np.ndarray, "h w"],
    scale: Scale | None,
) -> UInt8[np.ndarray, "h w 3"]:
    inside = None if scale is None else is_coloured(found, scale)
    return overlay(image, found, scale, inside)


def shrink(array: np.ndarray, side: int) -> np.ndarray:
    """A picture, or an array of single precision, whose longer side is one at most."""
    picture = Image.fromarray(array)
    height, width = array.shape[:2]
    factor = min(1, side / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(picture.resize(size, Image.Resampling.BOX))


def _jpeg(picture: UInt8[np.ndarray, "h w 3"]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=_QUALITY, optimize=True)
    return file.getvalue()
