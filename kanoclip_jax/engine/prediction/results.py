"""Where predictions go: a line in the log, a map and an overlay on disk, and tables."""

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_pipelines.errors import DataError, reason_of
from data_pipelines.names import canonical, printable
from data_pipelines.tally import Tally
from kanoclip_jax.engine.prediction import coco as coco_file
from kanoclip_jax.engine.prediction.detecting import Detecting, Prediction
from kanoclip_jax.engine.prediction.pictures import FOLDERS, Pictures
from kanoclip_jax.engine.prediction.predictions import (
    TABLE,
    Line,
    Predictions,
    Stamp,
    stamp,
    stamp_of,
)
from kanoclip_jax.engine.prediction.scoring import Scored
from kanoclip_jax.errors import InputError
from kanoclip_jax.files import reason
from kanoclip_jax.verdict import ANOMALOUS, NORMAL, Thresholds
from kanoclip_jax.viz.bar import Bar
from kanoclip_jax.viz.run_lengths import encode_regions
from kanoclip_jax.viz.scale import ABSOLUTE, CALIBRATED

# A line lists so many regions, the highest scores first, and counts the others.
_MOST_REGIONS = 1000
_UNLABELLED, _FAILED = "without thresholds", "failed"
_HOW_TO_LABEL = (
    f"labels, regions and {coco_file.FILE} need thresholds: calibrate on normal pictures, "
    "or give --threshold and --pixel-threshold"
)


