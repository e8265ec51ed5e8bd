"""A suite's report: what its runs found, as means over seeds of each row."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import FrozenConfigDict

from kanoclip_jax.engine.reporting.comparison import averages

_FACTS = ("published", "published_elsewhere", "notes")


def of_runs(
    config: FrozenConfigDict,
    workdir: Path,
    reports: Mapping[str, Mapping[int, Sequence[Mapping[str, Any]]]],
    absent: Mapping[str, str],
) -> dict[str, Any]:
    """The top report: means over seeds of every row, those of the last row first.

    Args:
        config: of the suite.
        workdir: where its runs are.
        reports: of the runs, by row and seed, one for each auxiliary dataset.
        absent: datasets that were asked for and are not there, with what to do.
    """
    rows, results = {}, {}
    for row, by_seed in reports.items():
        merged = results[row] = [
            {name: r for report in parts for name, r in report["datasets"].items()}
            for parts in by_seed.values()
        ]
        # In the order asked for, whichever run they come from.
        names = [name for name in config.eval.datasets if name in merged[0]]
        statistics = {name: mean_and_std([m[name] for m in merged]) for name in names}
        rows[row] = {
            "datasets": {name: mean for name, (mean, _) in statistics.items()},
            "std": {name: std for name, (_, std) in statistics.items()},
            "runs": {str(seed): str(workdir / row / str(seed)) for seed in by_seed},
            **_facts([report for parts in by_seed.values() for report in parts]),
        }
    every = [
        r for by_seed in reports.values() for parts in by_seed.values() for r in parts
    ]
    last = rows[list(rows)[-1]]
    summary = {
        "datasets": last["datasets"],
        "std": last["std"],
        "rows": rows,
        "average": averages(results),
        "method": every[-1]["method"],
        "title": last["title"],
        "row": "" if config.rows else config.get("row", ""),
        "made": _made(every),
        "parameters": last["parameters"],
        "images_per_second": last["images_per_second"],
        "checkpoint": None,
        "clip": every[-1]["clip"],
        "seconds": {
            key: round(sum(report["seconds"][key] for report in every), 3)
            for key in ("train", "eval")
        },
    }
    return summary | ({"absent": dict(absent)} if absent else {})


def _facts(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a row's runs say of their method; of its speed, the mean."""
    rates = [r["images_per_second"] for r in reports if r["images_per_second"]]
    own = {"trained": [r.get("trained") for r in reports]}
    own |= {k: reports[0][k] for k in ("image_size",) if k in reports[0]}
    return own | {
        "title": reports[0]["title"],
        "parameters": reports[0]["parameters"],
        "images_per_second": round(float(np.mean(rates)), 2) if rates else None,
    }


def _made(reports: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """When and by what the runs were made, the last of them at last; by older ones."""
    made = [report["made"] for report in reports if report.get("made")]

    def of(key: str) -> str:
        return ", ".join(sorted({one[key] for one in made if one.get(key)}))

    own = {key: of(key) for key in ("version", "commit", "device")}
    dates = [one["date"] for one in made if one.get("date")]
    command = made[-1].get("command", "") if made else ""
    return own | {"date": max(dates, default=""), "command": command}


def mean_and_std(
    results: Sequence[Mapping[str, Any]],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Mean and sample standard deviation of one dataset's results over seeds.

    A metric that one seed leaves undefined is undefined in both; of a single seed there
    is no deviation. Counts and facts are those of the first.
    """

    def over(rows: Sequence[Mapping[str, Any]], spread: bool) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, first in rows[0].items():
            column = [row[name] for row in rows]
            if name in ("normal", "anomalous"):
                values[name] = first
            elif None in column or (spread and len(column) < 2):
                values[name] = None
            else:
                values[name] = float(
                    np.std(column, ddof=1) if spread else np.mean(column)
                )
        return values

    mean, std = (
        {
            "classes": {
                name: over([result["classes"][name] for result in results], spread)
                for name in results[0]["classes"]
            },
            "mean": over([result["mean"] for result in results], spread),
        }
        for spread in (False, True)
    )
    return mean | {key: results[0][key] for key in _FACTS if key in results[0]}, std
