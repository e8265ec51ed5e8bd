"""The detector: a trained method that takes any picture and says what is wrong with it."""

import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict, FrozenConfigDict

from data_pipelines.names import canonical
from data_pipelines.pictures import (
    AUTO_RANGE,
    MAX_PIXELS,
    Reading,
)
from data_pipelines.pipeline import Batch
from kanoclip_jax.engine import forks
from kanoclip_jax.engine.prediction.calibration import AUTO, find_calibrations
from kanoclip_jax.engine.prediction.detecting import Detecting, Prediction
from kanoclip_jax.engine.prediction.own import Own
from kanoclip_jax.engine.prediction.tiles import NEVER
from kanoclip_jax.engine.restore import Trained, load_trained, saved_settings
from kanoclip_jax.engine.settings import check_choice, read_tiles, reading_of, resolve
from kanoclip_jax.engine.sharding import Devices
from kanoclip_jax.engine.step import Found, Inference
from kanoclip_jax.errors import InputError
from kanoclip_jax.verdict import Thresholds

__all__ = ["Detector", "Prediction"]
# What every picture shows.
_OBJECT = "object"


class Detector(Detecting):
    """Scores pictures; any number of threads may share one.

    `Detector.load` and `Detector.from_config` make it.

    Args:
        trained: the method with its parameters.
        batch_size: pictures that pass at once; fewer are padded, so that one program
            serves.
        calibration: `auto` takes the thresholds that lie beside the checkpoint, or in
            one of `folders`; `never` none; a path those of a file.
        min_area: regions of fewer pixels are left out.
        tiles: whether large and elongated pictures are scored in windows: `never`,
            `auto` or a number of pixels; see `prediction/tiles.py`. Thresholds belong
            to it.
        folders: further places of thresholds, which win over the checkpoint's.
        own: thresholds that are given, and win over both.
        silent: whether the first nearly black picture is no `UserWarning`.

    Attributes:
        identity: all that scores depend on besides the picture and its class name.
        image_size: side of the square that pictures are squashed to.
        dtype: of the tower's computation.
        tiles: as it is kept.
        own: thresholds that are given.
        reading: what the numbers of pictures mean, and how large they may be.
    """

    def __init__(
        self,
        trained: Trained,
        *,
        batch_size: int = 1,
        calibration: str | os.PathLike = AUTO,
        min_area: int = 1,
        tiles: str | int = NEVER,
        folders: Sequence[Path] = (),
        own: Own | None = None,
        silent: bool = False,
    ) -> None:
        forks.refuse()
        if jax.process_count() > 1:
            raise InputError(
                "a detector runs in one process; give each a part of the pictures "
                "instead, as a list file"
            )
        self.tiles = read_tiles(tiles)
        self.identity = trained.identity(self.tiles)
        self.image_size = trained.method.image_size
        self.reading = reading_of(trained.config)
        self.dtype = np.dtype(trained.method.clip.module.dtype).name
        self.patch = trained.method.clip.patch
        self.batch_size, self.min_area = batch_size, min_area
        self.own = own or Own()
        # A command counts pictures and says it once itself.
        self.silent = silent
        devices = Devices(batch_size, "batch_size")
        self._inference = Inference(trained.method, devices, trained.params)
        beside = trained.checkpoint.parent if trained.checkpoint else None
        self._calibrations = {
            canonical(found.class_name): found
            for found in find_calibrations(
                os.fspath(calibration), (*folders, beside), self.identity
            )
        }

    @property
    def calibrated(self) -> tuple[str, ...]:
        """The class names that have thresholds."""
        return tuple(found.class_name for found in self._calibrations.values())

    def named(self, class_name: str | None) -> str:
        """Any name is a class's; without one, a picture shows an object."""
        return _OBJECT if class_name is None else class_name

    def limits(self, class_name: str) -> Thresholds | None:
        """The thresholds of a class: those that are given, else calibrated."""
        return self.own.over(self.calibrated_limits(class_name))

    def calibrated_limits(self, class_name: str) -> Thresholds | None:
        """The calibrated thresholds of a class."""
        found = self._calibrations.get(canonical(class_name))
        return found.thresholds if found else None

    @classmethod
    def load(
        cls,
        checkpoint: str | os.PathLike,
        *,
        clip: str = "",
        guide: str = "",
        image_size: int = 0,
        dtype: str = "",
        batch_size: int = 1,
        calibration: str | os.PathLike = AUTO,
        min_area: int = 1,
        value_range: str | tuple[float, float] = AUTO_RANGE,
        max_pixels: int = MAX_PIXELS,
        tiles: str | int = NEVER,
        orientation: str = "upright",
    ) -> "Detector":
        """The detector of a checkpoint, which brings its own settings.

        Args:
            checkpoint: an Orbax checkpoint directory (newest step), one step of it, or
                an authors' `.pth`.
            clip: where the backbone's weights lie now; as in training where empty.
            guide: likewise those of a second one.
            image_size: side of the square that pictures are squashed to; as in training
                where 0, and as its authors ran it for their file: 518, MVFA's 240.
            dtype: of the tower's computation: `float32`, `bfloat16` or `auto`; as in
                training where empty.
            batch_size: see `Detector`.
            calibration: likewise.
            min_area: likewise.
            tiles: likewise.
            value_range: which values are black and white in pictures that are not of 8
                bits: `auto` (what the file or the array's type says), a depth such as
                `12bit`, or `LOW,HIGH`. It is the same for all pictures, and thresholds
                belong to it.
            max_pixels: pictures of more are refused.
            orientation: `upright` turns pictures by their EXIF orientation, `stored`
                leaves them as they are.

        Raises:
            DataError: a value range that is none.
            InputError: no such checkpoint, another backbone, or a wrong option.
        """
        given = {
            "clip.name": clip,
            "clip.image_size": image_size,
            "clip.dtype": dtype,
            "guide.name": guide,
        }
        given = {key: value for key, value in given.items() if value}
        if dtype:
            check_choice("clip.dtype", dtype)
        check_choice("data.orientation", orientation)
        config = saved_settings(checkpoint)
        config.update_from_flattened_dict(given)
        # Of the pictures, not of the training.
        reading = Reading(value_range, max_pixels, orientation)
        with config.unlocked():
            config.data = {**config.get("data", {}), **dataclasses.asdict(reading)}
        trained = load_trained(FrozenConfigDict(config), None, frozenset(given))
        return cls(
            trained,
            batch_size=batch_size,
            calibration=calibration,
            min_area=min_area,
            tiles=tiles,
        )

    @classmethod
    def from_config(cls, config: ConfigDict, **options: Any) -> "Detector":
        """The detector of a configuration: of its `checkpoint`, or of no training.

        Args:
            config: as `configs/base.py` lays it out.
            **options: see `Detector`; `tiles` is the configuration's where left out.

        Raises:
            InputError: a wrong setting, or a method that needs training and has none.
        """
        settings = resolve(config)
        options.setdefault("tiles", settings.predict.tiles)
        return cls(load_trained(settings, None), **options)

    def detections(
        self, class_name: str, batches: Iterable[Batch]
    ) -> Iterator[tuple[Batch, Found]]:
        """Run over batches of squared pictures of one class; see `Inference`.

        Raises:
            InputError: this process was forked from the one that made the detector.
        """
        forks.refuse()
        return self._inference.detections([canonical(class_name)], batches)
