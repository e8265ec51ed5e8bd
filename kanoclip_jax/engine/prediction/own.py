"""Thresholds of the user's own: `predict.threshold` and `predict.pixel_threshold`."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from kanoclip_jax.errors import InputError
from kanoclip_jax.verdict import Thresholds, shown

KEYS = ("predict.threshold", "predict.pixel_threshold")


class Own(NamedTuple):
    """Those that are given; None where the calibrated one holds."""

    image: float | None = None
    pixel: float | None = None

    def over(self, calibrated: Thresholds | None) -> Thresholds | None:
        """The thresholds that hold; None where there are neither.

        Where nothing is calibrated, one that is given serves for both.
        """
        given = [value for value in self if value is not None]
        if not given:
            return calibrated
        image, pixel = calibrated or (given[0], given[-1])
        return Thresholds(
            image if self.image is None else self.image,
            pixel if self.pixel is None else self.pixel,
        )


def read_own(config: Mapping[str, Any]) -> Own:
    """The thresholds that a configuration, maybe an older one, gives.

    Raises:
        InputError: one is no number from 0 to 1.
    """
    predict = config["predict"]
    return Own(*(_read(key, predict.get(key.partition(".")[2], "")) for key in KEYS))


def describe(
    limits: Thresholds, calibrated: Thresholds | None, own: Own, class_name: str
) -> str:
    """What holds, and what it takes the place of, for the terminal."""
    of_class = f"calibrated for {class_name!r}"

    def said(holds: float, given: float | None, former: float | None) -> str:
        if former is None:
            return f"{shown(holds)} (given)"
        if given is None:
            return f"{shown(holds)} ({of_class})"
        return f"{shown(holds)} (given; {shown(former)} is {of_class})"

    image, pixel = map(said, limits, own, calibrated or (None, None))
    if own == Own():
        image = shown(limits.image)
    return f"anomalous is a score above {image}; outlined are pixels above {pixel}"


def _read(key: str, given: str | float) -> float | None:
    if given in ("", None):
        return None
    try:
        value = float(given)
    except (TypeError, ValueError):
        value = -1.0
    if not 0 <= value <= 1:
        raise InputError(
            f"{key} is {given!r}; a number from 0 to 1 is expected, as in "
            f"--config.{key}=0.5, or nothing for the calibrated one"
        )
    return value
