"""The parts of a report in reading order, for Markdown, the terminal and the page."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from kanoclip_jax.engine.reporting import paper, tables
from kanoclip_jax.engine.reporting.tables import Table

Report = Mapping[str, Any]


class Section(NamedTuple):
    """A part of the report, whatever shows it.

    Attributes:
        title: a dataset's id, or what it is about.
        notes: what to know before reading the tables.
        tables: of cells; a dataset's last one is class by class.
        about: what to know of them.
    """

    title: str
    notes: Sequence[str] = ()
    tables: Sequence[Table] = ()
    about: str = ""


def title_of(report: Report) -> str:
    """The method as tables have it; an older report says its name alone."""
    return report.get("title", report["method"])


def origin(report: Report, quote: str = "") -> str:
    """Where the figures come from: a checkpoint, or rows and seeds."""
    if "rows" not in report:
        checkpoint = report["checkpoint"] or "none: nothing was trained"
        return f"checkpoint {quote}{checkpoint}{quote}"
    seeds = {seed for row in report["rows"].values() for seed in row["runs"]}
    return (
        f"rows {', '.join(report['rows'])}; seeds {', '.join(sorted(seeds, key=int))}"
    )


def backbones(report: Report, quote: str = "") -> str:
    """What was frozen: CLIP, and the guide of a method that has one."""
    named = {"CLIP": report["clip"], "guide": report.get("guide")}
    return "; ".join(
        f"{title} {quote}{found['name']}{quote}, weights "
        f"{quote}{found['fingerprint'][:16]}{quote}"
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
        about = paper.ablation_note() if cited else ""
        found.append(Section("Row by row", tables=[tables.ablation(rows)], about=about))
    for name, result in datasets.items():
        own = []
        if "published" in result:
            ours = {
                row: r["datasets"][name]
                for row, r in rows.items()
                if name in r["datasets"]
            }
            titles = {row: rows[row]["title"] for row in ours}
            if not ours:
                ours, titles = (
                    {report["method"]: result},
                    {report["method"]: report["title"]},
                )
            own.append(tables.beside_paper(ours, titles, result["published"]))
        own.append(tables.by_class(result, report.get("std", {}).get(name)))
        found.append(Section(name, result.get("notes", ()), own))
    if report.get("absent"):
        notes = [f"{name}: {why}" for name, why in report["absent"].items()]
        found.append(Section("Not evaluated", notes))
    return found
