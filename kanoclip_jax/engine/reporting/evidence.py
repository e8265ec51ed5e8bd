"""What a page shows beyond the report's figures: curves, histograms and cases, on disk."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_pipelines.digests import seal, unseal
from kanoclip_jax.engine.workdir import Workdir
from kanoclip_jax.metrics.report import ClassMetrics

# By dataset, then by class.
Evidence = dict[str, dict[str, Any]]
_FILE = "evidence.json"
_DIGITS = 5


def of_class(
    metrics: ClassMetrics, cases: Mapping[str, list[dict[str, Any]]]
) -> dict[str, Any]:
    """Plain lists of one class's curves and histograms, and its cases."""

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
        "cases": dict(cases),
    }


def save(folder: Workdir, evidence: Evidence) -> None:
    """Write it beside the report, for this run's page and for a suite's."""
    folder.write(_FILE, json.dumps(seal(evidence)))


def load(folder: Path) -> Evidence:
    """Read it; empty where there is none, or none that is whole."""
    file = folder / _FILE
    try:
        return unseal(json.loads(file.read_text(encoding="utf-8")))
    except OSError:
        return {}
    except (ValueError, TypeError, AttributeError) as error:
        print(
            f"{file} is damaged ({error}); the page goes without its curves and cases"
        )
        return {}
