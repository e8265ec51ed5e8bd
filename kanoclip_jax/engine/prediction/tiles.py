"""Large and elongated pictures in overlapping windows: planned, cut out, joined again.

A picture is squashed to the model's square; where that shrinks it much, small defects
are gone before anything looks at it. So it may be scored in square windows of itself:

- `never`: the whole picture at once.
- `auto`: windows of the model's own size, which shrink nothing, where the picture is
  more than twice as long; smaller pictures are scored whole.
- a number: windows of so many pixels, where the picture is longer than that.

A picture that is narrower than a window has windows as long as it is wide, but none
shorter than a quarter of what was asked for. They overlap by at least a quarter, so
that what is smaller than that is whole in one of them. In the joined map each window
fades towards its sides; the picture's score is the highest of its windows'. What is
larger than a window is seen piece by piece.

Nothing here needs JAX, so that what is exported does the same by the same lines.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image

from data_pipelines.pictures.decode import square

NEVER, AUTO = "never", "auto"
# Of a window's side.
_OVERLAP = 0.25
_SHORTEST = 0.25
# `auto` takes a picture whole that is shrunk by this at most.
_SLACK = 2
# Above this, that pictures are shrunk is said.
_BEYOND_USE = 4
# Fewer pixels than any model's patch.
_SMALLEST = 8


class Window(NamedTuple):
    """A part of a picture, in its pixels; right and bottom exclusive."""

    left: int
    top: int
    right: int
    bottom: int


class Plan(NamedTuple):
    """The windows of a picture: each of some rows with each of some columns.

    Attributes:
        height, width: of the picture, in pixels.
        tops, lefts: where windows begin.
        rows, columns: the height and the width of each.
    """

    height: int
    width: int
    tops: tuple[int, ...]
    lefts: tuple[int, ...]
    rows: int
    columns: int

    @property
    def count(self) -> int:
        """How many windows there are."""
        return len(self.tops) * len(self.lefts)

    def __iter__(self) -> Iterator[Window]:
        """The windows, row by row."""
        for top in self.tops:
            for left in self.lefts:
                yield Window(left, top, left + self.columns, top + self.rows)


def read_setting(given: str | int, key: str = "predict.tiles") -> str:
    """The setting as it is kept: `never`, `auto`, or a number of pixels as text.

    Args:
        given: as a user writes it; 0 is `never`.
        key: its name, for the message.

    Raises:
        ValueError: it is none of these.
    """
    text = str(given).strip()
    if text in (NEVER, AUTO):
        return text
    if text.isascii() and text.isdigit():
        side = int(text)
        if side == 0:
            return NEVER
        if side >= _SMALLEST:
            return str(side)
    raise ValueError(
        f"{key} is {given!r}; allowed: never, auto, or the side of a window in pixels "
        f"of the picture, {_SMALLEST} or more"
    )


def plan(height: int, width: int, image_size: int, setting: str) -> Plan:
    """The windows of a picture.

    Args:
        height: of the picture, in pixels,
        width: likewise.
        image_size: side of the model's square.
        setting: as `read_setting` returns it.
    """
    whole = Plan(height, width, (0,), (0,), height, width)
    if setting == NEVER:
        return whole
    asked = image_size if setting == AUTO else int(setting)
    if max(height, width) <= asked * (_SLACK if setting == AUTO else 1):
        return whole
    side = max(min(asked, height, width), math.ceil(asked * _SHORTEST))
    rows, columns = min(side, height), min(side, width)
    return Plan(
        height, width, _starts(height, rows), _starts(width, columns), rows, columns
    )


def cut(picture: Image.Image, window: Window, image_size: int) -> np.ndarray:
    """A window of an RGB picture as the model's square, uint8 `[s, s, 3]`.

    Of the whole picture it is the very square that is scored without windows.
    """
    if window[:2] != (0, 0) or window[2:] != picture.size:
        picture = picture.crop(window)
    return square(picture, image_size)


class Joined:
    """A picture's score and map, of its windows.

    Args:
        windows: of the picture.

    Attributes:
        score: the highest of those that were added.
        left: how many are still to be added.
    """

    def __init__(self, windows: Plan) -> None:
        self.left = windows.count
        self.score = -math.inf
        self._plan, self._windows = windows, tuple(windows)
        self._down = _shares(windows.height, windows.tops, windows.rows)
        self._across = _shares(windows.width, windows.lefts, windows.columns)
        self._map: np.ndarray | None = None

    def add(self, number: int, window_map: np.ndarray, score: float) -> None:
        """Add the result of a window.

        Args:
            number: of the window, in the plan's order.
            window_map: float32 scores at the window's own size.
            score: of the window.
        """
        self.left -= 1
        self.score = max(self.score, score)
        if self._plan.count == 1:
            self._map = window_map
            return
        if self._map is None:
            self._map = np.zeros((self._plan.height, self._plan.width), np.float32)
        row, column = divmod(number, len(self._plan.lefts))
        left, top, right, bottom = self._windows[number]
        part = window_map * self._down[row][:, None]
        part *= self._across[column]
        self._map[top:bottom, left:right] += part

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of each window."""
        return self._plan.rows, self._plan.columns

    @property
    def anomaly_map(self) -> np.ndarray:
        """The joined map, float32 `[h, w]`, once all windows are there."""
        if self._plan.count > 1:
            # Of means of probabilities, the last bit may be above 1.
            np.clip(self._map, 0, 1, out=self._map)
        return self._map


