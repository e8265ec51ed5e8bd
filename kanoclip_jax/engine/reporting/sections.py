"""The parts of a report in reading order, for Markdown, the terminal and the page."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from data_pipelines.catalog import CATALOG
from kanoclip_jax.engine.reporting import comparison, paper, tables
from kanoclip_jax.engine.reporting.header import NOT_MEDICAL, Report, title_of
from kanoclip_jax.engine.reporting.tables import Table, named

# Lines of the class tables of all rows but the last: some hundred characters each.
MOST_LINES = 1500


class Block(NamedTuple):
    """A table of a section.

    Attributes:
        table: of cells.
        title: what it is about, where the section's title does not say it.
        place: `all`; `file` is not for terminals, which have no room; `page` is for
            those who open it there.
        by_class: whether it is a class in each line, and the mean in the last.
    """

    table: Table
    title: str = ""
    place: Literal["all", "file", "page"] = "all"
    by_class: bool = False


class Section(NamedTuple):
    """A part of the report, whatever shows it.

    Attributes:
        title: a dataset's id, or what it is about.
        notes: what to know before reading the tables.
        blocks: the tables; of a dataset's that are by class, the first is of what the
            report is about.
        about: what to know of them.
        groups: charts, where there is a page to draw them on.
    """

    title: str
    notes: Sequence[str] = ()
    blocks: Sequence[Block] = ()
    about: str = ""
    groups: Sequence[comparison.Group] = ()


def sections(report: Report) -> list[Section]:
    """The report's parts, in reading order; those of datasets bear their ids."""
    datasets, rows = report["datasets"], report.get("rows", {})
    found = []
    title = report.get("title", report["method"])
    table = tables.as_in_paper(datasets, title, title_of(report))
    if table:
        about = f"{paper.source()}. Δ is ours less the paper's own."
        found.append(Section("Beside the paper", blocks=[Block(table)], about=about))
    if len(rows) > 1:
        cited = any(paper.ablation(row, name) for row in rows for name in datasets)
        about = [paper.ablation_note()] if cited else []
        about += [*_sources_of_rows(rows, datasets), *_without_deviation(rows)]
        blocks = [Block(tables.ablation(rows)), Block(tables.beyond_auroc(rows))]
        found.append(Section("Row by row", blocks=blocks, about=" ".join(about)))
    if "average" in report and comparison.compares_methods(rows):
        average = report["average"]
        found.append(
            Section(
                "Methods compared",
                blocks=[Block(comparison.table(rows, average))],
                about=comparison.about(average),
                groups=comparison.groups(rows, average),
            )
        )
    room = MOST_LINES
    for name in datasets:
        section = _of_dataset(report, name, room)
        room -= sum(len(b.table) for b in section.blocks if b.place == "page")
        found.append(section)
    if report.get("absent"):
        notes = [f"{name}: {why}" for name, why in report["absent"].items()]
        found.append(Section("Not evaluated", notes))
    return found


def _of_dataset(report: Report, dataset: str, room: int) -> Section:
    """A dataset's part; of other rows, class tables of `room` lines at most."""
    result = report["datasets"][dataset]
    notes = [*result.get("notes", ()), *([NOT_MEDICAL] if _medical(dataset) else [])]
    blocks, sources = [], []
    ours, titles = _rows_of(report, dataset)
    if "published" in result:
        blocks.append(Block(tables.beside_paper(ours, titles, result["published"])))
    for called, other in result.get("published_elsewhere", {}).items():
        # Of methods that are not here, KAnoCLIP's own paper says enough.
        if set(titles.values()) & set(other["methods"]):
            table = tables.beside_other(ours, titles, other["methods"], called)
            blocks.append(Block(table))
            sources.append(f"{called}'s paper: {other['source']}.")
    table = tables.by_class(result, report.get("std", {}).get(dataset))
    if len(ours) < 2:
        blocks.append(Block(table, by_class=True))
        return Section(dataset, notes, blocks, " ".join(sources))
    last = list(ours)[-1]
    title = f"{named(last, titles[last])}, class by class"
    blocks.append(Block(table, title, by_class=True))
    others = list(_of_other_rows(report["rows"], dataset, room))
    if sum(block.place == "page" for block in others) < len(ours) - 1:
        sources.append("More class tables of other rows are in report.json.")
    return Section(dataset, notes, [*blocks, *others], " ".join(sources))


def _of_other_rows(rows: Mapping[str, Any], dataset: str, room: int) -> Iterator[Block]:
    """The classes of a dataset by row, and each row's own table but the last's."""
    having = {row: own for row, own in rows.items() if dataset in own["datasets"]}
    classes = max(len(own["datasets"][dataset]["classes"]) for own in having.values())
    if classes > 1:
        table = tables.class_by_row(having, dataset)
        yield Block(table, "Class by class, all rows", "file", by_class=True)
    for row, own in list(having.items())[:-1]:
        room -= classes + 2
        if room >= 0:
            table = tables.by_class(own["datasets"][dataset], own["std"][dataset])
            title = f"{named(row, own['title'])}, class by class"
            yield Block(table, title, "page", by_class=True)


def _medical(dataset: str) -> bool:
    return dataset in CATALOG and CATALOG[dataset].domain == "medical"


def _without_deviation(rows: Mapping[str, Any]) -> Iterator[str]:
    """Which rows ran once for all seeds, since nothing in them is drawn."""
    seeds = max(len(content["runs"]) for content in rows.values())
    once = [
        named(row, content["title"])
        for row, content in rows.items()
        if len(content["runs"]) < seeds and not content.get("parameters", 0)
    ]
    if once:
        yield (
            f"{', '.join(once)}: nothing is trained, so one run serves all {seeds} "
            "seeds and there is no deviation."
        )


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
    if len(ours) > 1:
        return ours, {row: rows[row]["title"] for row in ours}
    # By the row that it was configured with, where there is no table of rows.
    (own,) = ours or [report["method"]]
    title = report.get("title", report["method"])
    return {report.get("row") or own: report["datasets"][dataset]}, {
        report.get("row") or own: title
    }
