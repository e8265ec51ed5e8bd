"""What a detector says of pictures, whatever computes their maps and scores.

The package's detector runs a method in JAX, an exported one its file in another
runtime; everything else about them is here, and in what this uses. Nothing of it needs
JAX.
"""

import abc
import dataclasses
import functools
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Bool, Float32
from PIL import Image

from data_pipelines.errors import DataError, reason_of
from data_pipelines.names import canonical
from data_pipelines.pictures.decode import (
    Picture,
    picture_from_array,
    picture_from_image,
    read_picture,
)
from data_pipelines.pictures.reading import DEFAULT_READING, Reading
from kanoclip_jax.engine.prediction.scoring import Found, Scored, Scorer
from kanoclip_jax.engine.prediction.tiles import NEVER, Shrinkage
from kanoclip_jax.errors import InputError
from kanoclip_jax.verdict import NORMAL, Thresholds, label
from kanoclip_jax.viz.regions import Box, Region, find_regions, hottest_box
from kanoclip_jax.viz.scale import Scale, make_scale

Given: TypeAlias = str | os.PathLike | Image.Image | np.ndarray


@dataclass(frozen=True, eq=False)
class Prediction:
    """What was found in one picture.

    Attributes:
        class_name: its name in prompts, as `canonical` writes it.
        score: how anomalous the picture is, in [0, 1]; taken from the map at the
            model's size. Of a picture in windows, the highest of theirs.
        anomaly_map: how anomalous each pixel is, in [0, 1], at the picture's own size.
        thresholds: those of the following, None where there are none: then these are
            None or empty.
        label: `anomalous` where the score is above its threshold, else `normal`.
        mask: of an anomalous picture the pixels above theirs, small regions left out;
            of a normal one nothing. An image threshold of 0 gives it of every picture.
        regions: the connected regions of the mask, the highest score first.
        smallest: side in the picture's pixels of the smallest defect that can be seen:
            that of a patch of the model, along the side that is shrunk more.
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
    smallest: float = 0.0
    warning: str = ""

    @property
    def boxes(self) -> tuple[Box, ...]:
        """`(x, y, width, height)` of each region, in pixels of the picture as read."""
        return tuple(region.box for region in self.regions)

    @property
    def box(self) -> Box | None:
        """Where to look first: the box of the first region, None where there is none.

        Without thresholds, that of the region around the highest score; see
        `hottest_box`.
        """
        if self.thresholds is None:
            return hottest_box(self.anomaly_map)
        return self.boxes[0] if self.regions else None


class Detecting(abc.ABC):
    """Scores pictures; any number of threads may share one.

    Attributes:
        image_size: side of the square that pictures are squashed to.
        patch: side of what the model sees of it as one.
        batch_size: squares that pass at once.
        min_area: regions of fewer pixels are left out.
        tiles: whether large and elongated pictures are scored in windows.
        reading: what the numbers of pictures mean, and how large they may be.
        silent: whether the first nearly black picture is no `UserWarning`.
        identity: what scores depend on besides the picture and its class name.
    """

    image_size: int
    patch: int
    batch_size: int
    min_area: int = 1
    tiles: str = NEVER
    reading: Reading = DEFAULT_READING
    silent: bool = False
    identity: Mapping[str, Any]

    @property
    @abc.abstractmethod
    def calibrated(self) -> tuple[str, ...]:
        """The class names that have thresholds."""

    @abc.abstractmethod
    def named(self, class_name: str | None) -> str:
        """The class that a name, or none, stands for.

        Raises:
            InputError: there is no such class.
        """

    @abc.abstractmethod
    def limits(self, class_name: str) -> Thresholds | None:
        """The thresholds of a class's own."""

    def saturates(self, class_name: str) -> float | None:
        """Where a class's colours saturate; None where no calibration says it."""
        return None

    def scale(self, class_name: str, thresholds: Thresholds | None) -> Scale:
        """Where the colours of a class's pictures begin and end.

        Args:
            class_name: one of its calibrated ones, or any other.
            thresholds: of its pictures; colour begins at that of pixels.
        """
        pixel = thresholds.pixel if thresholds else None
        return make_scale(pixel, self.saturates(class_name) if thresholds else None)

    @abc.abstractmethod
    def detections(
        self, class_name: str, batches: Iterable[Mapping[str, Any]]
    ) -> Iterator[tuple[Mapping[str, Any], Found]]:
        """Run over batches of squared pictures of one class."""

    def predict(
        self,
        images: Given | Sequence[Given],
        class_name: str | None = None,
        threshold: float | tuple[float, float] | None = None,
    ) -> Prediction | list[Prediction]:
        """Predict one picture, or a list or tuple of them.

        Args:
            images: paths, PIL images, or arrays `[h, w]`, `[h, w, 3]` (RGB) or
                `[h, w, 4]`, whose alpha is dropped as everywhere: uint8, uint16 over
                its full range, or any numbers of the detector's `value_range`.
                Floating-point and signed ones are refused without: theirs is
                anybody's guess. EXIF orientation is applied, unless it is told otherwise.
            class_name: what the pictures show, for the prompts; see `named` for None.
            threshold: of images and pixels alike, or a pair of the two; the calibrated
                ones where None.

        Returns:
            One prediction, or a list in the order given.

        Raises:
            DataError: a picture cannot be read or is no picture, or its result is no
                number.
            InputError: an unknown class, or a threshold outside [0, 1].
        """
        if isinstance(images, (list, tuple)):
            return list(self.stream(images, class_name, threshold))
        (found,) = self.stream([images], class_name, threshold)
        return found

    def stream(
        self,
        images: Iterable[Given],
        class_name: str | None = None,
        threshold: float | tuple[float, float] | None = None,
    ) -> Iterator[Prediction]:
        """As `predict`, for any number of pictures: few are in memory at a time."""
        class_name = self.named(class_name)
        limits = self.thresholds(class_name, threshold)
        pictures = (
            (_name(picture, position), _open(picture, position, self.reading))
            for position, picture in enumerate(images)
        )
        for scored in self.score(class_name, pictures):
            if scored.error:
                raise DataError(scored.error)
            self._warn(scored.warning)
            yield self.conclude(scored, class_name, limits)

    def thresholds(
        self,
        class_name: str | None = None,
        threshold: float | Sequence[float] | None = None,
    ) -> Thresholds | None:
        """The thresholds for a class: those given, or its calibrated ones, or None."""
        class_name = self.named(class_name)
        if threshold is None:
            return self.limits(class_name)
        try:
            both = np.asarray(threshold, np.float64).ravel()
        except (TypeError, ValueError):
            both = np.empty(0)
        if both.size not in (1, 2) or not ((both >= 0) & (both <= 1)).all():
            raise InputError(
                f"threshold is {threshold!r}; allowed is a number in [0, 1], or a pair "
                "of them, of images and of pixels"
            )
        return Thresholds(float(both[0]), float(both[-1]))

    def score(
        self, class_name: str, pictures: Iterable[tuple[Any, Picture | str]]
    ) -> Iterator[Scored]:
        """Scores and maps of upright RGB pictures; see `Scorer.score`."""
        scorer = Scorer(
            functools.partial(self.detections, class_name),
            image_size=self.image_size,
            batch_size=self.batch_size,
            tiles=self.tiles,
        )
        return scorer.score(pictures)

    def conclude(
        self, scored: Scored, class_name: str, thresholds: Thresholds | None
    ) -> Prediction:
        """What is said of a picture: its map, and the regions in it."""
        score, anomaly_map = scored.score, scored.anomaly_map
        found = Prediction(
            canonical(class_name),
            score,
            anomaly_map,
            smallest=self.shrinkage().smallest(*anomaly_map.shape),
            warning=scored.warning,
        )
        if thresholds is None:
            return found
        verdict = label(score, thresholds.image)
        # What is normal has no anomalous regions, however bright its brightest spots.
        mask, regions = np.zeros(anomaly_map.shape, bool), ()
        if verdict != NORMAL:
            mask, regions = find_regions(anomaly_map, thresholds.pixel, self.min_area)
        return dataclasses.replace(
            found,
            thresholds=thresholds,
            label=verdict,
            mask=mask,
            regions=regions,
        )

    def outcome(
        self, scored: Scored, class_name: str, thresholds: Thresholds | None
    ) -> Prediction | str:
        """As `conclude`, or why there is nothing to say."""
        try:
            return scored.error or self.conclude(scored, class_name, thresholds)
        except MemoryError as error:
            return reason_of(error, scored.key)

    def _warn(self, warning: str) -> None:
        """Say it of the first picture; each has it in its prediction."""
        if warning and not self.silent:
            self.silent = True
            warnings.warn(f"a picture is {warning}", UserWarning, stacklevel=4)

    def shrinkage(self) -> Shrinkage:
        """A count of what squashing costs the pictures of a run."""
        return Shrinkage(self.image_size, self.patch, self.tiles)


def check_min_area(given: int) -> int:
    """How small a region may be, in pixels.

    Raises:
        InputError: it is no whole number from 1 on.
    """
    if not isinstance(given, (int, np.integer)) or given < 1:
        raise InputError(
            f"min_area is {given!r}; allowed: whole numbers of pixels, 1 and above"
        )
    return given


def _name(picture: Given, position: int) -> str:
    if isinstance(picture, (str, os.PathLike)):
        return os.fspath(picture)
    return f"picture {position}"


def _open(picture: Given, position: int, reading: Reading) -> Picture:
    """An upright RGB image of what a user may give."""
    name = _name(picture, position)
    if isinstance(picture, (str, os.PathLike)):
        return read_picture(picture, reading)
    if isinstance(picture, Image.Image):
        return picture_from_image(picture, name, reading)
    if isinstance(picture, np.ndarray):
        return picture_from_array(picture, name, reading)
    raise DataError(
        f"{name} is a {type(picture).__name__}; allowed are paths, PIL images and "
        "numpy arrays"
    )
