"""A detector without a model: maps are the pictures' own greys, so regions are painted."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ml_collections import FrozenConfigDict
from PIL import Image

from kanoclip_jax.engine.prediction import predict
from kanoclip_jax.engine.prediction.detecting import Detecting
from kanoclip_jax.verdict import Thresholds

SIDE = 16


class Answers(NamedTuple):
    """What was found in a batch."""

    maps: np.ndarray
    score: np.ndarray

    def why_none(self, row: int) -> str:
        return ""


class Painted(Detecting):
    """Squares of 16 px, whose greys of 128ths are kept whole by half precision."""

    def __init__(self, limits: tuple[float, float] | None, min_area: int = 1) -> None:
        self.image_size, self.patch, self.batch_size = SIDE, 4, 1
        self.min_area, self.identity, self.seen = min_area, {"model": "painted"}, 0
        self._limits = Thresholds(*limits) if limits else None

    @property
    def calibrated(self) -> tuple[str, ...]:
        return ()

    def named(self, class_name: str | None) -> str:
        return class_name or "plate"

    def limits(self, class_name: str) -> Thresholds | None:
        return self._limits

    def detections(self, class_name: str, batches: Iterable) -> Iterator:
        for batch in batches:
            self.seen += 1
            maps = batch["image"][..., 0].astype(np.float32) / 256
            yield batch, Answers(maps, maps.max((1, 2)))


def paint(path: Path, boxes: Iterable, side: int = SIDE, **options: object) -> Path:
    """Write a picture that is dark but for boxes `(x, y, width, height, grey)`."""
    pixels = np.full((side, side), 10, np.uint8)
    for x, y, width, height, grey in boxes:
        pixels[y : y + height, x : x + width] = grey
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def run_predict(monkeypatch, detector: Painted, given: Path, workdir: Path, **more):
    """`--mode=predict` with that detector; returns the exit status."""
    settings = {
        "class_name": "plate",
        "maps": True,
        "overlays": True,
        "batch_size": 1,
        "tiles": "16",
        "input": str(given),
        "highest": 0,
        "coco": "polygons",
    }
    config = FrozenConfigDict({"predict": settings | more, "data": {"workers": 0}})
    # One at a time, and no reading processes.
    detector.tiles = "auto"
    monkeypatch.setattr(predict, "open_detector", lambda *_: (detector, config))
    return predict.main(config, workdir)
