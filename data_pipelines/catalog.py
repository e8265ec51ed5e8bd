"""One card per dataset: classes, their names in prompts, counts, licence, citation."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from data_pipelines.errors import DataError
from data_pipelines.textures import EVAL_CLASSES, TRAIN_CLASSES


@dataclass(frozen=True)
class Card:
    """What is published about a dataset.

    Attributes:
      id: Name on the command line and of the folder below the data root.
      title: Name in reports.
      domain: `industrial`, `medical` or `synthetic`.
      classes: Class id to the name used in prompts, in the dataset's order.
      has_masks: Whether anomalous images carry masks.
      counts: Class id to (normal, anomalous) images of the published test split; empty
        where there is none.
      licence: Under which its images may be used.
      citation: What to cite.
      homepage: Where to get it.
    """

    id: str
    title: str
    domain: str
    classes: dict[str, str]
    has_masks: bool
    counts: dict[str, tuple[int, int]]
    licence: str
    citation: str
    homepage: str


_MVTEC = Card(
    id="mvtec",
    title="MVTec AD",
    domain="industrial",
    classes={
        "bottle": "bottle",
        "cable": "cable",
        "capsule": "capsule",
        "carpet": "carpet",
        "grid": "metal grid",
        "hazelnut": "hazelnut",
        "leather": "leather",
        "metal_nut": "metal nut",
        "pill": "pill",
        "screw": "screw",
        "tile": "tile",
        "toothbrush": "toothbrush",
        "transistor": "transistor",
        "wood": "wood",
        "zipper": "zipper",
    },
    has_masks=True,
    counts={
        "bottle": (20, 63),
        "cable": (58, 92),
        "capsule": (23, 109),
        "carpet": (28, 89),
        "grid": (21, 57),
        "hazelnut": (40, 70),
        "leather": (32, 92),
        "metal_nut": (22, 93),
        "pill": (26, 141),
        "screw": (41, 119),
        "tile": (33, 84),
        "toothbrush": (12, 30),
        "transistor": (60, 40),
        "wood": (19, 60),
        "zipper": (32, 119),
    },
    licence="CC BY-NC-SA 4.0",
    citation="Bergmann et al., The MVTec Anomaly Detection Dataset, IJCV 129, 2021",
    homepage="https://www.mvtec.com/company/research/datasets/mvtec-ad",
)

_VISA = Card(
    id="visa",
    title="VisA",
    domain="industrial",
    classes={
        "candle": "candle",
        "capsules": "capsules",
        "cashew": "cashew",
        "chewinggum": "chewing gum",
        "fryum": "fryum",
        "macaroni1": "macaroni",
        "macaroni2": "macaroni",
        "pcb1": "printed circuit board",
        "pcb2": "printed circuit board",
        "pcb3": "printed circuit board",
        "pcb4": "printed circuit board",
        "pipe_fryum": "pipe fryum",
    },
    has_masks=True,
    counts={
        "candle": (100, 100),
        "capsules": (60, 100),
        "cashew": (50, 100),
        "chewinggum": (50, 100),
        "fryum": (50, 100),
        "macaroni1": (100, 100),
        "macaroni2": (100, 100),
        "pcb1": (100, 100),
        "pcb2": (100, 100),
        "pcb3": (101, 100),
        "pcb4": (101, 100),
        "pipe_fryum": (50, 100),
    },
    licence="CC BY 4.0",
    citation="Zou et al., SPot-the-Difference Self-supervised Pre-training for Anomaly "
    "Detection and Segmentation, ECCV 2022",
    homepage="https://github.com/amazon-science/spot-diff",
)


def _textures_card(part: str, classes: dict[str, str]) -> Card:
    return Card(
        id=f"textures_{part}",
        title=f"Procedural textures ({part})",
        domain="synthetic",
        classes=dict(classes),
        has_masks=True,
        counts={},
        licence="generated here; no restrictions beyond this project's licence",
        citation="none",
        homepage="data_pipelines/textures",
    )


CATALOG: dict[str, Card] = {
    card.id: card
    for card in (
        _MVTEC,
        _VISA,
        _textures_card("train", TRAIN_CLASSES),
        _textures_card("eval", EVAL_CLASSES),
    )
}


def find_card(dataset: str) -> Card:
    """Returns a dataset's card; raises DataError naming the nearest id."""
    if dataset not in CATALOG:
        raise DataError(
            f"unknown dataset {dataset!r}; {nearest(dataset, CATALOG)}, or use "
            "folder:PATH for a folder of your own"
        )
    return CATALOG[dataset]


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Says which allowed name is meant, or lists them all where none is near."""
    allowed = tuple(allowed)
    folded = {choice.lower(): choice for choice in allowed}
    close = difflib.get_close_matches(name.lower(), folded, n=1)
    if close:
        return f"the nearest is {folded[close[0]]!r}"
    return f"allowed are {', '.join(allowed)}"


def select_classes(
    dataset: str, wanted: Iterable[str], available: Iterable[str]
) -> tuple[str, ...]:
    """Keeps the wanted classes in the dataset's order, all where none is named.

    Raises:
      DataError: a wanted class that the dataset lacks, naming the nearest.
    """
    wanted, available = tuple(wanted), tuple(available)
    for name in wanted:
        if name not in available:
            raise DataError(
                f"{dataset} has no class {name!r}; {nearest(name, available)}"
            )
    return tuple(name for name in available if not wanted or name in wanted)
