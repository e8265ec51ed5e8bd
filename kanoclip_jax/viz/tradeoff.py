"""What rows find against what they cost: labelled points, as SVG inside a page."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Float
from matplotlib import style, ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.transforms import IdentityTransform

from kanoclip_jax.viz.plots import FILLS, INK, STYLE, inline

_SIZE = (4.6, 2.9)
_AXES = (0.09, 0.15, 0.87, 0.81)
_FONT = 8.0
# How wide a letter is beside its height, in the wider of the fonts of pages.
_LETTER = 0.58
_DOT = 3.2


class Labelled(Protocol):
    """A point with its name; `spread` is a deviation of its value, if there is one."""

    name: str
    cost: float
    value: float
    spread: float | None


class Box(NamedTuple):
    """Part of a figure, in points from its lower left corner."""

    left: float
    bottom: float
    right: float
    top: float

    def overlap(self, other: "Box") -> float:
        """The area that both cover."""
        wide = min(self.right, other.right) - max(self.left, other.left)
        high = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(wide, 0.0) * max(high, 0.0)


def plot_tradeoff(points: Sequence[Labelled], across: str, up: str) -> str:
    """Points over a logarithmic axis, whose left edge is 0 where one costs nothing.

    Args:
        points: shares with deviations; the last one has a colour of its own.
        across: what the horizontal axis is,
        up: and the vertical one, for readers who do not see it.

    Returns:
        An `<svg>` element without size, ids or fonts of its own.
    """
    with style.context(["default", STYLE]):
        # A pixel is a point: labels are laid out by what they will cover.
        figure = Figure(_SIZE, dpi=72)
        axes = figure.add_axes(_AXES, xlabel=across)
        at = _horizontal(axes, [point.cost for point in points])
        _vertical(axes, points)
        _draw(axes, at, points)
        _label(axes, at, points)
        return inline(figure, f"{up} by {across}")


def _horizontal(axes: Axes, costs: Sequence[float]) -> list[float]:
    """Where costs stand, in powers of 10; nothing is left of all others."""
    some = [math.log10(cost) for cost in costs if cost > 0] or [0.0]
    low, high = math.floor(min(some) * 4) / 4, math.ceil(max(some) * 4) / 4
    steps = (1, 2, 5)
    if high - low > 2:
        low, steps = math.floor(low), (1,)
    room = max(high - low, 0.5)
    ticks = [
        (math.log10(step) + power, step * 10.0**power)
        for power in range(math.floor(low), math.ceil(high) + 1)
        for step in steps
    ]
    ticks = [tick for tick in ticks if low <= tick[0] <= high]
    nothing = low - 0.25 * room
    if min(costs) <= 0:
        ticks = [(nothing, 0.0), *ticks]
        low = nothing
        axes.axvline(
            nothing + 0.12 * room, color=INK, alpha=0.4, lw=0.6, ls=(0, (2, 3))
        )
    axes.set_xlim(low - 0.04 * room, high + 0.04 * room)
    axes.xaxis.set_major_locator(ticker.FixedLocator([place for place, _ in ticks]))
    axes.xaxis.set_major_formatter(
        ticker.FixedFormatter([_short(value) for _, value in ticks])
    )
    return [math.log10(cost) if cost > 0 else nothing for cost in costs]


def _vertical(axes: Axes, points: Sequence[Labelled]) -> None:
    """In percent, no further than the points and their deviations need."""
    ends = [p.value + sign * (p.spread or 0.0) for p in points for sign in (-1, 1)]
    low, high = min(ends), max(ends)
    room = max(high - low, 0.01)
    axes.set_ylim(low - 0.12 * room, min(high + 0.12 * room, 1 + 0.05 * room))
    axes.yaxis.set_major_locator(ticker.MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.4g}")


def _draw(axes: Axes, at: Sequence[float], points: Sequence[Labelled]) -> None:
    """Bars of deviations, and dots: as paths, for markers are drawn by reference."""
    low, high = axes.get_ylim()
    for place, point in zip(at, points, strict=True):
        colour = FILLS[point is points[-1]]
        if point.spread is not None:
            ends = point.value - point.spread, point.value + point.spread
            axes.plot([place] * 2, np.clip(ends, low, high), color=colour, linewidth=1)
        centre = axes.transData.transform((place, point.value))
        # Its radius is of points, whatever the axes measure.
        dot = Circle(centre, _DOT, facecolor=colour, transform=IdentityTransform())
        axes.add_patch(dot)


def _label(axes: Axes, at: Sequence[float], points: Sequence[Labelled]) -> None:
    """Names beside their points, each where it covers least of what is there."""

    def on_figure(*values: float) -> Float[np.ndarray, "n 2"]:
        return axes.transData.transform(np.column_stack([at, values]))

    places = on_figure(*(point.value for point in points))
    low, high = (
        on_figure(*(p.value + sign * (p.spread or 0.0) for p in points))
        for sign in (-1, 1)
    )
    ends = axes.get_window_extent()
    frame = Box(ends.x0, ends.y0, ends.x1, ends.y1)
    taken = [Box(x - _DOT, y - _DOT, x + _DOT, y + _DOT) for x, y in places]
    taken += [
        Box(x - 1, bottom, x + 1, top)
        for (x, bottom), (_, top) in zip(low, high, strict=True)
    ]
    for (x, y), point in zip(places, points, strict=True):
        width, height = _LETTER * _FONT * len(point.name), 1.1 * _FONT
        boxes = list(_around(x, y, width, height))
        # What is covered, what would be cut off, and the nearest where neither decides.
        costs = [
            sum(box.overlap(other) for other in taken)
            + 2 * (width * height - box.overlap(frame))
            + 1.0 * rank
            for rank, (box, _) in enumerate(boxes)
        ]
        chosen, side = boxes[int(np.argmin(costs))]
        taken.append(chosen)
        axes.annotate(
            point.name,
            (getattr(chosen, side), chosen.bottom + 0.2 * height),
            xycoords="figure points",
            horizontalalignment=side,
            fontsize=_FONT,
            parse_math=False,
            annotation_clip=False,
        )


def _around(
    x: float, y: float, width: float, height: float
) -> Iterator[tuple[Box, str]]:
    """Where a name may stand, the nearest first, and which of its ends is near."""
    gap = 1.6 * _DOT
    for lift in (0.0, 0.8, -0.8, 1.6, -1.6, 2.4, -2.4):
        bottom = y + (lift - 0.5) * height
        for left, side in ((x + gap, "left"), (x - gap - width, "right")):
            yield Box(left, bottom, left + width, bottom + height), side
        if abs(lift) > 0.7:
            left = x - width / 2
            bottom += math.copysign(0.4 * height, lift)
            yield Box(left, bottom, left + width, bottom + height), "left"


def _short(value: float) -> str:
    """A tick's number: 500, 20k, 10M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
