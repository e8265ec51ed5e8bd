"""Cards of the embedded procedural datasets."""

from data_pipelines.catalog.card import Card
from data_pipelines.textures import EVAL_CLASSES, TRAIN_CLASSES


def _textures_card(part: str, classes: dict[str, str]) -> Card:
    return Card(
        id=f"textures_{part}",
        title=f"Procedural textures ({part})",
        description="Painted surfaces with exact defect masks.",
        domain="synthetic",
        classes=dict(classes),
        has_masks=True,
        split="all",
        counts={},
        licence="generated here; no restrictions beyond this project's licence",
        citation="none",
        homepage="data_pipelines/textures",
        size="none: it is painted when it is first used",
    )


CARDS = (
    _textures_card("train", TRAIN_CLASSES),
    _textures_card("eval", EVAL_CLASSES),
)
