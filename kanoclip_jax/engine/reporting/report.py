"""The report of an evaluation: a JSON contract, Markdown, a page, a terminal table."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from data_pipelines.digests import seal
from data_pipelines.names import markdown, markdown_code, name_some, printable
from kanoclip_jax.engine.reporting import evidence, page, paper, tables
from kanoclip_jax.engine.reporting.header import NOT_MEDICAL, Report, facts, title_of
from kanoclip_jax.engine.reporting.sections import Section, sections
from kanoclip_jax.engine.sharding import is_first
from kanoclip_jax.engine.workdir import Workdir


def make_report(
    datasets: Mapping[str, Any],
    *,
    method: str,
    title: str,
    parameters: int,
    images_per_second: float | None,
    checkpoint: str | None,
    clip: Mapping[str, str],
    guide: Mapping[str, str] | None = None,
    train_seconds: float,
    eval_seconds: float,
    absent: Mapping[str, str],
    row: str = "",
    **circumstances: Any,
) -> dict[str, Any]:
    """Assemble `report.json`; fractions in [0, 1], None where undefined.

    Args:
        datasets: results by id.
        method: what was evaluated,
        title: and its name in tables.
        parameters: numbers that it learned.
        images_per_second: of the evaluation loop, metrics included.
        checkpoint: where its parameters are, None where it learns nothing.
        clip: `name` of the backbone and `fingerprint` of its weights.
        guide: likewise of a second one, if there is one.
        train_seconds: wall time,
        eval_seconds: likewise.
        absent: datasets that were asked for and are not there, with what to do.
        row: of a configuration's table that was asked for, empty where none was.
        **circumstances: of the run: `trained` on what, `image_size`, `made` when and
            by what; see `header.facts`.
    """
    report = {
        "datasets": dict(datasets),
        "method": method,
        "title": title,
        "row": row,
        **circumstances,
        "parameters": parameters,
        "images_per_second": images_per_second,
        "checkpoint": checkpoint,
        "clip": dict(clip),
        "seconds": {"train": round(train_seconds, 3), "eval": round(eval_seconds, 3)},
    }
    report |= {"guide": dict(guide)} if guide else {}
    return report | ({"absent": dict(absent)} if absent else {})


def with_facts(
    dataset: str,
    result: Mapping[str, Any],
    differences: Sequence[str],
    undefined: Sequence[str] = (),
) -> dict[str, Any]:
    """A dataset's result with published figures, and what a comparison must know.

    Args:
        dataset: its id.
        result: `classes` and `mean`.
        differences: between this copy and the published one.
        undefined: why figures are not there.
    """
    facts: dict[str, Any] = {}
    rows = paper.figures(dataset)
    if rows:
        facts["published"] = {name: row._asdict() for name, row in rows.items()}
    others = paper.elsewhere(dataset)
    if others:
        facts["published_elsewhere"] = {
            table.name: {"source": table.source, "methods": table.rows}
            for table in others
        }
    notes = paper.notes(dataset)
    if dataset.startswith("folder:"):
        notes += _partial_means(result["classes"])
    if differences:
        more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
        notes.append(
            "This copy is not the published one, so its figures are not comparable: "
            f"{'; '.join(differences[:3])}{more}."
        )
    notes += undefined
    return dict(result) | facts | ({"notes": notes} if notes else {})


def _partial_means(classes: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Say over how many classes a mean is, where some leave its metrics undefined."""
    for what in ("image", "pixel"):
        lack = [name for name, row in classes.items() if row[f"{what}_auroc"] is None]
        if 0 < len(lack) < len(classes):
            yield (
                f"The mean's {what} metrics are over {len(classes) - len(lack)} of "
                f"{len(classes)} classes: not of {name_some(lack)}, where "
                "either normal or anomalous ones are missing."
            )


def write_report(workdir: Workdir, report: Report, runs: Sequence[Path] = ()) -> None:
    """Write `report.json`, `report.md` and `report.html`.

    Args:
        workdir: where they go.
        report: what they say.
        runs: a suite's, below `workdir`; its page links them, and shows what the last
            of them saw of each dataset.
    """
    workdir.write("report.json", json.dumps(seal(report), indent=2) + "\n")
    workdir.write("report.md", to_markdown(report))
    if is_first():
        seen = {
            dataset: page.Seen(classes, run.relative_to(workdir.path).as_posix())
            for run in runs or [workdir.path]
            for dataset, classes in evidence.load(run).items()
        }
        folders = [run.relative_to(workdir.path).as_posix() for run in runs]
        workdir.write("report.html", page.render(report, seen, folders))
        print(f"page: {workdir.path / 'report.html'}")


def to_markdown(report: Report) -> str:
    """The report as a page: beside the paper's figures first, then class by class."""
    lines = [f"# {markdown(title_of(report))}", ""]
    lines += [f"- {fact.label}: {fact.text}" for fact in facts(report, markdown_code)]
    for section in sections(report):
        lines += ["", f"## {markdown(section.title)}"]
        lines += _lines(section, markdown, ("all", "file"))
    return "\n".join([*lines, "", NOT_MEDICAL]) + "\n"


def to_terminal(report: Report) -> str:
    """The report's tables for the terminal."""
    return "\n".join(
        line
        for section in sections(report)
        for line in (
            *("", printable(section.title)),
            *_lines(section, printable, ("all",))[1:],
        )
    )


def _lines(section: Section, shown: tables.Shown, places: Sequence[str]) -> list[str]:
    """A section's body in Markdown, each block after an empty line."""
    blocks = [[f"- {shown(note)}" for note in section.notes]]
    for block in section.blocks:
        if block.place in places:
            blocks.append([f"{shown(block.title)}:"] if block.title else [])
            blocks.append(tables.to_markdown(block.table, shown))
    blocks.append([shown(section.about)] if section.about else [])
    return [line for block in blocks if block for line in ("", *block)]
