"""The detector: a trained method that takes any picture and says what is wrong with it."""

import dataclasses
import functools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import jax
import numpy as np
from jaxtyping import Bool, Float32
from ml_collections import ConfigDict, FrozenConfigDict
from PIL import Image

from data_pipelines.errors import DataError
from data_pipelines.pipeline import Batch
from data_pipelines.transforms import read_photograph, upright_photograph
from kanoclip_jax.engine.prediction import tiles as windows
from kanoclip_jax.engine.prediction.calibration import AUTO, find_calibrations
from kanoclip_jax.engine.prediction.scoring import Scored, Scorer
from kanoclip_jax.engine.restore import Trained, load_trained, saved_settings
from kanoclip_jax.engine.settings import check_choice, read_tiles, resolve
from kanoclip_jax.engine.sharding import Devices
from kanoclip_jax.engine.step import Found, Inference
from kanoclip_jax.errors import InputError
from kanoclip_jax.verdict import Thresholds, label
from kanoclip_jax.viz.regions import Box, Region, find_regions

Picture: TypeAlias = str | os.PathLike | Image.Image | np.ndarray


@dataclass(frozen=True, eq=False)
class Prediction:
    """What was found in one picture.

    Attributes:
        class_name: its name in prompts.
        score: how anomalous the picture is, in [0, 1]; taken from the map at the
            model's size. Of a picture in windows, the highest of theirs.
        anomaly_map: how anomalous each pixel is, in [0, 1], at the picture's own size.
        thresholds: those of the following, None where there are none: then these are
            None or empty.
        label: `anomalous` where the score is above its threshold, else `normal`.
        mask: pixels above theirs, whatever the label; small regions left out.
        regions: the connected regions of the mask, the highest score first.
        smallest: side in the picture's pixels of the smallest defect that can be seen:
            that of a patch of the model, along the side that is shrunk more.
    """

    class_name: str
    score: float
    anomaly_map: Float32[np.ndarray, "h w"]
    thresholds: Thresholds | None = None
    label: str | None = None
    mask: Bool[np.ndarray, "h w"] | None = None
    regions: tuple[Region, ...] = ()
    smallest: float = 0.0

    @property
    def boxes(self) -> tuple[Box, ...]:
        """`(left, top, right, bottom)` of each region, right and bottom exclusive."""
        return tuple(region.box for region in self.regions)


