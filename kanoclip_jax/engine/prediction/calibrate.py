"""Calibration: where to put the thresholds, from pictures of the user's own."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import FrozenConfigDict

from data_pipelines.locks import holder_of
from data_pipelines.names import canonical
from data_pipelines.pictures import read_size
from data_pipelines.pipeline import eval_stream
from data_pipelines.sources import Source
from kanoclip_jax.engine import compiled
from kanoclip_jax.engine.bars import progress
from kanoclip_jax.engine.build import open_dataset
from kanoclip_jax.engine.endings import end_if_asked
from kanoclip_jax.engine.prediction import tiles
from kanoclip_jax.engine.prediction.calibration import (
    NEVER,
    Calibration,
    save_calibration,
)
from kanoclip_jax.engine.prediction.detector import Detector
from kanoclip_jax.engine.prediction.windows_sample import (
    Sample,
    take_sample_of_windows,
)
from kanoclip_jax.engine.remarks import Remarks
from kanoclip_jax.engine.restore import load_trained
from kanoclip_jax.engine.workdir import Workdir
from kanoclip_jax.errors import InputError
from kanoclip_jax.metrics import thresholds
from kanoclip_jax.metrics.batch import MapBatch
from kanoclip_jax.metrics.histograms import PixelHistogram
from kanoclip_jax.verdict import margin, shown

_FOLDER = "folder:"


def main(
    config: FrozenConfigDict, workdir: Path, overrides: frozenset[str] = frozenset()
) -> int:
    """Calibrate for `predict.class_name` and store it beside the checkpoint."""
    source = open_pictures(config)
    trained = load_trained(config, Workdir(workdir), overrides)
    detector = Detector(
        trained,
        batch_size=config.predict.batch_size,
        calibration=NEVER,
        tiles=config.predict.tiles,
        say=compiled.to_terminal,
    )
    by_f1 = config.calibrate.criterion == "f1"
    take = take_sample if detector.tiles == tiles.NEVER else take_sample_of_windows
    sample = take(config, detector, source, masks=by_f1 and source.has_masks)
    pixel = pixel_threshold(config, sample, detector.dtype)
    begin, end = thresholds.colour_range(
        sample.pixels, pixel["threshold"], sample.highest
    )
    calibration = Calibration(
        class_name=canonical(config.predict.class_name),
        identity=detector.identity,
        image=image_threshold(config, sample, detector.dtype),
        pixel=pixel,
        facts={
            "input": source.dataset.removeprefix(_FOLDER),
            "checkpoint": str(trained.checkpoint) if trained.checkpoint else None,
            "target_rate": config.calibrate.target_rate,
            "normal": int((sample.labels == 0).sum()),
            "anomalous": int((sample.labels == 1).sum()),
            "needed": thresholds.needed_normals(config.calibrate.target_rate),
        },
        scale={"begin": begin, "end": end},
    )
    print(describe(calibration))
    if said := sample.shrinkage.said():
        print(said)
    beside = trained.beside
    print(f"stored: {save_calibration(calibration, (beside, workdir))}")
    is_step = beside is not None and trained.checkpoint.is_dir()
    training = holder_of(beside.parent) if is_step else None
    if training and training.mode == "train":
        print(
            f"note: {beside.parent} is held by {training}; the thresholds are those of "
            f"step {trained.checkpoint.name}, and later steps need their own"
        )
    return 0


def open_pictures(config: FrozenConfigDict) -> Source:
    """The folder of one class; a flat one holds normal pictures.

    Raises:
        InputError: no folder is named, it holds several classes, or it lacks pictures
            that the criterion needs.
    """
    given = config.calibrate.input.removeprefix(_FOLDER)
    if not given:
        raise InputError(
            "calibrate.input is empty; name a folder of normal pictures, as in "
            "--config.calibrate.input=good/"
        )
    source = open_dataset(config, f"{_FOLDER}{given}", (), labelled=False)
    if len(source.classes) > 1:
        raise InputError(
            f"{given} holds {len(source.classes)} classes; calibrate one at a time, as "
            f"in --config.calibrate.input={given.rstrip('/')}/{source.classes[0]} "
            f"--config.predict.class_name={source.classes[0]!r}"
        )
    labels = [entry.label for entry in source.index]
    if 1 not in labels and config.calibrate.criterion == "f1":
        raise InputError(
            f"{given} holds no anomalous pictures, so there is no best F1; add a "
            "folder of them, or pass --config.calibrate.criterion=rate"
        )
    if not any(label < 1 for label in labels):
        raise InputError(
            f"{given} holds no normal pictures; thresholds need some, in a folder "
            f"called {' or '.join(config.data.normal_folders)}"
        )
    return source


def take_sample(
    config: FrozenConfigDict, detector: Detector, source: Source, *, masks: bool
) -> Sample:
    """Score all pictures.

    Args:
        config: batch size and readers.
        detector: scores them.
        source: where they are.
        masks: choose pixel thresholds on anomalous images, too.
    """
    scores, labels, counts, chosen = [], [], [], []
    pixels, shrinkage, highest = PixelHistogram(), detector.shrinkage(), 0.0
    for i, entry in enumerate(source.index):
        size = read_size(source[i]["image"], entry.path, source.reading)
        shrinkage.add(*size[::-1])
    stream = eval_stream(
        source,
        image_size=detector.image_size,
        batch_size=config.predict.batch_size,
        workers=config.data.workers,
    )
    remarked = Remarks(source.dataset).of(stream, source)
    found = detector.detections(config.predict.class_name, remarked)
    with progress("calibrate", len(source)) as bar:
        for batch, seen in found:
            maps, score, *extremes = seen
            seen.check(
                np.flatnonzero(batch["is_real"]),
                lambda row: source.index[batch["index"][row]].path,  # noqa: B023
            )
            # Of unknown labels, all are normal: the folder was named as such.
            label = np.maximum(batch["label"], 0)
            real = batch["is_real"]
            highest = max(highest, float(seen.highest[real].max()))
            scores.append(score[real])
            labels.append(label[real])
            rows = np.flatnonzero(real & ((label == 0) | masks))
            if rows.size:
                of_batch = MapBatch(
                    maps.shards, batch["regions"], batch["region_count"], *extremes
                )
                pixels.update_rows(of_batch, rows)
                counts.append(of_batch.coarse_counts()[rows])
                chosen.append(label[rows])
            bar.update(int(real.sum()))
            end_if_asked()
    return Sample(
        np.concatenate(scores).astype(np.float64),
        np.concatenate(labels),
        pixels,
        np.concatenate(counts),
        np.concatenate(chosen),
        shrinkage,
        highest,
    )


def image_threshold(
    config: FrozenConfigDict, sample: Sample, dtype: str
) -> dict[str, Any]:
    """The threshold of images, how sure it is, and what it does to those given.

    Args:
        config: what it is for.
        sample: what it is chosen on.
        dtype: of the tower's computation, which says how far scores may move.
    """
    rate = config.calibrate.target_rate
    by_f1 = config.calibrate.criterion == "f1"
    room = functools.partial(margin, dtype=dtype)

    def choose(scores: np.ndarray, labels: np.ndarray) -> float:
        if by_f1:
            return thresholds.at_best_f1(scores, labels, room)
        chosen = thresholds.at_rate(scores[labels == 0], rate)
        return float(chosen + margin(chosen, dtype))

    threshold = choose(sample.scores, sample.labels)
    spread = thresholds.spread_of_images(
        sample.scores, sample.labels, choose, config.seed
    )
    quality = thresholds.quality(sample.scores, sample.labels, threshold)
    found = _entry("f1" if by_f1 else "rate", threshold, spread, quality)
    if not by_f1:
        normal = int((sample.labels == 0).sum())
        found["expected_rate"] = thresholds.expected_rate(normal, rate)
    return found


def pixel_threshold(
    config: FrozenConfigDict, sample: Sample, dtype: str
) -> dict[str, Any]:
    """The same for pixels, of maps at the model's size, or of joined ones."""
    by_f1 = bool(sample.pixel_labels.any())
    rate = None if by_f1 else config.calibrate.target_rate
    if by_f1 and not sample.pixels.positives.any():
        raise InputError(
            "no mask of the anomalous pictures marks a pixel at the model's size, so "
            "there is no best F1 of pixels; mend the masks, see "
            "--config.data.mask_values, or pass --config.calibrate.criterion=rate"
        )
    if by_f1:
        threshold = thresholds.pixels_at_best_f1(sample.pixels)
    else:
        threshold = thresholds.pixels_at_rate(sample.pixels, rate)
        threshold = float(threshold + margin(threshold, dtype))
    spread = thresholds.spread_of_pixels(
        sample.counts, sample.pixel_labels, rate, config.seed
    )
    quality = thresholds.pixel_quality(sample.pixels, threshold)
    return _entry("f1" if by_f1 else "rate", threshold, spread, quality)


