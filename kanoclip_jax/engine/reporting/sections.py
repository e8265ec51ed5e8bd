"""The parts of a report in reading order, for Markdown, the terminal and the page."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from kanoclip_jax.engine.reporting import comparison, paper, tables
from kanoclip_jax.engine.reporting.tables import Table

Report = Mapping[str, Any]


class Section(NamedTuple):
    """A part of the report, whatever shows it.

    Attributes:
        title: a dataset's id, or what it is about.
        notes: what to know before reading the tables.
        tables: of cells; a dataset's last one is class by class.
        about: what to know of them.
        groups: charts, where there is a page to draw them on.
    """

    title: str
    notes: Sequence[str] = ()
    tables: Sequence[Table] = ()
    about: str = ""
    groups: Sequence[comparison.Group] = ()


def title_of(report: Report) -> str:
    """The method as tables have it; an older report says its name alone."""
    return report.get("title", report["method"])


def origin(report: Report, shown: tables.Shown = str) -> str:
    """Where the figures come from: a checkpoint, or rows and seeds.

    Args:
        report: of a run or a suite.
        shown: how a name is shown.
    """
    if "rows" not in report:
        checkpoint = report["checkpoint"] or "none: nothing was trained"
        return f"checkpoint {shown(checkpoint)}"
    seeds = {seed for row in report["rows"].values() for seed in row["runs"]}
    return (
        f"rows {', '.join(report['rows'])}; seeds {', '.join(sorted(seeds, key=int))}"
    )


def backbones(report: Report, shown: tables.Shown = str) -> str:
    """What was frozen: CLIP, and the guide of a method that has one.

    Args:
        report: of a run or a suite.
        shown: how a name is shown.
    """
    named = {"CLIP": report["clip"], "guide": report.get("guide")}
    return "; ".join(
        f"{title} {shown(found['name'])}, weights {shown(found['fingerprint'][:16])}"
        for title, found in named.items()
        if found
    )


def sections(report: Report) -> list[Section]:
    """The report's parts, in reading order; those of datasets bear their ids."""
    datasets, rows = report["datasets"], report.get("rows", {})
    found = []
    table = tables.as_in_paper(datasets, title_of(report))
    if table:
        about = f"{paper.source()}. Δ is ours less the paper's own."
        found.append(Section("Beside the paper", tables=[table], about=about))
    if len(rows) > 1:
        cited = any(paper.ablation(row, name) for row in rows for name in datasets)
        about = [paper.ablation_note()] if cited else []
        about += _sources_of_rows(rows, datasets)
        table = tables.ablation(rows)
        found.append(Section("Row by row", tables=[table], about=" ".join(about)))
    if "average" in report and comparison.compares_methods(rows):
        average = report["average"]
        found.append(
            Section(
                "Methods compared",
                tables=[comparison.table(rows, average)],
                about=comparison.about(average),
                groups=comparison.groups(rows, average),
            )
        )
    for name, result in datasets.items():
        own, sources = [], []
        ours, titles = _rows_of(report, name)
        if "published" in result:
            own.append(tables.beside_paper(ours, titles, result["published"]))
        for called, other in result.get("published_elsewhere", {}).items():
            # Of methods that are not here, KAnoCLIP's own paper says enough.
            if set(titles.values()) & set(other["methods"]):
                own.append(tables.beside_other(ours, titles, other["methods"], called))
                sources.append(f"{called}'s paper: {other['source']}.")
        own.append(tables.by_class(result, report.get("std", {}).get(name)))
        found.append(Section(name, result.get("notes", ()), own, " ".join(sources)))
    if report.get("absent"):
        notes = [f"{name}: {why}" for name, why in report["absent"].items()]
        found.append(Section("Not evaluated", notes))
    return found


def _sources_of_rows(rows: Mapping[str, Any], datasets: Iterable[str]) -> Iterator[str]:
    """Where figures beside rows are from that KAnoCLIP's paper does not have."""
    titles = {content["title"] for content in rows.values()}
    found = dict.fromkeys(
        (table.name, table.source)
        for name in datasets
        for table in paper.elsewhere(name)
        if titles & (table.rows.keys() - paper.figures(name).keys())
    )
    for called, source in found:
        yield f"{called}'s figures: {source}."


def _rows_of(
    report: Report, dataset: str
) -> tuple[dict[str, Mapping[str, Any]], dict[str, str]]:
    """The results of a dataset by row, and the titles of the rows' methods."""
    rows = report.get("rows", {})
    ours = {
        row: content["datasets"][dataset]
        for row, content in rows.items()
        if dataset in content["datasets"]
    }
    if ours:
        return ours, {row: rows[row]["title"] for row in ours}
    method = report["method"]
    return {method: report["datasets"][dataset]}, {method: title_of(report)}