class Detector:
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

    Attributes:
        identity: all that scores depend on besides the picture and its class name.
        image_size: side of the square that pictures are squashed to.
        dtype: of the tower's computation.
        tiles: as it is kept.
    """

    def __init__(
        self,
        trained: Trained,
        *,
        batch_size: int = 1,
        calibration: str | os.PathLike = AUTO,
        min_area: int = 1,
        tiles: str | int = windows.NEVER,
        folders: Sequence[Path] = (),
    ) -> None:
        if jax.process_count() > 1:
            raise InputError(
                "a detector runs in one process; give each a part of the pictures "
                "instead, as a list file"
            )
        self.tiles = read_tiles(tiles)
        self.identity = trained.identity(self.tiles)
        self.image_size = trained.method.image_size
        self.dtype = np.dtype(trained.method.clip.module.dtype).name
        self._patch = trained.method.clip.patch
        self._batch_size, self._min_area = batch_size, min_area
        devices = Devices(batch_size, "batch_size")
        self._inference = Inference(trained.method, devices, trained.params)
        beside = trained.checkpoint.parent if trained.checkpoint else None
        self._calibrations = {
            found.class_name: found
            for found in find_calibrations(
                os.fspath(calibration), (*folders, beside), self.identity
            )
        }

    @property
    def calibrated(self) -> tuple[str, ...]:
        """The class names that have thresholds."""
        return tuple(self._calibrations)

    def shrinkage(self) -> windows.Shrinkage:
        """A count of what squashing costs the pictures of a run."""
        return windows.Shrinkage(self.image_size, self._patch, self.tiles)

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
        tiles: str | int = windows.NEVER,
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

        Raises:
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
        config = saved_settings(checkpoint)
        config.update_from_flattened_dict(given)
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

    def predict(
        self,
        images: Picture | Sequence[Picture],
        class_name: str = "object",
        threshold: float | tuple[float, float] | None = None,
    ) -> Prediction | list[Prediction]:
        """Predict one picture, or a list or tuple of them.

        Args:
            images: paths, PIL images, or arrays: uint8 or uint16 `[h, w]`, uint8
                `[h, w, 3]` (RGB) or `[h, w, 4]`, whose alpha is dropped as everywhere.
                Floating-point pixels are refused: their range is anybody's guess.
                EXIF orientation is applied.
            class_name: what the pictures show, for the prompts.
            threshold: of images and pixels alike, or a pair of the two; the calibrated
                ones where None.

        Returns:
            One prediction, or a list in the order given.

        Raises:
            DataError: a picture cannot be read or is no picture, or its result is no
                number.
            InputError: a threshold outside [0, 1].
        """
        if isinstance(images, (list, tuple)):
            return list(self.stream(images, class_name, threshold))
        (found,) = self.stream([images], class_name, threshold)
        return found

    def stream(
        self,
        images: Iterable[Picture],
        class_name: str = "object",
        threshold: float | tuple[float, float] | None = None,
    ) -> Iterator[Prediction]:
        """As `predict`, for any number of pictures: few are in memory at a time."""
        limits = self.thresholds(class_name, threshold)
        pictures = (
            (_name(picture, position), _open(picture, position))
            for position, picture in enumerate(images)
        )
        for scored in self.score(class_name, pictures):
            if scored.error:
                raise DataError(scored.error)
            yield self.conclude(scored, class_name, limits)

    def thresholds(
        self,
        class_name: str = "object",
        threshold: float | tuple[float, float] | None = None,
    ) -> Thresholds | None:
        """The thresholds for a class: those given, or its calibrated ones, or None."""
        if threshold is None:
            found = self._calibrations.get(readable(class_name))
            return found.thresholds if found else None
        both = np.broadcast_to(np.asarray(threshold, np.float64), 2)
        if not ((both >= 0) & (both <= 1)).all():
            raise InputError(
                f"threshold is {threshold}; allowed is a number in [0, 1], or a pair "
                "of them, of images and of pixels"
            )
        return Thresholds(*both.tolist())

    def detections(
        self, class_name: str, batches: Iterable[Batch]
    ) -> Iterator[tuple[Batch, Found]]:
        """Run over batches of squared pictures of one class; see `Inference`."""
        return self._inference.detections([readable(class_name)], batches)

    def score(
        self, class_name: str, pictures: Iterable[tuple[Any, Image.Image | str]]
    ) -> Iterator[Scored]:
        """Scores and maps of upright RGB pictures; see `Scorer.score`."""
        scorer = Scorer(
            functools.partial(self.detections, class_name),
            image_size=self.image_size,
            batch_size=self._batch_size,
            tiles=self.tiles,
        )
        return scorer.score(pictures)

    def conclude(
        self, scored: Scored, class_name: str, thresholds: Thresholds | None
    ) -> Prediction:
        """What is said of a picture: its map, and the regions in it."""
        score, anomaly_map = scored.score, scored.anomaly_map
        found = Prediction(
            readable(class_name),
            score,
            anomaly_map,
            smallest=self.shrinkage().smallest(*anomaly_map.shape),
        )
        if thresholds is None:
            return found
        mask, regions = find_regions(
            found.anomaly_map, thresholds.pixel, self._min_area
        )
        return dataclasses.replace(
            found,
            thresholds=thresholds,
            label=label(score, thresholds.image),
            mask=mask,
            regions=regions,
        )


def readable(class_name: str) -> str:
    """A class's name as prompts have it."""
    return class_name.replace("_", " ")


def _name(picture: Picture, position: int) -> str:
    if isinstance(picture, (str, os.PathLike)):
        return os.fspath(picture)
    return f"picture {position}"


def _open(picture: Picture, position: int) -> Image.Image:
    """An upright RGB image of what a user may give."""
    if isinstance(picture, (str, os.PathLike)):
        return read_photograph(Path(picture))
    name = _name(picture, position)
    if isinstance(picture, Image.Image):
        return upright_photograph(picture, name)
    if not isinstance(picture, np.ndarray):
        raise DataError(
            f"{name} is a {type(picture).__name__}; allowed are paths, PIL images and "
            "numpy arrays"
        )
    deep = picture.dtype == np.uint16 and picture.ndim == 2
    channels = picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] in (3, 4))
    if not (deep or (picture.dtype == np.uint8 and channels)) or not picture.size:
        raise DataError(
            f"{name} is an array of {picture.dtype} and shape {picture.shape}; allowed "
            "are uint8 [h, w], [h, w, 3] (RGB) and [h, w, 4], and uint16 [h, w]"
        )
    return upright_photograph(Image.fromarray(np.ascontiguousarray(picture)), name)
