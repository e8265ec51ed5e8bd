"""What papers report, to stand beside our figures: facts with their sources."""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

_FILE = Path(__file__).with_name("paper.json")
# Other papers' tables, each with the metrics that it has.
_OTHERS = (Path(__file__).with_name("crane.json"),)


class Figures(NamedTuple):
    """One cell of the paper's tables, as fractions; None where it has none."""

    image_auroc: float | None
    pixel_auroc: float | None


def figures(dataset: str) -> dict[str, Figures]:
    """The paper's rows for a dataset, baselines first, KAnoCLIP last; may be empty.

    Args:
        dataset: catalogue id, or any other.
    """
    facts = _facts()
    rows = facts["datasets"].get(facts["same_figures"].get(dataset, dataset), [])
    return {
        method: _fractions(row)
        for method, row in zip(facts["methods"], rows, strict=False)
    }


class Table(NamedTuple):
    """Another paper's figures for one dataset.

    Attributes:
        name: of the paper's own method, by which readers know it.
        source: where the figures are from.
        rows: by method, then by metric, as fractions; None where it has none.
    """

    name: str
    source: str
    rows: dict[str, dict[str, float | None]]


def elsewhere(dataset: str) -> list[Table]:
    """What papers other than KAnoCLIP's report for a dataset; may be empty.

    One method may stand in several tables, with other figures in each.

    Args:
        dataset: catalogue id, or any other.
    """
    return [
        Table(
            facts["name"],
            facts["source"],
            {
                method: dict(zip(facts["metrics"], _percent_to_one(row), strict=True))
                for method, row in facts["datasets"][dataset].items()
            },
        )
        for facts in _others()
        if dataset in facts["datasets"]
    ]


def figures_of(method: str, dataset: str) -> Figures | None:
    """What is published of a method: by KAnoCLIP's paper, or else by another.

    Args:
        method: its title.
        dataset: catalogue id, or any other.
    """
    found = figures(dataset).get(method)
    for table in elsewhere(dataset) if found is None else ():
        if method in table.rows:
            row = table.rows[method]
            return Figures(row["image_auroc"], row["pixel_auroc"])
    return found


def ablation(row: str, dataset: str) -> Figures | None:
    """The paper's Table 3 for one row and dataset."""
    found = _facts()["ablation"].get(dataset, {}).get(row)
    return None if found is None else _fractions(found)


def notes(dataset: str) -> list[str]:
    """What a reader must know before comparing with the paper's rows."""
    facts = _facts()
    own = [facts["notes"][dataset]] if dataset in facts["notes"] else []
    own += [f["notes"][dataset] for f in _others() if dataset in f["notes"]]
    return own + ([facts["medical_note"]] if dataset in facts["medical"] else [])


def source() -> str:
    """Where these figures are from."""
    return _facts()["source"]


def ablation_note() -> str:
    """What is not certain of Table 3."""
    return _facts()["ablation_note"]


@functools.cache
def _facts() -> Mapping[str, Any]:
    return json.loads(_FILE.read_text(encoding="utf-8"))


@functools.cache
def _others() -> tuple[Mapping[str, Any], ...]:
    return tuple(json.loads(path.read_text(encoding="utf-8")) for path in _OTHERS)


def _fractions(cell: list[float | None]) -> Figures:
    return Figures(*_percent_to_one(cell))


def _percent_to_one(cell: list[float | None]) -> list[float | None]:
    return [None if v is None else round(v / 100, 4) for v in cell]