def describe(calibration: Calibration) -> str:
    """What was found, for the terminal."""
    facts = calibration.facts
    title = (
        f"thresholds for {calibration.class_name!r} from {facts['normal']} normal and "
        f"{facts['anomalous']} anomalous pictures (95 % bootstrap intervals)"
    )
    lines = [title]
    for what, found in (("image", calibration.image), ("pixel", calibration.pixel)):
        low, high = found["interval"]
        lines.append(
            f"  {what}  {shown(found['threshold'])} ({shown(low)} to {shown(high)}), "
            f"by {_criterion(found, facts)}: {_shares(found)}"
        )
    begin, end = calibration.scale["begin"], calibration.scale["end"]
    lines.append(f"  colour begins at {shown(begin)} and is full at {shown(end)}")
    lacking = facts["normal"] < facts["needed"]
    if lacking and calibration.image["criterion"] == "rate":
        lines.append(
            f"warning: a rate of {facts['target_rate']:g} needs {facts['needed']} "
            f"normal pictures; the highest of {facts['normal']} scores, which is taken "
            f"instead, lets {calibration.image['expected_rate']:.1%} through on average"
        )
    return "\n".join(lines)


def _entry(
    criterion: str,
    threshold: float,
    spread: thresholds.Spread,
    quality: thresholds.Quality,
) -> dict[str, Any]:
    # What another draw would have given is no bound on what this one gave.
    low, high = spread.threshold
    return {
        "criterion": criterion,
        "threshold": threshold,
        "interval": [min(low, threshold), max(high, threshold)],
        **quality._asdict(),
        "rate_interval": list(spread.rate),
    }


def _criterion(found: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    if found["criterion"] == "f1":
        return "the best F1"
    return f"a rate of {facts['target_rate']:g}"


def _shares(found: Mapping[str, Any]) -> str:
    low, high = found["rate_interval"]
    shares = [f"false alarms {found['rate']:.1%} ({low:.1%} to {high:.1%})"]
    if "expected_rate" in found:
        shares.append(
            f"of new pictures at most {found['expected_rate']:.1%} on average"
        )
    if found["recall"] is not None:
        shares.append(f"found {found['recall']:.1%}, F1 {found['f1']:.3f}")
    return ", ".join(shares)
