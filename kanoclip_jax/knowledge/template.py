"""Image-specific sentences from masks: a VQA answer without a model."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, UInt8
from scipy import ndimage

_ROWS = ("upper", "middle", "lower")
_COLUMNS = ("left", "centre", "right")
_COLOURS = {
    "black": (20, 20, 20),
    "grey": (128, 128, 128),
    "white": (240, 240, 240),
    "red": (200, 40, 40),
    "orange": (230, 140, 40),
    "yellow": (225, 215, 70),
    "green": (60, 150, 60),
    "blue": (50, 90, 190),
    "purple": (130, 60, 150),
    "brown": (110, 70, 40),
    "beige": (215, 195, 160),
    "pink": (230, 150, 170),
}


def describe(
    image: UInt8[np.ndarray, "h w 3"],
    mask: UInt8[np.ndarray, "h w"],
    name: str,
    defect: str,
) -> str:
    """Say what kind of anomaly it is, where, how large, of what shape and colour.

    Args:
        image: the anomalous image.
        mask: nonzero on the anomaly.
        name: the class's name in prompts.
        defect: the kind of anomaly, as its folder is called.

    Returns:
        One sentence that answers the paper's VQA question.
    """
    truth = mask > 0
    kind = defect.replace("_", " ").replace("-", " ")
    if not truth.any():
        return f"The {name} has an anomaly of the kind {kind}."
    parts = ndimage.label(truth, structure=np.ones((3, 3)))[1]
    many = "" if parts == 1 else f" in {parts} separate places"
    return (
        f"The {name} has {_size(truth)} {_shape(truth)} anomaly ({kind}) "
        f"{_place(truth)}{many}, {_colour(image, truth)}."
    )


def _place(truth: np.ndarray) -> str:
    centre = [
        position / length
        for position, length in zip(
            ndimage.center_of_mass(truth), truth.shape, strict=True
        )
    ]
    row, column = (min(int(3 * value), 2) for value in centre)
    if row == column == 1:
        return "in the centre"
    return f"in the {_ROWS[row]} {_COLUMNS[column]}"


def _size(truth: np.ndarray) -> str:
    share = truth.mean()
    for limit, word in ((0.002, "a tiny"), (0.01, "a small"), (0.05, "a medium-sized")):
        if share < limit:
            return word
    return "a large"


def _shape(truth: np.ndarray) -> str:
    points = np.argwhere(truth).astype(np.float64)
    if len(points) < 3:
        return "dot-like"
    spread = np.linalg.eigvalsh(np.cov(points.T) + 1e-9 * np.eye(2))
    elongation = (spread[1] / max(spread[0], 1e-9)) ** 0.5
    for limit, word in ((1.5, "compact"), (3.0, "elongated")):
        if elongation < limit:
            return word
    return "line-like"


def _colour(image: np.ndarray, truth: np.ndarray) -> str:
    reach = max(3, round(0.03 * max(truth.shape)))
    near = ndimage.binary_dilation(truth, iterations=reach) & ~truth
    inside = image[truth].mean(0)
    around = image[near].mean(0) if near.any() else image.mean((0, 1))
    lighter = inside.mean() - around.mean()
    contrast = "as bright as"
    if abs(lighter) > 12:
        contrast = "brighter than" if lighter > 0 else "darker than"
    own, other = _nearest_colour(inside), _nearest_colour(around)
    return f"{own}, {contrast} the {other} surface around it"


def _nearest_colour(rgb: Float[np.ndarray, "3"]) -> str:
    distance: Callable[[str], float] = lambda word: float(
        np.linalg.norm(rgb - np.array(_COLOURS[word]))
    )
    return min(_COLOURS, key=distance)
