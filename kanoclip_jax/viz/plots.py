"""Small line plots and histograms as SVG inside a page, in the page's own colours."""

import io
import re
from collections.abc import Mapping, Sequence

from matplotlib import style, ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Points = tuple[Sequence[float], Sequence[float]]

# Matplotlib knows no CSS: it draws in colours that occur nowhere else, and each becomes
# what the page says. The variables are the page's to define.
INK = "#010101"
_LINES, FILLS = ("#010102", "#010103"), ("#010104", "#010105")
_CSS = {
    INK: "currentColor",
    _LINES[0]: "var(--line-1)",
    _LINES[1]: "var(--line-2)",
    FILLS[0]: "var(--fill-1)",
    FILLS[1]: "var(--fill-2)",
}
_DASHES = ("solid", (0, (4, 2)))
STYLE = {
    # Text stays text: it takes the page's font, and is a tenth of its outlines' size.
    "svg.fonttype": "none",
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": INK,
    "grid.alpha": 0.15,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
}
_SIZE = (3.2, 2.5)
_AXES = (0.17, 0.17, 0.78, 0.79)
_MARGIN = 0.02
# Where logarithmic axes end; the labels of smaller shares are too long.
_LEAST = 1e-5
_SHORTER = (
    (r"<!--.*?-->", ""),
    (r"<g id=[^>]*/>", ""),
    (r"<g id=[^>]*>", "<g>"),
    (r' clip-path="[^"]*"', ""),
    (r' transform="rotate\(-0 [^"]*"', ""),
    (r"font-family: [^;]*; ", ""),
    # A hundredth of a point is enough; six digits are how coordinates are written.
    (r"(\d\.\d\d)\d{4}\b", r"\1"),
    (r"\s+", " "),
)
# What a viewer needs to know of an SVG file, and a page does not.
_NOT_SAID = dict.fromkeys(("Creator", "Date", "Format", "Type"))


def plot_curves(
    curves: Mapping[str, Points | None], across: str, up: str, reach: float = 1.0
) -> str:
    """One or two curves from 0 to 1, the second one dashed.

    Args:
        curves: points by name, None for one that is left out; a name alone needs no
            legend.
        across: what the horizontal axis is,
        up: and the vertical one.
        reach: where the horizontal axis ends.

    Returns:
        An `<svg>` element without size, ids or fonts of its own.
    """
    with style.context(["default", STYLE]):
        figure, axes = _empty(across, up)
        for (name, points), colour, dash in zip(
            curves.items(), _LINES, _DASHES, strict=False
        ):
            if points is not None:
                look = {"color": colour, "linestyle": dash, "linewidth": 1.4}
                axes.plot(*points, label=name, **look)
        axes.set_xlim(-_MARGIN * reach, (1 + _MARGIN) * reach)
        axes.set_ylim(-_MARGIN, 1 + _MARGIN)
        if len(curves) > 1:
            axes.legend()
        return inline(figure, f"{up} by {across}")


def plot_histograms(
    edges: Sequence[float],
    counts: Mapping[str, Sequence[int]],
    across: str,
    *,
    log: bool = False,
    mark: tuple[str, float] | None = None,
) -> str:
    """One or two histograms over each other, each in percent of its own sum.

    Args:
        edges: of the bins, one more than there are.
        counts: by name; one that is all zero is left out.
        across: what the horizontal axis is.
        log: whether the vertical axis is logarithmic.
        mark: what a dashed line across it is, and where it stands: a threshold.

    Returns:
        As `plot_curves`.
    """
    shares = {
        (name, colour): [value / sum(values) for value in values]
        for (name, values), colour in zip(counts.items(), FILLS, strict=False)
        if any(values)
    }
    floor = 0.0
    if log:
        least = min(share for values in shares.values() for share in values if share)
        floor = max(least / 2, _LEAST)
    with style.context(["default", STYLE]):
        figure, axes = _empty(across)
        if log:
            axes.set_yscale("log")
            axes.yaxis.set_minor_locator(ticker.NullLocator())
        for (name, colour), values in shares.items():
            axes.stairs(
                [max(value, floor) for value in values],
                edges,
                baseline=floor,
                fill=True,
                facecolor=(colour, 0.25),
                edgecolor=colour,
                linewidth=1,
                label=name,
            )
        highest = max(max(values) for values in shares.values())
        # Room for the legend, above what it would cover.
        axes.set_ylim(floor, highest * ((highest / floor) ** 0.4 if log else 1.5))
        if mark is not None:
            look = {"color": INK, "linestyle": _DASHES[1], "linewidth": 1}
            axes.axvline(mark[1], label=mark[0], **look)
        axes.yaxis.set_major_formatter(
            lambda share, _: f"{100 * share:g}%" if share <= 1 else ""
        )
        axes.xaxis.set_major_locator(ticker.MaxNLocator(5))
        # There, on the side where the threshold is not.
        is_left = mark is not None and mark[1] < (edges[0] + edges[-1]) / 2
        axes.legend(loc="upper right" if is_left else "upper left")
        return inline(figure, f"share by {across}")


def _empty(across: str, up: str = "") -> tuple[Figure, Axes]:
    figure = Figure(_SIZE)
    return figure, figure.add_axes(_AXES, xlabel=across, ylabel=up)


def inline(figure: Figure, title: str) -> str:
    """A figure in `STYLE` as an element that can stand beside others in one page."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata=_NOT_SAID)
    # Up to the definitions of clip paths, which are ids: nothing here needs clipping.
    body = file.getvalue().split("</defs>", 1)[1].rsplit("<defs>", 1)[0]
    for pattern, text in _SHORTER:
        body = re.sub(pattern, text, body)
    for colour, css in _CSS.items():
        body = body.replace(colour, css)
    width, height = (72 * side for side in figure.get_size_inches())
    return (
        f'<svg role="img" aria-label="{title}" viewBox="0 0 {width:g} {height:g}">'
        f"{body}</svg>"
    )
