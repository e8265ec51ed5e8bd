"""Prediction on a user's own pictures: scores, maps at their own size, overlays."""

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import FrozenConfigDict
from tqdm import tqdm

from data_pipelines.errors import DataError
from data_pipelines.names import printable
from data_pipelines.pictures import Picture, read_picture
from data_pipelines.pipeline import predict_stream
from kanoclip_jax.engine.endings import end_if_asked
from kanoclip_jax.engine.prediction.detector import Detector, Prediction
from kanoclip_jax.engine.prediction.inputs import absolute, find_inputs
from kanoclip_jax.engine.prediction.pictures import FOLDERS, SHEET, Pictures
from kanoclip_jax.engine.prediction.predictions import (
    Line,
    Predictions,
    Stamp,
)
from kanoclip_jax.engine.prediction.scoring import Scored, scored_row
from kanoclip_jax.engine.prediction.tiles import NEVER
from kanoclip_jax.engine.remarks import Remarks
from kanoclip_jax.engine.restore import load_trained
from kanoclip_jax.engine.workdir import Workdir
from kanoclip_jax.verdict import shown
from kanoclip_jax.viz.regions import hottest_box

# A line lists so many regions, the highest scores first; the mask may hold more.
_MOST_REGIONS = 100


def main(
    config: FrozenConfigDict, workdir: Path, overrides: frozenset[str] = frozenset()
) -> int:
    """Predict `predict.input`; exit status 1 where some inputs failed."""
    paths = find_inputs(config.predict.input, own_files(workdir))
    base = Path(os.path.commonpath([path.parent for path in paths]))
    detector, config = open_detector(
        config, workdir, overrides, config.predict.batch_size
    )
    results = Results(detector, config, workdir, base)
    with results.ending(config.predict.highest):
        todo = results.log.begin(paths)
        failed = _predict(detector, config, results, todo)
    if said := results.shrinkage.said():
        print(said)
    done = len(paths) - len(todo)
    earlier = f", {done} done before" if done else ""
    print(f"{len(todo) - failed} predicted, {failed} failed{earlier}: {workdir}")
    return 1 if failed else 0


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
        folders=(workdir,),
    )
    limits = detector.thresholds(config.predict.class_name)
    if limits:
        print(
            f"anomalous is a score above {shown(limits.image)}; outlined are pixels "
            f"above {shown(limits.pixel)} (calibrated for {config.predict.class_name!r})"
        )
    elif detector.calibrated:
        print(
            f"no thresholds for {config.predict.class_name!r}: calibrated are "
            f"{', '.join(detector.calibrated)}"
        )
    return detector, trained.config


def own_files(workdir: Path) -> list[Path]:
    """What prediction itself writes, and never reads as an input."""
    return [absolute(workdir) / name for name in (*FOLDERS, SHEET)]


class Results:
    """Where predictions go: a line in the log, and pictures.

    Args:
        detector: whose predictions they are.
        config: what is kept.
        workdir: where.
        base: pictures are called by their path from here.

    Attributes:
        log: the lines.
        shrinkage: what squashing cost the pictures so far.
    """

    def __init__(
        self, detector: Detector, config: FrozenConfigDict, workdir: Path, base: Path
    ) -> None:
        predict = config.predict
        folder = Workdir(workdir)
        self.shrinkage = detector.shrinkage()
        self._class_name = predict.class_name
        limits = detector.thresholds(predict.class_name)
        settings = {
            "class_name": predict.class_name,
            "thresholds": list(limits) if limits else None,
            **{key: predict[key] for key in ("min_area", "maps", "overlays")},
            **detector.identity,
        }
        self.log = Predictions(folder, settings)
        self._remarks = Remarks("this run")
        self._pictures = Pictures(
            folder,
            base,
            maps=predict.maps,
            overlays=predict.overlays,
            lines=self.log.lines(),
            reading=detector.reading,
        )

    def add(self, path: Path, found: Prediction | str, known: Stamp | None) -> Line:
        """Write the line of a picture.

        Args:
            path: the picture.
            found: what was found in it, or what was wrong with it.
            known: what the file was before it was read.
        """
        line: dict[str, Any] = {"class_name": self._class_name}
        if isinstance(found, str):
            return self.log.append(path, line | {"error": found}, known)
        try:
            pictures = self._pictures.write(path, found)
        except DataError as error:
            return self.log.append(path, line | {"error": str(error)}, known)
        self._remarks.add(found.warning, printable(path))
        if found.warning:
            line["warning"] = found.warning
        line |= {"score": found.score, "label": found.label, **pictures}
        line["smallest_px"] = round(self.shrinkage.add(*found.anomaly_map.shape), 1)
        line["box"] = hottest_box(found.anomaly_map)
        line["regions"] = [r._asdict() for r in found.regions[:_MOST_REGIONS]]
        return self.log.append(path, line, known)

    @contextlib.contextmanager
    def ending(self, highest: int) -> Iterator[None]:
        """In the end, write the table and the contact sheet of all predictions.

        An interrupted run has them, too; what failed, as on a full disk, only closes
        the log.
        """
        try:
            try:
                yield
            except KeyboardInterrupt:
                self._finish(highest)
                raise
            self._finish(highest)
        finally:
            self.log.close()

    def _finish(self, highest: int) -> None:
        self._remarks.say()
        self.log.write_table()
        if highest:
            self._pictures.write_sheet(self.log.highest(highest))


def _predict(
    detector: Detector,
    config: FrozenConfigDict,
    results: Results,
    todo: Mapping[Path, Stamp | None],
) -> int:
    """Write a line for each picture; returns how many failed."""
    paths, name = list(todo), config.predict.class_name
    limits = detector.thresholds(name)
    score = _score_whole if detector.tiles == NEVER else _score_windows
    failed = 0
    with tqdm(total=len(paths), desc="predict", unit="img") as bar:
        for scored in score(detector, config, paths):
            path = scored.key
            outcome = scored.error or detector.conclude(scored, name, limits)
            line = results.add(path, outcome, todo[path])
            if "error" in line:
                failed += 1
                bar.write(f"failed: {printable(line['error'])}", file=sys.stderr)
            bar.update()
            end_if_asked()
    return failed


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

    def pictures() -> Iterator[tuple[Path, Picture | str]]:
        for path in paths:
            try:
                yield path, read_picture(path, detector.reading)
            except DataError as error:
                yield path, str(error)

    return detector.score(config.predict.class_name, pictures())
