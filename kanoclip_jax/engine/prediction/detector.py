"""The detector: a trained method that takes any picture and says what is wrong with it."""

import dataclasses
import itertools
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import jax
import numpy as np
from jaxtyping import Bool, Float32
from ml_collections import ConfigDict, FrozenConfigDict
from PIL import Image

from data_pipelines.errors import DataError
from data_pipelines.pictures import (
    AUTO_RANGE,
    MAX_PIXELS,
    Reading,
    picture_from_array,
    picture_from_image,
    read_picture,
    square,
)
from data_pipelines.pictures import Picture as Decoded
from data_pipelines.pipeline import Batch
from kanoclip_jax.engine.prediction.calibration import (
    AUTO,
    Thresholds,
    find_calibrations,
)
from kanoclip_jax.engine.resize import resize_map
from kanoclip_jax.engine.restore import Trained, load_trained, saved_settings
from kanoclip_jax.engine.settings import check_choice, reading_of, resolve
from kanoclip_jax.engine.sharding import Devices
from kanoclip_jax.engine.step import Found, Inference
from kanoclip_jax.errors import InputError
from kanoclip_jax.viz.regions import Box, Region, find_regions

Picture: TypeAlias = str | os.PathLike | Image.Image | np.ndarray


@dataclass(frozen=True, eq=False)
class Prediction:
    """What was found in one picture.

    Attributes:
        class_name: its name in prompts.
        score: how anomalous the picture is, in [0, 1]; taken from the map at the
            model's size.
        anomaly_map: how anomalous each pixel is, in [0, 1], at the picture's own size.
        thresholds: those of the following, None where there are none: then these are
            None or empty.
        label: `anomalous` where the score is above its threshold, else `normal`.
        mask: pixels above theirs, whatever the label; small regions left out.
        regions: the connected regions of the mask, the highest score first.
        warning: what is to be said of the picture's values, such as that it is nearly
            black; empty where nothing is.
    """

    class_name: str
    score: float
    anomaly_map: Float32[np.ndarray, "h w"]
    thresholds: Thresholds | None = None
    label: str | None = None
    mask: Bool[np.ndarray, "h w"] | None = None
    regions: tuple[Region, ...] = ()
    warning: str = ""

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
        folders: further places of thresholds, which win over the checkpoint's.
        silent: whether the first nearly black picture is no `UserWarning`.

    Attributes:
        identity: all that scores depend on besides the picture and its class name.
        image_size: side of the square that pictures are squashed to.
        reading: what the numbers of pictures mean, and how large they may be.
    """

    def __init__(
        self,
        trained: Trained,
        *,
        batch_size: int = 1,
        calibration: str | os.PathLike = AUTO,
        min_area: int = 1,
        folders: Sequence[Path] = (),
        silent: bool = False,
    ) -> None:
        if jax.process_count() > 1:
            raise InputError(
                "a detector runs in one process; give each a part of the pictures "
                "instead, as a list file"
            )
        self.identity = trained.identity()
        self.image_size = trained.method.image_size
        self.reading = reading_of(trained.config)
        # A command counts pictures and says it once itself.
        self._warned = silent
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
            trained, batch_size=batch_size, calibration=calibration, min_area=min_area
        )

    @classmethod
    def from_config(cls, config: ConfigDict, **options: Any) -> "Detector":
        """The detector of a configuration: of its `checkpoint`, or of no training.

        Args:
            config: as `configs/base.py` lays it out.
            **options: see `Detector`.

        Raises:
            InputError: a wrong setting, or a method that needs training and has none.
        """
        return cls(load_trained(resolve(config), None), **options)

    def predict(
        self,
        images: Picture | Sequence[Picture],
        class_name: str = "object",
        threshold: float | tuple[float, float] | None = None,
    ) -> Prediction | list[Prediction]:
        """Predict one picture, or a list or tuple of them.

        Args:
            images: paths, PIL images, or arrays `[h, w]`, `[h, w, 3]` (RGB) or
                `[h, w, 4]`, whose alpha is dropped as everywhere: uint8, uint16 over
                its full range, or any numbers of the `value_range` given to `load`.
                Floating-point and signed ones are refused without: theirs is
                anybody's guess.
                EXIF orientation is applied, unless `load` was told otherwise.
            class_name: what the pictures show, for the prompts.
            threshold: of images and pixels alike, or a pair of the two; the calibrated
                ones where None.

        Returns:
            One prediction, or a list in the order given.

        Raises:
            DataError: a picture cannot be read or is no picture.
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
        for batch, found in self.detections(class_name, self._batches(images)):
            for row, (height, width) in enumerate(batch["sizes"]):
                done = self.finish(
                    np.asarray(found.maps[row]),
                    float(found.score[row]),
                    (height, width),
                    class_name,
                    limits,
                )
                yield self._with_warning(done, batch["remarks"][row])

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

    def finish(
        self,
        model_map: Float32[np.ndarray, "s s"],
        score: float,
        size: tuple[int, int],
        class_name: str,
        thresholds: Thresholds | None,
    ) -> Prediction:
        """What is said of a picture: its map at its own size, and regions in it."""
        found = Prediction(readable(class_name), score, resize_map(model_map, *size))
        if thresholds is None:
            return found
        mask, regions = find_regions(
            found.anomaly_map, thresholds.pixel, self._min_area
        )
        return dataclasses.replace(
            found,
            thresholds=thresholds,
            label="anomalous" if score > thresholds.image else "normal",
            mask=mask,
            regions=regions,
        )

    def _with_warning(self, found: Prediction, warning: str) -> Prediction:
        """Say it of the first picture, and of each in its prediction."""
        if warning and not self._warned:
            self._warned = True
            warnings.warn(f"a picture is {warning}", UserWarning, stacklevel=4)
        return dataclasses.replace(found, warning=warning)

    def _batches(self, images: Iterable[Picture]) -> Iterator[Mapping[str, Any]]:
        pictures = enumerate(images)
        while group := list(itertools.islice(pictures, self._batch_size)):
            size = self.image_size
            pixels = np.zeros((self._batch_size, size, size, 3), np.uint8)
            sizes, remarks = [], []
            for row, (position, picture) in enumerate(group):
                found = _open(picture, position, self.reading)
                pixels[row] = square(found.image, size)
                sizes.append((found.image.height, found.image.width))
                remarks.append(found.warning)
            yield {"image": pixels, "sizes": sizes, "remarks": remarks}


def readable(class_name: str) -> str:
    """A class's name as prompts have it."""
    return class_name.replace("_", " ")


def _open(picture: Picture, position: int, reading: Reading) -> Decoded:
    """An RGB image of what a user may give."""
    if isinstance(picture, (str, os.PathLike)):
        return read_picture(picture, reading)
    name = f"picture {position}"
    if isinstance(picture, Image.Image):
        return picture_from_image(picture, name, reading)
    if isinstance(picture, np.ndarray):
        return picture_from_array(picture, name, reading)
    raise DataError(
        f"{name} is a {type(picture).__name__}; allowed are paths, PIL images and "
        "numpy arrays"
    )
