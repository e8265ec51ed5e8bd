"""Text features as a picture: classes in colours, kinds of text as marks, on one plane."""

import colorsys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from sklearn.decomposition import PCA

MEAN = "knowledge mean"
# Kinds of prompts: normal, abnormal.
WRITTEN = ("hand-written normal", "hand-written abnormal")
LEARNED = ("LNP (learned normal)", "LAP (learned abnormal)")
_INK = "#202020"
_PER_COLUMN = 30
_LONGEST_NAME, _LONGEST_LINE = 24, 70
# What says «normal» is hollow, what says «abnormal» is filled; landmarks have an edge.
_SENTENCE = {"marker": "o", "s": 26, "alpha": 0.75, "linewidths": 0}
_LANDMARK = {"s": 95, "linewidths": 1.2, "zorder": 4}
_STYLES: dict[str, dict[str, Any]] = {
    "vqa": _SENTENCE | {"marker": "s", "s": 22},
    "template": _SENTENCE | {"marker": "^", "s": 14, "alpha": 0.35},
    "background": _SENTENCE | {"linewidths": 1.0},
    WRITTEN[0]: _LANDMARK | {"marker": "P"},
    WRITTEN[1]: _LANDMARK | {"marker": "X"},
    LEARNED[0]: _LANDMARK | {"marker": "D", "s": 60},
    LEARNED[1]: _LANDMARK | {"marker": "D", "s": 60},
    MEAN: _LANDMARK | {"marker": "o", "s": 240, "zorder": 5},
}
_HOLLOW = ("background", WRITTEN[0], LEARNED[0])


class Marks(NamedTuple):
    """Features of one kind of text.

    Attributes:
        kind: a source of sentences (`llm`, `vqa`, `template`, …), `background`, one of
            `WRITTEN` or `LEARNED`, or `MEAN`.
        features: unit vectors.
        classes: position of each one's class.
    """

    kind: str
    features: Float[np.ndarray, "n d"]
    classes: Int[np.ndarray, " n"]


def draw_embedding(
    fitted: Sequence[Marks],
    projected: Sequence[Marks],
    classes: Sequence[str],
    title: str,
) -> UInt8[np.ndarray, "h w 3"]:
    """Draws features on the plane of their two principal components.

    A thin line ties each sentence to its class's mean, which carries the class's number
    in the legend. A mean of unit length, as eq. 2 has it, lies further out than the
    middle of its sentences. The same arguments give the same picture.

    Args:
        fitted: Marks that the plane is fitted to, of at least two texts.
        projected: Marks that are laid onto it, and move nothing.
        classes: Names of the classes, in the order of their numbers.
        title: The lines above.

    Returns:
        RGB, `[h, w, 3]`.
    """
    plane = PCA(2, svd_solver="full").fit(np.concatenate([m.features for m in fitted]))
    shares = plane.explained_variance_ratio_
    columns = -(-len(classes) // _PER_COLUMN)
    figure = Figure(figsize=(10.5 + 2.3 * columns, 8.5), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    colours = [_colour(number) for number in range(len(classes))]
    flat = [
        marks._replace(features=plane.transform(marks.features))
        for marks in (*fitted, *projected)
    ]
    _draw_spokes(axes, flat, colours)
    for marks in flat:
        _draw_marks(axes, marks, colours)
    lines = [_shorten(line, _LONGEST_LINE) for line in title.splitlines()]
    axes.set_title("\n".join(lines), fontsize=11, parse_math=False)
    axes.set_xlabel(f"first principal component ({shares[0]:.0%} of the variance)")
    axes.set_ylabel(f"second ({shares[1]:.0%})")
    axes.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")
    _draw_legends(figure, [marks.kind for marks in flat], classes, colours)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _draw_spokes(axes: Axes, flat: Sequence[Marks], colours: Sequence[str]) -> None:
    """Lines from sentences to their class's mean."""
    means = {
        number: point
        for marks in flat
        if marks.kind == MEAN
        for number, point in zip(marks.classes, marks.features, strict=True)
    }
    for marks in flat:
        if _style(marks.kind)["linewidths"]:
            continue
        for number, point in zip(marks.classes, marks.features, strict=True):
            if number in means:
                ends = np.stack([point, means[number]])
                axes.plot(*ends.T, color=colours[number], alpha=0.25, lw=0.7, zorder=1)


def _draw_marks(axes: Axes, marks: Marks, colours: Sequence[str]) -> None:
    colour = [colours[number] for number in marks.classes]
    style = {"zorder": 2} | _style(marks.kind)
    if marks.kind in _HOLLOW:
        style |= {"facecolors": "white", "edgecolors": colour}
    else:
        style |= {"c": colour, "edgecolors": _INK}
    axes.scatter(*marks.features.T, **style)
    if marks.kind == MEAN:
        for number, point in zip(marks.classes, marks.features, strict=True):
            label = axes.annotate(
                str(number + 1), point, ha="center", va="center", fontsize=8, zorder=6
            )
            label.set(color="white", fontweight="bold")
            label.set_path_effects([withStroke(linewidth=1.6, foreground=_INK)])


def _draw_legends(
    figure: Figure,
    kinds: Sequence[str],
    classes: Sequence[str],
    colours: Sequence[str],
) -> None:
    """Kinds of marks, then classes with their numbers, both beside the plane."""
    marks = []
    for kind in kinds:
        style = _style(kind)
        edge = _INK if style["linewidths"] else "none"
        marks.append(
            Line2D(
                [],
                [],
                linestyle="",
                marker=style["marker"],
                markersize=min(style["s"] ** 0.5, 11),
                markerfacecolor="white" if kind in _HOLLOW else "#888888",
                markeredgecolor=edge,
            )
        )
    patches = [
        Line2D([], [], linestyle="", marker="o", markersize=9, color=colour)
        for colour in colours
    ]
    numbered = [
        f"{i}  {_shorten(name, _LONGEST_NAME)}" for i, name in enumerate(classes, 1)
    ]
    columns = -(-len(classes) // _PER_COLUMN)
    figure.legend(marks, list(kinds), loc="outside right upper", frameon=False)
    legend = figure.legend(
        patches, numbered, loc="outside right lower", frameon=False, ncols=columns
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _style(kind: str) -> dict[str, Any]:
    return _STYLES.get(kind, _SENTENCE)


def _shorten(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _colour(number: int) -> str:
    """Hues by the golden angle, in three depths: neighbours in number differ most."""
    hue = (0.58 + number * 0.618034) % 1
    lightness = (0.42, 0.6, 0.28)[number % 3]
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, 0.75)
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"
