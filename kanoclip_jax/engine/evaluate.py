"""Evaluation: one pass over each dataset, all metrics, in constant memory."""

import functools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from ml_collections import FrozenConfigDict

from data_pipelines.pipeline import Batch, eval_stream
from data_pipelines.sources import Source
from kanoclip_jax.engine import circumstances, compiled
from kanoclip_jax.engine.bars import progress
from kanoclip_jax.engine.build import (
    Targets,
    class_names,
    differences,
    open_targets,
    refuse_training_dataset,
)
from kanoclip_jax.engine.endings import end_if_asked
from kanoclip_jax.engine.remarks import Remarks
from kanoclip_jax.engine.reporting import evidence
from kanoclip_jax.engine.reporting.cases import Cases
from kanoclip_jax.engine.reporting.examples import Examples
from kanoclip_jax.engine.reporting.report import (
    make_report,
    to_terminal,
    with_facts,
    write_report,
)
from kanoclip_jax.engine.resize import resize_map
from kanoclip_jax.engine.restore import Trained, load_trained
from kanoclip_jax.engine.sharding import Devices, gather, is_first
from kanoclip_jax.engine.step import Found, Inference, count_parameters
from kanoclip_jax.engine.workdir import Workdir
from kanoclip_jax.metrics.batch import MapBatch
from kanoclip_jax.metrics.report import ClassMetrics, mean_of
from kanoclip_jax.models.base import Method, Params
from kanoclip_jax.viz.bar import Bar
from kanoclip_jax.viz.scale import ABSOLUTE, CALIBRATED, make_scale

T = TypeVar("T")


def main(
    config: FrozenConfigDict, workdir: Path, overrides: frozenset[str] = frozenset()
) -> int:
    """Evaluate a checkpoint on `eval.datasets` and print the report."""
    print(to_terminal(run(config, workdir, overrides)))
    return 0


def run(
    config: FrozenConfigDict, workdir: Path, overrides: frozenset[str]
) -> dict[str, Any]:
    """Evaluate a checkpoint on `eval.datasets` and write the report."""
    folder = Workdir(workdir)
    trained = load_trained(config, folder, overrides)
    config = trained.config
    refuse_training_dataset(config, trained.meta.get("dataset", ""))
    targets = open_targets(config)
    report = evaluate(
        config,
        trained.method,
        trained.params,
        targets,
        folder=workdir,
        checkpoint=trained.checkpoint,
        training=circumstances.of_training(trained.meta),
        row=_row_of(config, trained),
        train_seconds=trained.meta.get("seconds", 0.0),
    )
    write_report(folder, report)
    return report


def _row_of(config: FrozenConfigDict, trained: Trained) -> str:
    """Which row it is: of a checkpoint, the one that it was trained as."""
    if trained.checkpoint is None:
        return config.get("row", "")
    return trained.meta.get("config", {}).get("row", "")


def evaluate(
    config: FrozenConfigDict,
    method: Method,
    params: Params,
    targets: Targets,
    *,
    folder: Path,
    checkpoint: Path | None,
    training: Mapping[str, Any] | None,
    row: str,
    train_seconds: float,
) -> dict[str, Any]:
    """The report of a method on datasets, and in `folder` what its page shows besides.

    Args:
        config: batch size and readers.
        method: what is evaluated,
        params: with these parameters.
        targets: the datasets.
        folder: where pictures of examples and the evidence for the page go.
        checkpoint: where `params` came from,
        training: and on what they were trained, None where nobody knows or nothing was.
        row: of a configuration's table that this is, if it is one.
        train_seconds: wall time of the training.
    """
    started = time.monotonic()
    devices = Devices(config.eval.batch_size, "eval.batch_size")
    say = compiled.to_terminal if is_first() else compiled.to_log
    inference = Inference(method, devices, params, say)
    results, seen, pace = {}, {}, Pace()
    for dataset, source in targets.sources.items():
        result, seen[dataset] = evaluate_source(
            config, method, inference, devices, source, folder, pace
        )
        results[dataset] = with_facts(
            dataset, result, differences(source), undefined_pixels(source, result)
        )
    evidence.save(Workdir(folder), seen)
    return make_report(
        results,
        method=config.method,
        title=method.called,
        row=row,
        trained=training,
        image_size=method.image_size,
        made=circumstances.of_now(),
        parameters=count_parameters(params),
        images_per_second=pace.rate,
        checkpoint=None if checkpoint is None else str(checkpoint),
        clip=method.backbone_identity()["clip"],
        guide=method.backbone_identity().get("guide"),
        train_seconds=train_seconds,
        eval_seconds=time.monotonic() - started,
        absent=targets.absent,
    )