class Results:
    """A folder of predictions of one class.

    Args:
        detector: whose predictions they are.
        class_name: of the pictures.
        limits: its thresholds.
        folder: where they go.
        base: pictures are called by their path from here.
        maps: whether each map is kept,
        overlays: and each picture with its map over it.
        colours: of these: `calibrated`, from the pixel threshold on, or `absolute`.
        coco: how regions are written to `coco.json`; see `coco.KINDS`.

    Attributes:
        log: the lines.
        bar: the scale of the colours, for sheets.
        shrinkage: what squashing cost the pictures so far.
        tally: of what was said of their values.
        failed: pictures so far that could not be predicted,
        predicted: and those that were.
    """

    def __init__(
        self,
        detector: Detecting,
        class_name: str,
        limits: Thresholds | None,
        folder: Path,
        base: Path,
        *,
        maps: bool,
        overlays: bool,
        colours: str = CALIBRATED,
        coco: str = coco_file.POLYGONS,
    ) -> None:
        self.shrinkage, self.tally = detector.shrinkage(), Tally("this run")
        self.predicted = self.failed = 0
        self._detector, self._limits, self._folder = detector, limits, folder
        self._class_name = canonical(class_name)
        self._overlays, self._coco = overlays, coco
        scale = None if colours == ABSOLUTE else detector.scale(class_name, limits)
        self.bar = Bar(
            scale,
            limits.pixel if limits else None,
            "pixel threshold" if limits else "not calibrated: from",
        )
        self._labelling = {
            "thresholds": limits._asdict() if limits else None,
            "min_area": detector.min_area,
        }
        if overlays:
            self._labelling["scale"] = list(scale) if scale else ABSOLUTE
        self._counts: Counter[str] = Counter()
        self._regions: int | None = None
        settings = {"class_name": self._class_name, "maps": maps, **detector.identity}
        self.log = Predictions(folder, settings, self._is_current)
        self._pictures = Pictures(
            folder,
            base,
            maps=maps,
            overlays=overlays,
            scale=scale,
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
        written: dict[str, str | None] = {}
        if not isinstance(found, str):
            try:
                written = self._pictures.write(path, found)
            except (DataError, MemoryError) as error:
                found = reason_of(error, path)
        if isinstance(found, str):
            self.failed += 1
            return self.log.append(path, line | {"error": found}, known)
        self.predicted += 1
        self.tally.add(found.warning, printable(path))
        if found.warning:
            line["warning"] = found.warning
        smallest = round(self.shrinkage.add(*found.anomaly_map.shape), 1)
        line |= self._label(found) | written | {"smallest_px": smallest}
        return self.log.append(path, line, known)

    def _label(self, found: Prediction) -> dict[str, Any]:
        """What a line says of a prediction."""
        height, width = found.anomaly_map.shape
        listed = found.regions[:_MOST_REGIONS]
        lengths = encode_regions(found.mask, listed) if listed else []
        said: dict[str, Any] = {
            "score": found.score,
            "label": found.label,
            **self._labelling,
            "width": width,
            "height": height,
            "box": found.box,
            "regions": [
                region._asdict() | {"rle": text}
                for region, text in zip(listed, lengths, strict=True)
            ],
        }
        if len(found.regions) > len(listed):
            said["more_regions"] = len(found.regions) - len(listed)
        return said

    def _is_current(self, line: Line) -> bool:
        """Whether a line is as it would be now, but for its score and map."""
        lacks = self._overlays and line.get("overlay") is None
        drawable = lacks and stamp(Path(line["path"])) == stamp_of(line)
        return self._is_labelled(line) and not drawable

    def _is_labelled(self, line: Line) -> bool:
        """Whether a line says it is labelled as asked; earlier versions' say nothing."""
        return "error" not in line and all(
            key in line and line[key] == value for key, value in self._labelling.items()
        )

    def label_again(self) -> Iterator[str]:
        """Label by the present thresholds what was labelled by others.

        Scores and maps are those that are kept; nothing passes through the model. What
        keeps no map is left to `log.begin`. After a kill, the next run does the rest.

        Yields:
            What there is to say of it, a line each.
        """
        numbers = self.log.outdated()
        if not numbers:
            return
        yield (
            f"{len(numbers)} pictures were labelled by other thresholds or settings: "
            "labelling them again by their scores and maps"
        )
        done = 0
        for line in self.log.at(numbers):
            said = self._again(line)
            if said is not None:
                self.log.append(Path(line["path"]), said, stamp_of(line))
                done += 1
        left = len(numbers) - done
        unkept = f"; {left} keep no map and are predicted anew" if left else ""
        yield f"{done} pictures labelled again{unkept}"

    def _again(self, line: Line) -> dict[str, Any] | None:
        """A line as it is labelled now, None where that needs the model."""
        path = Path(line["path"])
        anomaly_map = self._kept_map(line)
        if anomaly_map is None:
            return None
        scored = Scored(path, "", line["score"], anomaly_map, line.get("warning", ""))
        found = self._detector.outcome(scored, self._class_name, self._limits)
        if isinstance(found, str):
            return None
        try:
            overlay = self._pictures.draw(path, found, Path(line["map"]).stem)
        except (DataError, MemoryError):
            # Of a picture that is gone, what is drawn on it by others would mislead.
            overlay = None
        kept = {key: line[key] for key in ("warning", "smallest_px") if key in line}
        return {
            "class_name": self._class_name,
            **kept,
            **self._label(found),
            "map": line["map"],
            "overlay": overlay,
        }

    def _kept_map(self, line: Line) -> np.ndarray | None:
        """The map of a line, None where it is not there as it was written."""
        if not line.get("map"):
            return None
        try:
            found = np.load(self._folder / line["map"], allow_pickle=False)
        except (OSError, ValueError, EOFError, MemoryError):
            return None
        shape = line.get("height", found.shape[0]), line.get("width", found.shape[-1])
        whole = found.ndim == 2 and found.shape == shape and found.dtype == np.float16
        if not whole or not np.isfinite(found).all():
            return None
        return found.astype(np.float32)

    @contextlib.contextmanager
    def ending(self, also: Callable[[], None] | None = None) -> Iterator[None]:
        """In the end, write the table of all predictions, and do what else is asked.

        An interrupted run has them, too; what failed, as on a full disk, only closes
        the log.
        """
        try:
            try:
                yield
            except KeyboardInterrupt:
                self._finish(also)
                raise
            self._finish(also)
        finally:
            self.log.close()

    def _finish(self, also: Callable[[], None] | None) -> None:
        self.log.write_table()
        self._counts.clear()
        paths = []
        for line in self.log.latest():
            label = _FAILED if "error" in line else line.get("label")
            self._counts[label or _UNLABELLED] += 1
            if self._is_labelled(line):
                paths.append(Path(line["path"]))
        try:
            self._write_coco(common_folder(paths) if paths else self._folder)
        except OSError as error:
            raise InputError(
                f"{self._folder / coco_file.FILE} cannot be written ({reason(error)}); "
                "pass another --workdir"
            ) from None
        if also is not None:
            also()

    def _write_coco(self, base: Path) -> None:
        # Without thresholds there are no regions, and a file without any would call all
        # pictures clean.
        if self._coco == coco_file.NEVER or self._limits is None:
            (self._folder / coco_file.FILE).unlink(missing_ok=True)
            return
        self._regions = coco_file.write_coco(
            self._folder,
            # An interrupted run leaves lines of other thresholds.
            lambda: filter(self._is_labelled, self.log.latest()),
            base,
            self._class_name,
            kind=self._coco,
            upright=self._detector.reading.upright,
        )

    def summary(self, before: int = 0, also: Sequence[str] = ()) -> list[str]:
        """What was done, and where it lies, once `ending` is over.

        Args:
            before: pictures among the inputs that were done earlier.
            also: further files of the folder.
        """
        counts = self._counts
        earlier = f", {before} done before" if before else ""
        both = (ANOMALOUS, NORMAL) if counts[ANOMALOUS] or counts[NORMAL] else ()
        kinds = [*both, *([_UNLABELLED] if counts[_UNLABELLED] else [])]
        said = ", ".join(f"{counts[kind]} {kind}" for kind in kinds) or "no results"
        # The table has what other runs predicted into the folder, too.
        new = counts.total() == self.predicted + self.failed
        files = [f"{TABLE} (table)"]
        if self._regions is not None:
            plural = "" if self._regions == 1 else "s"
            files.append(f"{coco_file.FILE} ({self._regions} region{plural})")
        files += [f"{name}/" for name in FOLDERS if (self._folder / name).is_dir()]
        done = f"{self.predicted} predicted, {self.failed} failed{earlier}"
        return [
            f"{done}: {'' if new else 'in all '}{said}",
            f"{printable(self._folder)}: {', '.join([*files, *also])}",
        ]

    def remarks(self) -> list[str]:
        """What there is to say of the pictures as a whole, a line each."""
        said = [self.tally.said(), self.shrinkage.said()]
        if self._limits is None and self._counts[_UNLABELLED]:
            said.append(_HOW_TO_LABEL)
        return [line for line in said if line]


def common_folder(paths: Sequence[Path]) -> Path:
    """The folder that all of some files are in."""
    try:
        return Path(os.path.commonpath([path.parent for path in paths]))
    except ValueError:
        # Several drives of Windows have nothing in common.
        return paths[0].parent
