"""Prediction on a user's own pictures: scores, maps at their own size, overlays."""

import functools
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from ml_collections import FrozenConfigDict

from data_pipelines.names import printable
from data_pipelines.pipeline import predict_stream
from kanoclip_jax.engine import compiled
from kanoclip_jax.engine.bars import progress
from kanoclip_jax.engine.endings import end_if_asked
from kanoclip_jax.engine.prediction.coco import POLYGONS
from kanoclip_jax.engine.prediction.detector import Detector
from kanoclip_jax.engine.prediction.inputs import (
    absolute,
    describe_inputs,
    find_inputs,
)
from kanoclip_jax.engine.prediction.own import describe, read_own
from kanoclip_jax.engine.prediction.pictures import FOLDERS
from kanoclip_jax.engine.prediction.predictions import Stamp
from kanoclip_jax.engine.prediction.results import Results, common_folder
from kanoclip_jax.engine.prediction.scoring import Scored, read_all, scored_row
from kanoclip_jax.engine.prediction.sheet import SHEET, write_sheet
from kanoclip_jax.engine.prediction.tiles import NEVER
from kanoclip_jax.engine.restore import load_trained
from kanoclip_jax.engine.workdir import Workdir
from kanoclip_jax.viz.scale import CALIBRATED


def main(
    config: FrozenConfigDict, workdir: Path, overrides: frozenset[str] = frozenset()
) -> int:
    """Predict `predict.input`; exit status 1 where some inputs failed."""
    given, own = config.predict.input, own_files(workdir)
    paths = find_inputs(given, own)
    print("\n".join(describe_inputs(given, paths, own)), flush=True)
    detector, config = open_detector(
        config, workdir, overrides, config.predict.batch_size
    )
    results = open_results(detector, config, workdir, common_folder(paths))
    highest = functools.partial(write_highest, detector, config, results, workdir)
    with results.ending(highest):
        for said in results.label_again():
            print(said, flush=True)
        todo = results.log.begin(paths)
        if todo:
            _predict(detector, config, results, todo)
    for said in results.remarks():
        print(said)
    sheet = [SHEET] if (workdir / SHEET).is_file() else []
    print("\n".join(results.summary(len(paths) - len(todo), sheet)))
    return 1 if results.failed else 0


def open_detector(
    config: FrozenConfigDict, workdir: Path, overrides: frozenset[str], batch_size: int
) -> tuple[Detector, FrozenConfigDict]:
    """The detector of the command line's settings, and these with the checkpoint's."""
    trained = load_trained(config, Workdir(workdir), overrides)
    detector = Detector(
        trained,
        batch_size=batch_size,
        calibration=config.predict.calibration,
        min_area=config.predict.min_area,
        tiles=config.predict.get("tiles", NEVER),
        # Of a model without a checkpoint they lie above its pictures' folders.
        folders=(workdir, workdir.parent),
        own=read_own(config),
        silent=True,
        say=compiled.to_terminal,
    )
    name = config.predict.class_name
    limits, calibrated = detector.thresholds(name), detector.calibrated_limits(name)
    if limits:
        print(describe(limits, calibrated, detector.own, name))
    elif detector.calibrated:
        print(
            f"no thresholds for {name!r}: calibrated are "
            f"{', '.join(detector.calibrated)}"
        )
    return detector, trained.config


def own_files(workdir: Path) -> list[Path]:
    """What prediction itself writes, and never reads as an input."""
    return [absolute(workdir) / name for name in (*FOLDERS, SHEET)]


def open_results(
    detector: Detector, config: FrozenConfigDict, workdir: Path, base: Path
) -> Results:
    """Where the predictions of the command line's settings go."""
    predict = config.predict
    return Results(
        detector,
        predict.class_name,
        detector.thresholds(predict.class_name),
        workdir,
        base,
        maps=predict.maps,
        overlays=predict.overlays,
        colours=predict.get("scale", CALIBRATED),
        coco=predict.get("coco", POLYGONS),
    )


def write_highest(
    detector: Detector, config: FrozenConfigDict, results: Results, workdir: Path
) -> None:
    """Write the contact sheet of the highest scores, where one is asked for."""
    count = config.predict.highest
    if count:
        lines = results.log.highest(count)
        write_sheet(workdir, lines, detector.reading, results.bar)


def _predict(
    detector: Detector,
    config: FrozenConfigDict,
    results: Results,
    todo: Mapping[Path, Stamp | None],
) -> None:
    """Write a line for each picture."""
    paths, name = list(todo), config.predict.class_name
    limits = detector.thresholds(name)
    score = _score_whole if detector.tiles == NEVER else _score_windows
    with progress("predict", len(paths)) as bar:
        for scored in score(detector, config, paths):
            path = scored.key
            outcome = detector.outcome(scored, name, limits)
            line = results.add(path, outcome, todo[path])
            if "error" in line:
                bar.write(f"failed: {printable(line['error'])}", file=sys.stderr)
            bar.update()
            end_if_asked()


def _score_whole(
    detector: Detector, config: FrozenConfigDict, paths: Sequence[Path]
) -> Iterator[Scored]:
    """Squashed where they are decoded, by the readers."""
    stream = predict_stream(
        paths,
        image_size=detector.image_size,
        batch_size=config.predict.batch_size,
        workers=config.data.workers,
        reading=detector.reading,
    )
    for batch, found in detector.detections(config.predict.class_name, stream):
        for row in np.flatnonzero(batch["is_real"]):
            path, error = paths[batch["index"][row]], str(batch["error"][row])
            if error:
                yield Scored(path, error)
                continue
            size = int(batch["height"][row]), int(batch["width"][row])
            scored = scored_row(path, found, row, size)
            scored.warning = str(batch["warning"][row])
            yield scored


def _score_windows(
    detector: Detector, config: FrozenConfigDict, paths: Sequence[Path]
) -> Iterator[Scored]:
    """One picture is decoded at a time: its windows keep the model busy."""
    pictures = read_all(paths, detector.reading)
    return detector.score(config.predict.class_name, pictures)
