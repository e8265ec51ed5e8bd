"""Prediction on a user's own pictures: scores, maps at their own size, overlays."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import FrozenConfigDict
from tqdm import tqdm

from data_pipelines.errors import DataError
from data_pipelines.pipeline import predict_stream
from kanoclip_jax.engine.prediction.detector import Detector, Prediction
from kanoclip_jax.engine.prediction.inputs import (
    absolute,
    describe_inputs,
    find_inputs,
)
from kanoclip_jax.engine.prediction.pictures import FOLDERS, SHEET, Pictures
from kanoclip_jax.engine.prediction.predictions import (
    Line,
    Predictions,
    Stamp,
    printable,
)
from kanoclip_jax.engine.restore import load_trained
from kanoclip_jax.engine.workdir import Workdir
from kanoclip_jax.viz.regions import hottest_box

# A line lists so many regions, the highest scores first; the mask may hold more.
_MOST_REGIONS = 100


def main(
    config: FrozenConfigDict, workdir: Path, overrides: frozenset[str] = frozenset()
) -> int:
    """Predict `predict.input`; exit status 1 where some inputs failed."""
    given, own = config.predict.input, own_files(workdir)
    paths = find_inputs(given, own)
    print("\n".join(describe_inputs(given, paths, own)), flush=True)
    base = Path(os.path.commonpath([path.parent for path in paths]))
    detector, config = open_detector(
        config, workdir, overrides, config.predict.batch_size
    )
    results = Results(detector, config, workdir, base)
    todo = results.log.begin(paths)
    failed = _predict(detector, config, results, todo)
    results.finish(config.predict.highest)
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
        folders=(workdir,),
    )
    limits = detector.thresholds(config.predict.class_name)
    if limits:
        print(
            f"anomalous is a score above {limits.image:.6f}; outlined are pixels above "
            f"{limits.pixel:.6f} (calibrated for {config.predict.class_name!r})"
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
    """

    def __init__(
        self, detector: Detector, config: FrozenConfigDict, workdir: Path, base: Path
    ) -> None:
        predict = config.predict
        folder = Workdir(workdir)
        self._class_name = predict.class_name
        limits = detector.thresholds(predict.class_name)
        settings = {
            "class_name": predict.class_name,
            "thresholds": list(limits) if limits else None,
            **{key: predict[key] for key in ("min_area", "maps", "overlays")},
            **detector.identity,
        }
        self.log = Predictions(folder, settings)
        self._pictures = Pictures(
            folder,
            base,
            maps=predict.maps,
            overlays=predict.overlays,
            lines=self.log.lines(),
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
        line |= {"score": found.score, "label": found.label, **pictures}
        line["box"] = hottest_box(found.anomaly_map)
        line["regions"] = [r._asdict() for r in found.regions[:_MOST_REGIONS]]
        return self.log.append(path, line, known)

    def finish(self, highest: int) -> None:
        """Write the table and the contact sheet of all predictions; close the log."""
        self.log.write_table()
        if highest:
            self._pictures.write_sheet(self.log.highest(highest))
        self.log.close()


def _predict(
    detector: Detector,
    config: FrozenConfigDict,
    results: Results,
    todo: Mapping[Path, Stamp | None],
) -> int:
    """Write a line for each picture; returns how many failed."""
    paths, name = list(todo), config.predict.class_name
    limits = detector.thresholds(name)
    stream = predict_stream(
        paths,
        image_size=detector.image_size,
        batch_size=config.predict.batch_size,
        workers=config.data.workers,
    )
    failed = 0
    with tqdm(total=len(paths), desc="predict", unit="img") as bar:
        for batch, found in detector.detections(name, stream):
            for row in np.flatnonzero(batch["is_real"]):
                path = paths[batch["index"][row]]
                size = int(batch["height"][row]), int(batch["width"][row])
                outcome = str(batch["error"][row]) or detector.finish(
                    np.asarray(found.maps[row]),
                    float(found.score[row]),
                    size,
                    name,
                    limits,
                )
                line = results.add(path, outcome, todo[path])
                if "error" in line:
                    failed += 1
                    bar.write(f"failed: {printable(line['error'])}", file=sys.stderr)
                bar.update()
    return failed
