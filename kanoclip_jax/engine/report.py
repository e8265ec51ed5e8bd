"""The report of an evaluation: a JSON contract, a Markdown page, a terminal table."""

import json
from collections.abc import Mapping
from typing import Any

from kanoclip_jax.engine.workdir import Workdir

_COLUMNS = {
    "image_auroc": "image AUROC",
    "image_ap": "image AP",
    "image_f1max": "image F1max",
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "pixel AP",
    "pixel_f1max": "pixel F1max",
    "pixel_aupro": "AUPRO@0.3",
    "pixel_aupro_200": "AUPRO (200)",
}
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
) -> dict[str, Any]:
    """Assemble `report.json`; fractions in [0, 1], None where undefined."""
    return {
        "datasets": dict(datasets),
        "method": method,
        "checkpoint": checkpoint,
        "clip": {"name": clip_name, "fingerprint": fingerprint},
        "seconds": {"train": round(train_seconds, 3), "eval": round(eval_seconds, 3)},
    }


def write_report(workdir: Workdir, report: Report) -> None:
    """Write `report.json` and `report.md`."""
    workdir.write("report.json", json.dumps(report, indent=2) + "\n")
    workdir.write("report.md", to_markdown(report))


def to_markdown(report: Report) -> str:
    """The report as a page: a table for each dataset, in percent."""
    clip, seconds = report["clip"], report["seconds"]
    lines = [
        f"# {report['method']}",
        "",
        f"CLIP `{clip['name']}`, weights `{clip['fingerprint'][:16]}`",
        f"checkpoint `{report['checkpoint'] or 'none: nothing was trained'}`",
        f"training {seconds['train']:.0f} s, evaluation {seconds['eval']:.0f} s",
    ]
    for dataset, result in report["datasets"].items():
        lines += ["", f"## {dataset}", "", *_table(result)]
    return "\n".join(lines) + "\n"


def to_terminal(report: Report) -> str:
    """The report's tables for the terminal."""
    return "\n".join(
        line
        for dataset, result in report["datasets"].items()
        for line in ("", dataset, *_table(result))
    )


def _table(result: Mapping[str, Any]) -> list[str]:
    rows = [["class", "normal", "anomalous", *_COLUMNS.values()]]
    for name, values in (*result["classes"].items(), ("mean", result["mean"])):
        rows.append(
            [
                name,
                str(values["normal"]),
                str(values["anomalous"]),
                *(_percent(values[key]) for key in _COLUMNS),
            ]
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    body = [_row(row, widths) for row in rows]
    rule = [f":{'-' * (widths[0] - 1)}", *(f"{'-' * (w - 1)}:" for w in widths[1:])]
    return [body[0], f"| {' | '.join(rule)} |", *body[1:]]


def _row(cells: list[str], widths: list[int]) -> str:
    first = cells[0].ljust(widths[0])
    rest = [
        cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)
    ]
    return f"| {' | '.join([first, *rest])} |"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"
