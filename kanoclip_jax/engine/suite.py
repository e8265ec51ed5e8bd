"""Several runs as one table: rows of methods, seeds, and two auxiliary datasets.

A suite trains every row once for each seed on each auxiliary dataset, in
`WORKDIR/ROW/SEED`, and reports their means. Its runs are ordinary runs: an interrupted
suite continues where it stopped, and a finished one prints its report. A row that learns
nothing is the same with every seed, and runs with the first one alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict, FrozenConfigDict

from data_pipelines.errors import AbsentError, DataError
from kanoclip_jax.engine import evaluate, summary, train
from kanoclip_jax.engine.auxiliary import open_auxiliary
from kanoclip_jax.engine.build import (
    load_method,
    open_targets,
    place,
    refuse_training_dataset,
)
from kanoclip_jax.engine.dotted import flatten
from kanoclip_jax.engine.reporting.report import to_terminal, write_report
from kanoclip_jax.engine.rows import replace_model
from kanoclip_jax.engine.settings import datasets_of, resolve
from kanoclip_jax.engine.sharding import first_alone
from kanoclip_jax.engine.workdir import Workdir, file_name, held
from kanoclip_jax.errors import InputError


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
    parts = _needed(parts, _build_all(parts), config.seed)
    _say_what_rows_overrule(config, overrides)
    folder = Workdir(workdir)
    if mode == "train":
        first_alone("suite", lambda: folder.claim(config))
    reports: dict[str, dict[int, list[Mapping[str, Any]]]] = {}
    for number, part in enumerate(parts, start=1):
        print(f"\n{part.folder}: run {number} of {len(parts)}")
        report = _run(mode, part, overrides)
        reports.setdefault(part.row, {}).setdefault(part.seed, []).append(report)
    report = summary.of_runs(config, workdir, reports, absent)
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
                    "row": row if config.rows else config.get("row", ""),
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


def _build_all(parts: Sequence[Part]) -> list[str]:
    """Say what a row cannot run with before hours of others, not after.

    Returns:
        The rows that learn.

    Raises:
        InputError: a backbone that is missing, or that a row's settings do not fit.
    """
    learning = []
    for row, config in {part.row: part.config for part in parts}.items():
        try:
            learning += [row] if load_method(config).learns else []
        except InputError as error:
            raise InputError(
                f"row {row}: {error}. Or leave the row out of --config.rows"
            ) from None
    return learning


def _needed(parts: Sequence[Part], learning: Sequence[str], first: int) -> list[Part]:
    """The runs without those that another seed would only repeat, aloud."""
    needed = [part for part in parts if part.row in learning or part.seed == first]
    if len(needed) < len(parts):
        still = [row for row in {p.row: 0 for p in parts} if row not in learning]
        print(
            f"nothing is trained for {', '.join(still)}: one run serves all seeds there"
        )
    return needed


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
