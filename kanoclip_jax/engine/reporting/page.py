"""The report as one self-contained page: tables, charts, curves and cases.

What it holds is bounded: `DETAILED` classes with drawings of a few thousand characters
and their share of `PICTURES`, the charts of `comparison.MOST` datasets, and some lines of
tables for every class, of a suite's other rows at most `sections.MOST_LINES`. That is less
than 8 MB up to a thousand classes.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from data_pipelines.names import printable
from kanoclip_jax.engine.reporting.cases import KINDS
from kanoclip_jax.engine.reporting.comparison import Chart
from kanoclip_jax.engine.reporting.header import NOT_MEDICAL, Report, facts, title_of
from kanoclip_jax.engine.reporting.sections import Block, Section, sections
from kanoclip_jax.engine.reporting.tables import COLUMNS, percent
from kanoclip_jax.metrics.pixel import AUPRO_LIMIT
from kanoclip_jax.viz.bar import number
from kanoclip_jax.viz.plots import plot_curves, plot_histograms
from kanoclip_jax.viz.scale import Scale, stops
from kanoclip_jax.viz.tradeoff import plot_tradeoff

# Classes with curves and cases.
DETAILED = 60
# Characters of pictures on the whole page.
PICTURES = 4_200_000

_HEADLINES = ("image_auroc", "pixel_auroc", "pixel_aupro")
_TITLES = {
    "missed": "Anomalous, lowest scores: missed first",
    "false_alarm": "Normal, highest scores: false alarms first",
    "found": "Anomalous, highest scores",
    "passed": "Normal, lowest scores",
}
# What the threshold lines of histograms are.
_MARKS = {"image": "best F1", "pixel": "99 % of normal"}
_PICTURE_TITLES = {
    "image": "image",
    "mask": "true outline",
    "map": "map",
    "overlay": "overlay",
}


class Seen(NamedTuple):
    """What an evaluation saw of a dataset.

    Attributes:
        classes: evidence by class.
        run: the run's folder, relative to the page's; `.` if it is the page's own.
    """

    classes: Mapping[str, Mapping[str, Any]]
    run: str


class Grid(NamedTuple):
    """A table as the page shows it: sortable but for its last lines.

    Attributes:
        title: what it is about, empty where its section says so.
        folded: whether it is shown to those who open it.
        head: titles of the columns.
        rows: each with a link from its first cell, which may be empty.
        foot: the mean, if there is one.
    """

    title: str
    folded: bool
    head: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]
    foot: Sequence[Sequence[str]]


class Detail(NamedTuple):
    """A class's drawings and cases."""

    anchor: str
    name: str
    figures: Sequence[str]
    plots: Sequence[tuple[str, Markup]]
    kinds: Sequence[tuple[str, Sequence[Mapping[str, Any]]]]
    bar: "Legend | None" = None


class Legend(NamedTuple):
    """A class's colour bar in words and as a gradient of CSS.

    Attributes:
        begin: what stands before it,
        colours: of the bar,
        end: and what stands behind it.
    """

    begin: str
    colours: Markup
    end: str


class Part(NamedTuple):
    """A section with its details, or with titled charts."""

    anchor: str
    section: Section
    grids: Sequence[Grid]
    details: Sequence[Detail]
    run: str
    charts: Sequence[tuple[str, Sequence[tuple[str, Markup]]]] = ()


def render(report: Report, seen: Mapping[str, Seen], runs: Sequence[str] = ()) -> str:
    """The page.

    Args:
        report: what the tables say.
        seen: by dataset.
        runs: folders of a suite's runs, relative to the page's.
    """
    chosen = _detailed(report, seen)
    parts = [
        _part(f"s{number}", section, report, seen, chosen)
        for number, section in enumerate(sections(report))
    ]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        title=f"{title_of(report)}: {', '.join(report['datasets'])}",
        method=title_of(report),
        facts=facts(report),
        foot=NOT_MEDICAL,
        parts=parts,
        runs=[(run, f"{quote(run)}/report.html") for run in runs],
        detailed=len(chosen),
        classes=sum(len(result["classes"]) for result in report["datasets"].values()),
        picture_titles=_PICTURE_TITLES,
    )


def _shown(value: object) -> object:
    """What a page says of anybody's names, as far as HTML does not escape it."""
    plain = isinstance(value, str) and not isinstance(value, Markup)
    return printable(value) if plain else value


def _detailed(report: Report, seen: Mapping[str, Seen]) -> list[tuple[str, str]]:
    """Datasets and classes that are shown: all, or those with the lowest AUROC."""
    every = [
        (dataset, name)
        for dataset, result in report["datasets"].items()
        if dataset in seen
        for name in result["classes"]
        if name in seen[dataset].classes
    ]

    def auroc(key: tuple[str, str]) -> float:
        dataset, name = key
        value = report["datasets"][dataset]["classes"][name]["image_auroc"]
        return 1.0 if value is None else value

    return sorted(every, key=auroc)[:DETAILED]


