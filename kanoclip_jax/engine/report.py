"""The report of an evaluation: a JSON contract, a Markdown page, a terminal table."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from kanoclip_jax.engine import paper, tables
from kanoclip_jax.engine.workdir import Workdir

Report = Mapping[str, Any]


def make_report(
    datasets: Mapping[str, Any],
    *,
    method: str,
    checkpoint: str | None,
    clip_name: str,
    fingerprint: str,
    train_seconds: float,
    eval_seconds: float,
    absent: Mapping[str, str],
) -> dict[str, Any]:
    """Assemble `report.json`; fractions in [0, 1], None where undefined.

    Args:
        datasets: results by id.
        method: what was evaluated.
        checkpoint: where its parameters are, None where it learns nothing.
        clip_name: of the backbone,
        fingerprint: and of its weights.
        train_seconds: wall time,
        eval_seconds: likewise.
        absent: datasets that were asked for and are not there, with what to do.
    """
    report = {
        "datasets": dict(datasets),
        "method": method,
        "checkpoint": checkpoint,
        "clip": {"name": clip_name, "fingerprint": fingerprint},
        "seconds": {"train": round(train_seconds, 3), "eval": round(eval_seconds, 3)},
    }
    return report | ({"absent": dict(absent)} if absent else {})


def with_facts(
    dataset: str, result: Mapping[str, Any], differences: Sequence[str]
) -> dict[str, Any]:
    """A dataset's result with the paper's figures, and what a comparison must know.

    Args:
        dataset: its id.
        result: `classes` and `mean`.
        differences: between this copy and the published one.
    """
    facts: dict[str, Any] = {}
    rows = paper.figures(dataset)
    if rows:
        facts["published"] = {name: row._asdict() for name, row in rows.items()}
    notes = paper.notes(dataset)
    if differences:
        more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
        notes.append(
            "This copy is not the published one, so its figures are not comparable: "
            f"{'; '.join(differences[:3])}{more}."
        )
    return dict(result) | facts | ({"notes": notes} if notes else {})


def write_report(workdir: Workdir, report: Report) -> None:
    """Write `report.json` and `report.md`."""
    workdir.write("report.json", json.dumps(report, indent=2) + "\n")
    workdir.write("report.md", to_markdown(report))


def to_markdown(report: Report) -> str:
    """The report as a page: beside the paper's figures first, then class by class."""
    clip, seconds = report["clip"], report["seconds"]
    lines = [
        f"# {report['method']}",
        "",
        f"CLIP `{clip['name']}`, weights `{clip['fingerprint'][:16]}`  ",
        f"{_origin(report)}  ",
        f"training {seconds['train']:.0f} s, evaluation {seconds['eval']:.0f} s",
    ]
    for title, body in _sections(report):
        lines += ["", f"## {title}", "", *body]
    return "\n".join(lines) + "\n"


def to_terminal(report: Report) -> str:
    """The report's tables for the terminal."""
    return "\n".join(
        line for title, body in _sections(report) for line in ("", title, *body)
    )


def _origin(report: Report) -> str:
    if "rows" not in report:
        return f"checkpoint `{report['checkpoint'] or 'none: nothing was trained'}`"
    seeds = {seed for row in report["rows"].values() for seed in row["runs"]}
    return (
        f"rows {', '.join(report['rows'])}; seeds {', '.join(sorted(seeds, key=int))}"
    )


def _sections(report: Report) -> list[tuple[str, list[str]]]:
    datasets, rows = report["datasets"], report.get("rows", {})
    sections = []
    table = tables.as_in_paper(datasets)
    if table:
        about = f"{paper.source()}. Δ is ours less the paper's KAnoCLIP."
        sections.append(("Beside the paper", [*table, "", about]))
    if len(rows) > 1:
        cited = any(paper.ablation(row, name) for row in rows for name in datasets)
        about = ["", paper.ablation_note()] if cited else []
        sections.append(("Row by row", [*tables.ablation(rows), *about]))
    for name, result in datasets.items():
        body = [f"Note: {note}" for note in result.get("notes", ())]
        body += [""] if body else []
        if "published" in result:
            ours = {
                row: r["datasets"][name]
                for row, r in rows.items()
                if name in r["datasets"]
            }
            ours = ours or {report["method"]: result}
            body += [*tables.beside_paper(ours, result["published"]), ""]
        body += tables.by_class(result, report.get("std", {}).get(name))
        sections.append((name, body))
    if report.get("absent"):
        body = [f"- {name}: {why}" for name, why in report["absent"].items()]
        sections.append(("Not evaluated", body))
    return sections
