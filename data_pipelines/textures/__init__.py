"""The embedded dataset: procedural surfaces and defects with exact masks, from a seed.

Training and evaluation share neither a surface nor all kinds of defects, so that what
is measured is transfer. Nothing is downloaded; the pictures are free of any licence.
"""

import io
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from data_pipelines.errors import DataError
from data_pipelines.textures import fibrous, manufactured, mineral
from data_pipelines.textures.defects import KINDS, damage
from data_pipelines.textures.fields import light, make_plane

Split = Literal["train", "eval"]

_SURFACES = {
    paint.__name__: paint
    for paint in (
        fibrous.weave,
        fibrous.corduroy,
        fibrous.plaid,
        fibrous.wood,
        fibrous.knit,
        fibrous.zigzag,
        mineral.marble,
        mineral.granite,
        mineral.concrete,
        mineral.leather,
        mineral.terrazzo,
        mineral.cork,
        manufactured.brushed,
        manufactured.tiles,
        manufactured.dots,
        manufactured.perforated,
        manufactured.mesh,
        manufactured.honeycomb,
        manufactured.tread,
    )
}

TRAIN_CLASSES = {
    "weave": "woven fabric",
    "corduroy": "corduroy",
    "plaid": "plaid cloth",
    "wood": "wood",
    "marble": "marble",
    "granite": "granite",
    "concrete": "concrete",
    "brushed": "brushed metal",
    "tiles": "ceramic tiles",
    "dots": "dotted paper",
    "perforated": "perforated sheet",
}
"""Surfaces to train on: id → name in prompts."""

EVAL_CLASSES = {
    "knit": "knitted wool",
    "zigzag": "zigzag cloth",
    "leather": "leather",
    "terrazzo": "terrazzo",
    "cork": "cork",
    "mesh": "wire mesh",
    "honeycomb": "honeycomb panel",
    "tread": "tread plate",
}
"""Surfaces to evaluate on: id → name in prompts."""

TRAIN_DEFECTS = (
    "scratch",
    "hole",
    "stain",
    "crack",
    "bump",
    "discolouration",
    "thread",
    "missing",
)
EVAL_DEFECTS = (
    "scratch",
    "hole",
    "stain",
    "crack",
    "cut",
    "smear",
    "burn",
    "corrosion",
)
SIZE = 128
"""Side of a picture in pixels, unless asked otherwise."""

_SPLITS = {
    "train": (TRAIN_CLASSES, TRAIN_DEFECTS),
    "eval": (EVAL_CLASSES, EVAL_DEFECTS),
}


def render(
    class_id: str, defect: str | None, seed: int | Sequence[int], size: int = SIZE
) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
    """One picture and its mask, a pure function of the arguments.

    Args:
        class_id: a key of `TRAIN_CLASSES` or `EVAL_CLASSES`.
        defect: a member of `TRAIN_DEFECTS` or `EVAL_DEFECTS`, or None for a flawless
            picture.
        seed: non-negative; with the same seed, the flawless and the damaged picture are
            equal wherever the mask is 0.
        size: side in pixels.

    Returns:
        The picture, and 1 where the defect altered it.

    Raises:
        DataError: an unknown class or defect.
    """
    _check("class", class_id, _SURFACES)
    if defect is not None:
        _check("defect", defect, KINDS)
    entropy = [seed] if isinstance(seed, int) else [int(s) for s in seed]
    entropy.append(zlib.crc32(class_id.encode()))
    rng = np.random.default_rng([*entropy, 0])
    clean = light(_SURFACES[class_id](make_plane(rng, size)), rng)
    mask = np.zeros((size, size), bool)
    if defect is not None:
        clean, mask = damage(clean, defect, np.random.default_rng([*entropy, 1]))
    return np.round(clean * 255).astype(np.uint8), mask.astype(np.uint8)


def generate(
    split: Split,
    *,
    seed: int = 0,
    normal_per_class: int = 32,
    anomalous_per_class: int = 32,
    size: int = SIZE,
) -> Iterator[dict[str, Any]]:
    """The records of one split, class by class, flawless ones first.

    Args:
        split: `train` or `eval`.
        seed: of the whole split; any record depends on it, on its class, its defect and
            its number only.
        normal_per_class: flawless pictures of each class.
        anomalous_per_class: damaged pictures of each class, the defects in turn.
        size: side in pixels.

    Yields:
        `image` and `mask` as PNG bytes (`b""` for a flawless picture's mask, otherwise
        255 where altered), `label`, `class_name`, `defect` (`good` if none) and `path`
        in MVTec-AD's manner.

    Raises:
        DataError: an unknown split.
    """
    classes, defects = _split(split)
    for class_id in classes:
        kinds = [None] * normal_per_class
        kinds += [defects[i % len(defects)] for i in range(anomalous_per_class)]
        numbers: dict[str | None, int] = {}
        for kind in kinds:
            number = numbers[kind] = numbers.get(kind, -1) + 1
            name = kind or "good"
            where = (seed, zlib.crc32(f"{split}/{name}".encode()), number)
            image, mask = render(class_id, kind, where, size)
            yield {
                "image": _png(image),
                "mask": _png(mask * np.uint8(255)) if kind else b"",
                "label": int(kind is not None),
                "class_name": class_id,
                "defect": name,
                "path": f"{class_id}/test/{name}/{number:03d}.png",
            }


def count(
    split: Split, *, normal_per_class: int = 32, anomalous_per_class: int = 32
) -> int:
    """How many records `generate` yields for the same arguments."""
    return len(_split(split)[0]) * (normal_per_class + anomalous_per_class)


def _png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def _split(split: str) -> tuple[dict[str, str], tuple[str, ...]]:
    _check("split", split, _SPLITS)
    return _SPLITS[split]


def _check(what: str, value: str, allowed: dict[str, Any]) -> None:
    if value not in allowed:
        raise DataError(
            f"no {what} {value!r} among the procedural textures; "
            f"use one of {', '.join(allowed)}"
        )
