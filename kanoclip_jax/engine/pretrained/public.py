"""What is said of a head to others: places on this machine by their last names."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kanoclip_jax.engine.prediction.calibration import Calibration
from kanoclip_jax.engine.settings import datasets_of

_FOLDER = "folder:"


def place(name: str) -> str:
    """A folder's or file's own name; an id of a hub, and `demo`, as they are."""
    path = Path(name).expanduser()
    return path.name if path.is_absolute() or path.exists() else name


def dataset(name: str) -> str:
    """A dataset's id; of a folder of the user's own, and of each of several, likewise."""
    parts = [
        _FOLDER + Path(part.removeprefix(_FOLDER)).name
        if part.startswith(_FOLDER)
        else part
        for part in datasets_of(name)
    ]
    return ",".join(parts)


def meta(content: Mapping[str, Any]) -> dict[str, Any]:
    """What `config.json` says."""
    found = dict(content)
    found["config"] = dict(found["config"])
    for name in ("clip", "guide"):
        if name in found:
            found[name] = {**found[name], "name": place(found[name]["name"])}
            own = found["config"][name]
            found["config"][name] = {**own, "name": place(own["name"])}
    if "dataset" in found:
        found["dataset"] = dataset(found["dataset"])
    train = found.get("train")
    if train:
        sets = {k: dataset(v) for k, v in train.items() if k.endswith("dataset")}
        found["train"] = {**train, **sets}
    return found


def calibrations(given: Sequence[Calibration]) -> list[Calibration]:
    """Thresholds, without where their pictures lie."""
    return [
        dataclasses.replace(
            found,
            facts={
                **found.facts,
                "input": Path(str(found.facts.get("input", ""))).name,
                "checkpoint": None,
            },
        )
        for found in given
    ]


def report(content: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """A report, of the step that a head was saved from."""
    found = {
        **content,
        "checkpoint": origin,
        "datasets": _by_public_names(content["datasets"]),
        "clip": {**content["clip"], "name": place(content["clip"]["name"])},
    }
    # Why datasets are not there names where they were looked for.
    found.pop("absent", None)
    if found.get("guide"):
        found["guide"] = {**found["guide"], "name": place(found["guide"]["name"])}
    return found


def _by_public_names(results: Mapping[str, Any]) -> dict[str, Any]:
    """Results of datasets, those of folders that have one name numbered."""
    found: dict[str, Any] = {}
    for key, result in results.items():
        name = numbered = dataset(key)
        count = 1
        while numbered in found:
            count += 1
            numbered = f"{name} ({count})"
        found[numbered] = result
    return found