class Pace:
    """How fast batches come once the programs are there: the first is not counted."""

    def __init__(self) -> None:
        self._images, self._seconds = 0, 0.0

    def of(self, batches: Iterable[T], size: int) -> Iterator[T]:
        """The batches of one dataset as they are."""
        last = None
        for batch in batches:
            now = time.monotonic()
            if last is not None:
                self._images += size
                self._seconds += now - last
            last = now
            yield batch

    @property
    def rate(self) -> float | None:
        """Images per second; None where no dataset had two batches."""
        return round(self._images / self._seconds, 2) if self._seconds else None


def evaluate_source(
    config: FrozenConfigDict,
    method: Method,
    inference: Inference,
    devices: Devices,
    source: Source,
    folder: Path,
    pace: "Pace",
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Metrics of each class of one dataset and their unweighted mean; the evidence."""
    original = config.eval.resolution == "original" and source.has_masks
    examples, cases = Examples(source), Cases(source)
    metrics = {
        name: ClassMetrics(has_masks=source.has_masks) for name in source.classes
    }
    stream = eval_stream(
        source,
        image_size=method.image_size,
        batch_size=config.eval.batch_size,
        workers=config.data.workers,
        original_masks=original,
        part=devices.part,
    )
    remarked = Remarks(source.dataset).of(stream, source)
    found = inference.detections(class_names(source), remarked)
    # Of further datasets, the programs are there.
    first = pace.rate is None
    with progress(source.dataset, len(source), compiles=first) as bar:
        for batch, seen in pace.of(found, config.eval.batch_size):
            rows = np.flatnonzero(batch["is_real"])
            seen.check(rows, functools.partial(_path, source, batch))
            add = _add_resized if original else _add_together
            add([metrics[name] for name in source.classes], batch, seen)
            for row in rows:
                examples.add(batch, row, seen.maps[row], float(seen.score[row]))
                cases.add(batch, row, seen.maps[row], float(seen.score[row]))
            bar.update(min(config.eval.batch_size, len(source) - bar.n))
            end_if_asked()
    for theirs in gather((metrics, examples, cases))[1:]:
        metrics = {name: state + theirs[0][name] for name, state in metrics.items()}
        examples.merge(theirs[1])
        cases.merge(theirs[2])
    absolute = config.eval.get("scale", CALIBRATED) == ABSOLUTE
    bars = {name: _bar(state, absolute) for name, state in metrics.items()}
    picture = examples.save(folder, bars) if is_first() else None
    if picture:
        print(f"examples: {picture}")
    classes = {name: state.compute() for name, state in metrics.items()}
    seen = {
        name: evidence.of_class(
            state, cases.of(name, bars[name].scale), bars[name].scale
        )
        for name, state in metrics.items()
    }
    return {"classes": classes, "mean": mean_of(classes)}, seen


def _bar(state: ClassMetrics, absolute: bool) -> Bar:
    """The scale of a class's maps: from what its normal pixels have, or of [0, 1]."""
    found = state.colour_range()
    if absolute or found is None:
        return Bar(None if absolute else make_scale(), None, "no normal pixels: from")
    return Bar(make_scale(*found), None, "99 % of normal pixels below")


def _path(source: Source, batch: Batch, row: int) -> str:
    return f"{source.dataset}: {source.index[batch['index'][row]].path}"


def undefined_pixels(source: Source, result: Mapping[str, Any]) -> list[str]:
    """Why pixel columns are empty, a line for each reason.

    Returns:
        The lines, none where a dataset has no masks at all, as its table says.
    """
    if not source.has_masks:
        print(f"{source.dataset}: no pixel columns, for it has no masks")
        return []
    lines = []
    for name, row in result["classes"].items():
        if row["pixel_auroc"] is None:
            count = row["anomalous"]
            why = (
                f"the masks of its {count} anomalous pictures mark no pixel, or all"
                if count
                else "it has no anomalous picture"
            )
            lines.append(f"{name} has no pixel columns: {why}.")
    return lines


def _add_together(classes: Sequence[ClassMetrics], batch: Batch, found: Found) -> None:
    """Add a batch at the model's size, a class at a time; no map leaves its device."""
    maps = MapBatch(
        found.maps.shards,
        batch["regions"],
        batch["region_count"],
        found.lowest,
        found.highest,
    )
    for number in np.unique(batch["class_index"][batch["is_real"]]):
        rows = np.flatnonzero(batch["is_real"] & (batch["class_index"] == number))
        classes[number].update_rows(found.score[rows], batch["label"][rows], maps, rows)


def _add_resized(classes: Sequence[ClassMetrics], batch: Batch, found: Found) -> None:
    """Add a batch at its images' own sizes, one by one on the host."""
    for row in np.flatnonzero(batch["is_real"]):
        regions = batch["regions"][row]
        classes[batch["class_index"][row]].update(
            float(found.score[row]),
            int(batch["label"][row]),
            resize_map(np.asarray(found.maps[row]), *regions.shape),
            regions,
        )