class Shrinkage:
    """What squashing costs in detail, over the pictures of a run.

    Args:
        image_size: side of the model's square.
        patch: side of what the model sees of it as one, in pixels.
        setting: of windows.
    """

    def __init__(self, image_size: int, patch: int, setting: str) -> None:
        self._size, self._patch, self._setting = image_size, patch, setting
        self._worst: tuple[float, int, int] = (0.0, 0, 0)

    def smallest(self, height: int, width: int) -> float:
        """Side in the picture's own pixels of the smallest defect that can be seen.

        That of a patch, along the side that is shrunk more: what is smaller is at most
        a part of what the model sees as one.
        """
        windows = plan(height, width, self._size, self._setting)
        return self._patch * max(windows.rows, windows.columns) / self._size

    def add(self, height: int, width: int) -> float:
        """Count a picture; returns its `smallest`."""
        smallest = self.smallest(height, width)
        self._worst = max(self._worst, (smallest, width, height))
        return smallest

    def said(self) -> str | None:
        """The line of a run, where a picture is shrunk beyond use; else None."""
        smallest, width, height = self._worst
        times = smallest / self._patch
        if times <= _BEYOND_USE:
            return None
        remedy = "--config.predict.tiles=auto scores them in windows"
        if self._setting != NEVER:
            remedy = "a smaller --config.predict.tiles shrinks less"
        return (
            f"pictures are shrunk up to {times:.0f} times along one side ({width}x{height} "
            f"px): what is smaller than {smallest:.0f} px along it is not seen; "
            f"{remedy}"
        )


def _starts(length: int, side: int) -> tuple[int, ...]:
    """Where windows begin along an axis: evenly, the last one at its end."""
    most = max(int(side * (1 - _OVERLAP)), 1)
    steps = -(-(length - side) // most)
    return tuple(round(i * (length - side) / max(steps, 1)) for i in range(steps + 1))


def _shares(length: int, starts: tuple[int, ...], side: int) -> list[np.ndarray]:
    """What each window counts for along an axis, pixel by pixel; they sum to 1.

    Squared sines, which are smooth and fade towards the window's ends.
    """
    fading = np.sin(np.pi * (np.arange(side) + 0.5) / side) ** 2
    total = np.zeros(length)
    for start in starts:
        total[start : start + side] += fading
    return [
        (fading / total[start : start + side]).astype(np.float32) for start in starts
    ]