def _part(
    anchor: str,
    section: Section,
    report: Report,
    seen: Mapping[str, Seen],
    chosen: Sequence[tuple[str, str]],
) -> Part:
    result = report["datasets"].get(section.title)
    if result is None:
        grids = [_grid(block) for block in section.blocks]
        charts = [(title, list(_charts(drawn))) for title, drawn in section.groups]
        return Part(anchor, section, grids, [], ".", charts)
    links = {
        name: f"{anchor}c{number}"
        for number, name in enumerate(result["classes"])
        if (section.title, name) in chosen
    }
    own = next(block for block in section.blocks if block.by_class)
    grids = [_grid(b, links if b is own else {}) for b in section.blocks]
    found = seen.get(section.title, Seen({}, "."))
    details = [
        Detail(
            link,
            name,
            [
                f"{COLUMNS[key]} {percent(result['classes'][name][key])}"
                for key in _HEADLINES
            ],
            [(title, Markup(svg)) for title, svg in _plots(found.classes[name])],
            _kinds(found.classes[name]["cases"], PICTURES // len(chosen)),
            _legend(found.classes[name]),
        )
        for name, link in links.items()
    ]
    return Part(anchor, section, grids, details, found.run)


def _grid(block: Block, links: Mapping[str, str] | None = None) -> Grid:
    head, *rows = block.table
    body = rows[:-1] if block.by_class else rows
    linked = [((links or {}).get(row[0], ""), row) for row in body]
    return Grid(block.title, block.place == "page", head, linked, rows[len(body) :])


def _plots(evidence: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Titles and drawings, of what is defined."""

    def points(**names: str) -> dict[str, tuple[list[float], list[float]] | None]:
        found = {label: evidence["curves"][name] for label, name in names.items()}
        if all(curve is None for curve in found.values()):
            return {}
        return {label: c and (c["x"], c["y"]) for label, c in found.items()}

    false, true = "false-positive rate", "true-positive rate"
    if curves := points(image="image_roc", pixel="pixel_roc"):
        yield "ROC", plot_curves(curves, false, true)
    if curves := points(image="image_precision_recall", pixel="pixel_precision_recall"):
        yield "Precision and recall", plot_curves(curves, "recall", "precision")
    if curves := points(pixel="region_overlap"):
        title = f"PRO up to {AUPRO_LIMIT:g}"
        yield title, plot_curves(curves, false, "region overlap", AUPRO_LIMIT)
    for what in ("image", "pixel"):
        histogram = evidence["histograms"][what]
        if histogram is not None:
            edges, log = histogram["edges"], what == "pixel"
            counts = {label: histogram[label] for label in ("normal", "anomalous")}
            place = evidence.get("thresholds", {}).get(what)
            mark = (
                None if place is None else (f"{_MARKS[what]} ({number(place)})", place)
            )
            drawn = plot_histograms(edges, counts, "score", log=log, mark=mark)
            yield f"Scores of {what}s", drawn


def _legend(evidence: Mapping[str, Any]) -> Legend:
    """The scale of a class's maps; older evidence has the absolute one."""
    found = evidence.get("scale")
    scale = None if found is None else Scale(**found)
    colours = ", ".join(f"rgb{stop}" for stop in stops(scale)).replace(", ", ",")
    gradient = Markup(f"linear-gradient(to right,{colours})")
    if scale is None:
        return Legend("maps: 0", gradient, "1")
    begin = f"maps: no colour up to {number(scale.begin)}"
    if evidence.get("thresholds", {}).get("pixel") is not None:
        begin += " (99 % of normal pixels)"
    return Legend(begin, gradient, number(scale.end))


def _charts(charts: Sequence[Chart]) -> Iterator[tuple[str, Markup]]:
    for chart in charts:
        drawn = plot_tradeoff(chart.points, chart.across, chart.up)
        yield f"{chart.up} by {chart.across}", Markup(drawn)


def _kinds(
    cases: Mapping[str, Sequence[Mapping[str, Any]]], room: int
) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """Titled cases, the most confident of each kind first, as many as there is room."""
    ranks = max(map(len, cases.values()), default=0)
    shown: dict[str, list[Mapping[str, Any]]] = {kind: [] for kind in KINDS}
    for rank in range(ranks):
        for kind in KINDS:
            for case in cases[kind][rank : rank + 1]:
                size = sum(map(len, case["pictures"].values())) + len(case["path"])
                if size <= room:
                    shown[kind].append(case)
                    room -= size
    return [(_TITLES[kind], found) for kind, found in shown.items() if found]
