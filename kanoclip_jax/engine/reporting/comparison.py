"""Methods beside each other: what they find against what they cost."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from kanoclip_jax.engine.reporting.tables import COLUMNS, Table, named, percent

# Of the table, and those of them that are drawn.
METRICS = ("image_auroc", "image_ap", "pixel_auroc", "pixel_ap", "pixel_aupro")
DRAWN = ("image_auroc", "pixel_auroc", "pixel_aupro")
# What a row costs, by its keys in the report.
COSTS = {"images_per_second": "images per second", "parameters": "trained parameters"}
# Datasets with charts of their own.
MOST = 12

Rows = Mapping[str, Mapping[str, Any]]
Results = Mapping[str, Mapping[str, Any]]


class Point(NamedTuple):
    """A row in a chart.

    Attributes:
        name: of its method, or of the row where several rows are of that.
        cost: none, or more than that.
        value: a share,
        spread: and its deviation over seeds; None where there is none.
    """

    name: str
    cost: float
    value: float
    spread: float | None


class Chart(NamedTuple):
    """Rows as points of one metric and one cost.

    Attributes:
        across: what they cost,
        up: and what they find.
        points: in the order of the rows; the last row is the suite's own.
    """

    across: str
    up: str
    points: Sequence[Point]


class Group(NamedTuple):
    """The charts of a dataset, or of the average."""

    title: str
    charts: Sequence[Chart]


def averages(rows: Mapping[str, Sequence[Results]]) -> dict[str, Any]:
    """Each row's means over datasets, and their deviations over seeds.

    A metric is averaged over the datasets where all rows and seeds have it: rows are
    compared on the same ones.

    Args:
        rows: results by dataset, of each seed.

    Returns:
        `datasets`, the names that count for each metric, and for each row `mean` and
        `std` by metric; None where there are no such datasets, or one seed alone.
    """
    seeds = [results for row in rows.values() for results in row]
    counted = {
        metric: [
            name
            for name in seeds[0]
            if all(
                results.get(name, {}).get("mean", {}).get(metric) is not None
                for results in seeds
            )
        ]
        for metric in METRICS
    }
    found: dict[str, Any] = {"datasets": counted, "rows": {}}
    for row, own in rows.items():
        mean: dict[str, float | None] = dict.fromkeys(METRICS)
        std: dict[str, float | None] = dict.fromkeys(METRICS)
        for metric, names in counted.items():
            values = [[r[name]["mean"][metric] for name in names] for r in own]
            if names:
                of_seeds = np.mean(values, axis=1)
                mean[metric] = float(of_seeds.mean())
                several = len(of_seeds) > 1
                std[metric] = float(of_seeds.std(ddof=1)) if several else None
        found["rows"][row] = {"mean": mean, "std": std}
    return found


def compares_methods(rows: Rows) -> bool:
    """Whether there are rows of different methods."""
    return len({row["title"] for row in rows.values()}) > 1


def table(rows: Rows, average: Mapping[str, Any]) -> Table:
    """A line for each row: its cost, and its averages where they are defined.

    Args:
        rows: of the report.
        average: see `averages`.
    """
    shown = [metric for metric in METRICS if average["datasets"][metric]]
    head = ["average", "parameters", "img/s", *(COLUMNS[metric] for metric in shown)]
    lines = [head]
    for row, content in rows.items():
        rate, own = content["images_per_second"], average["rows"][row]
        cells = (percent(own["mean"][m], own["std"][m]) for m in shown)
        lines.append(
            [
                named(row, content["title"]),
                f"{content['parameters']:,}",
                "–" if rate is None else f"{rate:.3g}",
                *cells,
            ]
        )
    return lines


def about(average: Mapping[str, Any]) -> str:
    """Over which datasets was averaged."""
    every = [average["datasets"][metric] for metric in METRICS]
    longest = max(every, key=len)
    fewer = [
        f"{COLUMNS[metric]} over {', '.join(names)}"
        for metric, names in average["datasets"].items()
        if names and names != longest
    ]
    text = f"Averages over {', '.join(longest)}"
    return f"{text}; of {'; of '.join(fewer)}." if fewer else f"{text}."


def groups(rows: Rows, average: Mapping[str, Any]) -> list[Group]:
    """The average's charts, if it is of several datasets, and each dataset's.

    Args:
        rows: of the report.
        average: see `averages`.
    """
    names = list(next(iter(rows.values()))["datasets"])
    found = []
    if len(names) > 1:
        of_average = {
            row: (own["mean"], own["std"]) for row, own in average["rows"].items()
        }
        found.append(Group("Average", _charts(rows, of_average)))
    for name in names[:MOST]:
        of_dataset = {
            row: (content["datasets"][name]["mean"], content["std"][name]["mean"])
            for row, content in rows.items()
            if name in content["datasets"]
        }
        found.append(Group(name, _charts(rows, of_dataset)))
    return [group for group in found if group.charts]


def _charts(
    rows: Rows, results: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]]
) -> list[Chart]:
    """By metric, then by cost; none without two rows to compare."""
    titles = [row["title"] for row in rows.values()]
    names = {
        row: title if titles.count(title) == 1 else named(row, title)
        for row, title in zip(rows, titles, strict=True)
    }
    charts = []
    for metric in DRAWN:
        for key, cost in COSTS.items():
            points = [
                Point(
                    names[row],
                    float(rows[row][key]),
                    mean[metric],
                    std[metric],
                )
                for row, (mean, std) in results.items()
                if mean[metric] is not None and rows[row][key] is not None
            ]
            if len(points) > 1:
                charts.append(Chart(cost, COLUMNS[metric], points))
    return charts
