"""Several runs as one table: rows of methods, seeds, and two auxiliary datasets.

A suite trains every row once for each seed on each auxiliary dataset, in
`WORKDIR/ROW/SEED`, and reports their means. Its runs are ordinary runs: an interrupted
suite continues where it stopped, and a finished one prints its report.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict, FrozenConfigDict

from data_pipelines.errors import AbsentError, DataError
from kanoclip_jax.engine import evaluate, train
from kanoclip_jax.engine.auxiliary import open_auxiliary
from kanoclip_jax.engine.build import (
    load_method,
    open_targets,
    place,
    refuse_training_dataset,
)
from kanoclip_jax.engine.dotted import flatten
from kanoclip_jax.engine.reporting.comparison import averages
from kanoclip_jax.engine.reporting.report import to_terminal, write_report
from kanoclip_jax.engine.rows import replace_model
from kanoclip_jax.engine.settings import datasets_of, resolve
from kanoclip_jax.engine.sharding import first_alone
from kanoclip_jax.engine.workdir import Workdir, file_name, held
from kanoclip_jax.errors import InputError

_FACTS = ("published", "published_elsewhere", "notes")


class Part(NamedTuple):
    """One run of a suite.

    Attributes:
        row, seed: which.
        config: its settings.
        folder: its working directory.
        checkpoint: what to evaluate instead of training; empty to train.
    """

    row: str
    seed: int
    config: FrozenConfigDict
    folder: Path
    checkpoint: str


def main(
    mode: str,
    config: FrozenConfigDict,
    workdir: Path,
    overrides: frozenset[str] = frozenset(),
) -> int:
    """Run what is left of a suite and report it.

    Args:
        mode: `train`, or `eval` for what is trained already.
        config: the settings, with `rows` or `seeds`.
        workdir: where runs and report go.
        overrides: dotted keys that the user set by hand.

    Raises:
        InputError: settings that contradict each other.
        AbsentError: there is nothing to train on, or nothing to evaluate.
    """
    groups, absent = _groups(mode, config)
    parts = list(_parts(config, workdir, groups))
    _build_all(parts)
    _say_what_rows_overrule(config, overrides)
    folder = Workdir(workdir)
    if mode == "train":
        first_alone("suite", lambda: folder.claim(config))
    reports: dict[str, dict[int, list[Mapping[str, Any]]]] = {}
    for number, part in enumerate(parts, start=1):
        print(f"\n{part.folder}: run {number} of {len(parts)}")
        report = _run(mode, part, overrides)
        reports.setdefault(part.row, {}).setdefault(part.seed, []).append(report)
    report = _summary(config, workdir, reports, absent)
    write_report(folder, report, [part.folder for part in parts])
    print(to_terminal(report))
    return 0


def _run(mode: str, part: Part, overrides: frozenset[str]) -> dict[str, Any]:
    with held(part.folder, mode):
        if mode == "train" and not part.checkpoint:
            return train.run(part.config, part.folder)
        return evaluate.run(part.config, part.folder, overrides)


def _groups(
    mode: str, config: FrozenConfigDict
) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    """Targets by the auxiliary dataset that they are evaluated with, and the absent."""
    if config.checkpoint:
        raise InputError(
            "checkpoint names one run, and this configuration has several; use "
            "--config.checkpoint_mvtec and --config.checkpoint_visa, by what they were "
            "trained on"
        )
    targets = open_targets(config)
    absent = dict(targets.absent)
    groups: dict[str, list[str]] = {}
    for dataset in targets.sources:
        groups.setdefault(_auxiliary(config, dataset), []).append(dataset)
    for auxiliary in list(groups):
        if mode == "eval" or _checkpoint(config, auxiliary):
            continue
        # Of the second set too, before hours are spent on the first.
        if len(datasets_of(auxiliary)) > 1 and _some_row_learns(config):
            refuse_training_dataset(config, auxiliary, groups[auxiliary])
        try:
            open_auxiliary(config, auxiliary, config.train.classes)
        except DataError as error:
            if not _some_row_learns(config):
                continue
            if not isinstance(error, AbsentError):
                raise
            left_out = groups.pop(auxiliary)
            if not groups:
                raise
            absent |= {
                dataset: f"it is evaluated after training on {auxiliary}: {error}"
                for dataset in left_out
            }
            print(f"not evaluated, for {auxiliary} is absent: {', '.join(left_out)}")
    return {name: tuple(found) for name, found in groups.items()}, absent


def _auxiliary(config: FrozenConfigDict, target: str) -> str:
    """What to train on for a target: the second, where it is a part of the first."""
    first, second = config.train.dataset, config.train.second_dataset
    parts = {place(config, part) for part in datasets_of(first)}
    return second if second and place(config, target) in parts else first


def _checkpoint(config: FrozenConfigDict, auxiliary: str) -> str:
    """What was trained on these datasets already, by the one that names it."""
    key = _checkpoint_key(config, auxiliary)
    return config[key] if key else ""


def _checkpoint_key(config: FrozenConfigDict, auxiliary: str) -> str:
    """Which of the settings `checkpoint_DATASET` is meant; empty where none is set.

    Raises:
        InputError: two are.
    """
    keys = [f"checkpoint_{part}" for part in datasets_of(auxiliary)]
    found = [key for key in keys if config.get(key)]
    if len(found) > 1:
        raise InputError(
            f"{' and '.join(found)} are both set, and {auxiliary} is trained on as one; "
            "set one of them"
        )
    return "".join(found)


def _parts(
    config: FrozenConfigDict, workdir: Path, groups: Mapping[str, Sequence[str]]
) -> Iterator[Part]:
    rows = _rows(config)
    for auxiliary in groups:
        if _checkpoint(config, auxiliary) and (len(rows) > 1 or config.seeds > 1):
            raise InputError(
                f"{_checkpoint_key(config, auxiliary)} is one checkpoint, and there are {len(rows)} "
                f"rows and {config.seeds} seeds; evaluate it with one row "
                "(configs/NAME.py:ROW) and --config.seeds=1"
            )
    for row, changes in rows.items():
        for seed in range(config.seed, config.seed + config.seeds):
            for auxiliary, targets in groups.items():
                checkpoint = _checkpoint(config, auxiliary)
                folder = workdir / row / str(seed)
                if config.train.second_dataset:
                    folder /= f"trained_on_{file_name(auxiliary)}"
                own = {
                    "rows": (),
                    "seed": seed,
                    "seeds": 1,
                    "checkpoint": checkpoint,
                    "train": {"dataset": auxiliary, "second_dataset": ""},
                    "eval": {"datasets": targets},
                }
                yield Part(
                    row, seed, _changed(config, row, changes, own), folder, checkpoint
                )


def _rows(config: FrozenConfigDict) -> dict[str, dict[str, Any]]:
    """What each row changes; the configured method's own is the settings as given."""
    rows = {
        row: config.row_settings.get(row, ConfigDict()).to_dict() for row in config.rows
    }
    rows = {
        row: {} if changes.get("method") == row == config.method else changes
        for row, changes in rows.items()
    }
    return rows or {config.method: {}}


