"""What the paper reports, to stand beside our figures: facts with their source."""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

_FILE = Path(__file__).with_name("paper.json")


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


def ablation(row: str, dataset: str) -> Figures | None:
    """The paper's Table 3 for one row and dataset."""
    found = _facts()["ablation"].get(dataset, {}).get(row)
    return None if found is None else _fractions(found)


def notes(dataset: str) -> list[str]:
    """What a reader must know before comparing with the paper's rows."""
    facts = _facts()
    own = [facts["notes"][dataset]] if dataset in facts["notes"] else []
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


def _fractions(cell: list[float | None]) -> Figures:
    return Figures(*(None if v is None else round(v / 100, 4) for v in cell))
