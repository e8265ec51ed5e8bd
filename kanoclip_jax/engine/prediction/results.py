"""Where predictions go: a line in the log, a map and an overlay on disk."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from data_pipelines.errors import DataError, reason_of
from data_pipelines.names import printable
from data_pipelines.tally import Tally
from kanoclip_jax.engine.prediction.detecting import Detecting, Prediction
from kanoclip_jax.engine.prediction.pictures import Pictures
from kanoclip_jax.engine.prediction.predictions import Line, Predictions, Stamp
from kanoclip_jax.verdict import Thresholds
from kanoclip_jax.viz.bar import Bar
from kanoclip_jax.viz.regions import hottest_box
from kanoclip_jax.viz.scale import ABSOLUTE, CALIBRATED

# A line lists so many regions, the highest scores first; the mask may hold more.
_MOST_REGIONS = 100


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

    Attributes:
        log: the lines.
        bar: the scale of the colours, for sheets.
        shrinkage: what squashing cost the pictures so far.
        tally: of what was said of their values.
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
    ) -> None:
        self.shrinkage, self.tally = detector.shrinkage(), Tally("this run")
        self._class_name = class_name
        scale = None if colours == ABSOLUTE else detector.scale(class_name, limits)
        self.bar = Bar(
            scale,
            limits.pixel if limits else None,
            "threshold" if limits else "not calibrated: from",
        )
        settings = {
            "class_name": class_name,
            "thresholds": list(limits) if limits else None,
            "min_area": detector.min_area,
            "maps": maps,
            "overlays": overlays,
            **detector.identity,
        }
        if overlays:
            settings["scale"] = list(scale) if scale else ABSOLUTE
        self.log = Predictions(folder, settings)
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
        if isinstance(found, str):
            return self.log.append(path, line | {"error": found}, known)
        try:
            pictures = self._pictures.write(path, found)
        except (DataError, MemoryError) as error:
            reason = reason_of(error, path)
            return self.log.append(path, line | {"error": reason}, known)
        self.tally.add(found.warning, printable(path))
        if found.warning:
            line["warning"] = found.warning
        line |= {"score": found.score, "label": found.label, **pictures}
        line["smallest_px"] = round(self.shrinkage.add(*found.anomaly_map.shape), 1)
        line["box"] = hottest_box(found.anomaly_map)
        line["regions"] = [r._asdict() for r in found.regions[:_MOST_REGIONS]]
        return self.log.append(path, line, known)

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
        if also is not None:
            also()

    def remarks(self) -> list[str]:
        """What there is to say of the pictures as a whole, a line each."""
        return [said for said in (self.tally.said(), self.shrinkage.said()) if said]


def common_folder(paths: Sequence[Path]) -> Path:
    """The folder that all of some files are in."""
    try:
        return Path(os.path.commonpath([path.parent for path in paths]))
    except ValueError:
        # Several drives of Windows have nothing in common.
        return paths[0].parent