def _some_row_learns(config: FrozenConfigDict) -> bool:
    return any(
        load_method(_changed(config, row, changes, {"rows": (), "seeds": 1})).learns
        for row, changes in _rows(config).items()
    )


def _build_all(parts: Sequence[Part]) -> None:
    """Say what a row cannot run with before hours of others, not after.

    Raises:
        InputError: a backbone that is missing, or that a row's settings do not fit.
    """
    for row, config in {part.row: part.config for part in parts}.items():
        try:
            load_method(config)
        except InputError as error:
            raise InputError(
                f"row {row}: {error}. Or leave the row out of --config.rows"
            ) from None


def _say_what_rows_overrule(
    config: FrozenConfigDict, overrides: frozenset[str]
) -> None:
    """A row's own settings hold, whatever the command line says of all rows."""
    for row, changes in _rows(config).items():
        flat = flatten(changes)
        for key in sorted(overrides & flat.keys()):
            print(
                f"row {row} has its own {key}={flat[key]}; change it with "
                f"--config.row_settings.{row}.{key}=…"
            )


def _changed(
    config: FrozenConfigDict, row: str, changes: Mapping, own: Mapping
) -> FrozenConfigDict:
    """The settings of a row; one of another method brings its whole `model` section."""
    changed = ConfigDict(config.to_dict())
    if changes.get("method", config.method) != config.method:
        replace_model(changed, changes.get("model", {}))
    changed.lock()
    with changed.ignore_type():
        try:
            changed.update(changes)
        except (KeyError, AttributeError) as error:
            reason = " ".join(str(error).strip("'\"").split())
            raise InputError(
                f"row_settings.{row} changes what is no setting: {reason}"
            ) from None
        changed.update(own)
    return resolve(changed)


def _summary(
    config: FrozenConfigDict,
    workdir: Path,
    reports: Mapping[str, Mapping[int, Sequence[Mapping[str, Any]]]],
    absent: Mapping[str, str],
) -> dict[str, Any]:
    """The top report: means over seeds of every row, those of the last row first."""
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
    return {
        "title": reports[0]["title"],
        "parameters": reports[0]["parameters"],
        "images_per_second": round(float(np.mean(rates)), 2) if rates else None,
    }


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
