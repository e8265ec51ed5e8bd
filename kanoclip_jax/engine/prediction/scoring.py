"""From pictures to their scores and maps: cut into windows, batched, joined again."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float32

from data_pipelines.errors import DataError, reason_of
from data_pipelines.pictures.decode import Picture, read_picture
from data_pipelines.pictures.reading import Reading
from kanoclip_jax.engine.prediction.tiles import Joined, cut, plan
from kanoclip_jax.engine.resize import resize_map


class Found(Protocol):
    """What was found in a batch: `maps` and `score` of each row."""

    maps: Any
    score: Any

    def why_none(self, row: int) -> str:
        """Why a row's result is no number; empty where it is one."""


Batch = Mapping[str, Any]
Run = Callable[[Iterable[Batch]], Iterator[tuple[Batch, Found]]]


@dataclass(eq=False)
class Scored:
    """What the model says of a picture.

    Attributes:
        key: its name, as it was handed in.
        error: why it says nothing; else the following are there.
        score: of the picture, the highest of its windows'.
        anomaly_map: at the picture's own size.
        warning: what is to be said of the picture's values; empty where nothing is.
    """

    key: Any
    error: str = ""
    score: float = 0.0
    anomaly_map: Float32[np.ndarray, "h w"] | None = None
    warning: str = ""


class Scorer:
    """Passes pictures of any size through batches of one size.

    Windows of several pictures share a batch. In memory are a few batches, the picture
    that is being cut, and the maps of pictures that have windows in these batches.

    Args:
        run: batches of squares in, what was found in them out.
        image_size: side of the squares.
        batch_size: windows in a batch; the last one is filled up.
        tiles: the setting of windows; see `tiles`.
    """

    def __init__(
        self, run: Run, *, image_size: int, batch_size: int, tiles: str
    ) -> None:
        self._run = run
        self._size, self._batch_size, self._tiles = image_size, batch_size, tiles

    def score(self, pictures: Iterable[tuple[Any, Picture | str]]) -> Iterator[Scored]:
        """Score pictures, in the order given.

        Args:
            pictures: upright RGB ones under their names, or why there is none.
        """
        waiting: deque[tuple[Scored, Joined | None]] = deque()
        for batch, found in self._run(self._batches(pictures, waiting)):
            for row, (scored, joined, number) in enumerate(batch["windows"]):
                self._add(scored, joined, number, found, row)
            yield from _finished(waiting)
        yield from _finished(waiting)

    def _batches(
        self,
        pictures: Iterable[tuple[Any, Picture | str]],
        waiting: deque[tuple[Scored, Joined | None]],
    ) -> Iterator[dict[str, Any]]:
        size = self._size
        pixels, windows = self._empty(), []
        for key, picture in pictures:
            scored = Scored(key)
            if isinstance(picture, str):
                scored.error = picture
                waiting.append((scored, None))
                continue
            scored.warning, image = picture.warning, picture.image
            try:
                planned = plan(image.height, image.width, size, self._tiles)
                joined = Joined(planned)
            except MemoryError as error:
                # The map has the picture's own size.
                scored.error = reason_of(error, key)
                waiting.append((scored, None))
                continue
            waiting.append((scored, joined))
            for number, window in enumerate(planned):
                try:
                    pixels[len(windows)] = cut(image, window, size)
                except MemoryError as error:
                    scored.error = scored.error or reason_of(error, key)
                windows.append((scored, joined, number))
                if len(windows) == self._batch_size:
                    yield {"image": pixels, "windows": windows}
                    pixels, windows = self._empty(), []
        if windows:
            yield {"image": pixels, "windows": windows}

    def _empty(self) -> np.ndarray:
        return np.zeros((self._batch_size, self._size, self._size, 3), np.uint8)

    def _add(
        self, scored: Scored, joined: Joined, number: int, found: Found, row: int
    ) -> None:
        error = found.why_none(row)
        if error and not scored.error:
            scored.error = f"{scored.key}: {error}"
        left = joined.left - 1
        if not scored.error:
            try:
                window_map = resize_map(np.asarray(found.maps[row]), *joined.size)
                joined.add(number, window_map, found.score[row])
            except MemoryError as memory:
                # These have the window's size, and the picture's.
                scored.error = reason_of(memory, scored.key)
        joined.left = left


def read_all(
    paths: Iterable[Path], reading: Reading
) -> Iterator[tuple[Path, Picture | str]]:
    """Pictures one by one, or what is wrong with them."""
    for path in paths:
        try:
            yield path, read_picture(path, reading)
        except (DataError, MemoryError) as error:
            yield path, reason_of(error, path)


def scored_row(key: Any, found: Found, row: int, size: tuple[int, int]) -> Scored:
    """What the model says of a whole picture.

    Args:
        key: its name.
        found: of its batch,
        row: and where in it.
        size: height and width of the picture.
    """
    error = found.why_none(row)
    if error:
        return Scored(key, f"{key}: {error}")
    try:
        anomaly_map = resize_map(np.asarray(found.maps[row]), *size)
    except MemoryError as memory:
        return Scored(key, reason_of(memory, key))
    return Scored(key, "", float(found.score[row]), anomaly_map)


def _finished(
    waiting: deque[tuple[Scored, Joined | None]],
) -> Iterator[Scored]:
    """The foremost pictures whose windows are all there."""
    while waiting and (waiting[0][1] is None or not waiting[0][1].left):
        scored, joined = waiting.popleft()
        if not scored.error:
            scored.score = float(joined.score)
            scored.anomaly_map = joined.anomaly_map
        yield scored
