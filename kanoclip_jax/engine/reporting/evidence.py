"""What a page shows beyond the report's figures: curves, histograms and cases, on disk."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_pipelines.digests import seal, unseal
from kanoclip_jax import documents
from kanoclip_jax.engine import shapes
from kanoclip_jax.engine.workdir import Workdir
from kanoclip_jax.errors import InputError
from kanoclip_jax.metrics.report import ClassMetrics
from kanoclip_jax.viz.scale import Scale

# By dataset, then by class.
Evidence = dict[str, dict[str, Any]]
_FILE = "evidence.json"
_DIGITS = 5
# A thousand classes with their small pictures.
_MOST_BYTES = 512 * documents.MEGABYTE
_DAMAGED = "the page goes without its curves and pictures, until --mode=eval"


def of_class(
    metrics: ClassMetrics,
    cases: Mapping[str, list[dict[str, Any]]],
    scale: Scale | None = None,
) -> dict[str, Any]:
    """Plain lists of one class's curves and histograms, and its cases.

    Args:
        metrics: of the class.
        cases: with pictures.
        scale: of these; None for the absolute one.
    """

    def plain(parts: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: None
            if part is None
            else {key: v.round(_DIGITS).tolist() for key, v in part._asdict().items()}
            for name, part in parts.items()
        }

    return {
        "curves": plain(metrics.curves()),
        "histograms": plain(metrics.histograms()),
        "thresholds": metrics.thresholds(),
        "scale": None if scale is None else scale._asdict(),
        "cases": dict(cases),
    }


def save(folder: Workdir, evidence: Evidence) -> None:
    """Write it beside the report, for this run's page and for a suite's."""
    folder.write(_FILE, json.dumps(seal(evidence)))


def load(folder: Path) -> Evidence:
    """Read it; empty where there is none, and, aloud, where it is damaged."""
    file = folder / _FILE
    if not file.is_file():
        return {}
    try:
        found = documents.read(
            file, shapes.EVIDENCE, _DAMAGED, most=_MOST_BYTES, opened=unseal
        )
        for classes in found.values():
            for name, content in classes.items():
                _check_lengths(content, f"{file}, class {name}")
        return found
    except InputError as error:
        print(error)
        return {}


def _check_lengths(content: Mapping[str, Any], place: str) -> None:
    """Refuse what cannot be drawn: a curve of unequal sides, a histogram without bins."""
    uneven = [
        name
        for name, curve in content["curves"].items()
        if curve and len(curve["x"]) != len(curve["y"])
    ] + [
        name
        for name, found in content["histograms"].items()
        if found
        and not len(found["edges"])
        == len(found["normal"]) + 1
        == len(found["anomalous"]) + 1
        > 1
    ]
    if uneven:
        raise InputError(
            f"{place}: {uneven[0]} has lists of unequal lengths; allowed are equal "
            f"ones: {_DAMAGED}"
        )
