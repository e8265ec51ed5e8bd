"""Contact sheets: rows of captioned pictures in one."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8
from PIL import Image, ImageDraw, ImageFont

from kanoclip_jax.viz.heatmap import outline, overlay

_INK = (32, 32, 32)
_PAPER = (255, 255, 255)


class Panel(NamedTuple):
    """One picture of a sheet and the line under it."""

    image: UInt8[np.ndarray, "h w 3"]
    caption: str = ""


def contact_sheet(
    rows: Sequence[Sequence[Panel]], tile: int = 256, gap: int = 8
) -> UInt8[np.ndarray, "h w 3"]:
    """Lays out rows of pictures on white, each centred in a square of one size.

    Args:
        rows: Panels from left to right, rows from top to bottom; rows may differ in
            length, pictures in size.
        tile: Side of the squares in pixels; the longer side of a picture fills it.
        gap: Space around and between tiles in pixels.

    Returns:
        RGB. A row with a caption has a line of text under its tiles; a caption wider
        than its tile ends in an ellipsis.

    Raises:
        ValueError: there is no panel, or tile is not positive.
    """
    if not any(rows):
        raise ValueError("a contact sheet needs at least one panel; rows is empty")
    if tile < 1:
        raise ValueError(f"tile is {tile}; it must be at least 1 pixel")
    size = max(11, tile // 16)
    font = ImageFont.load_default(size)
    line = size + size // 2
    heights = [tile + (line if any(p.caption for p in row) else 0) for row in rows]
    width = gap + max(len(row) for row in rows) * (tile + gap)
    sheet = Image.new("RGB", (width, gap + sum(heights) + gap * len(rows)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    top = gap
    for row, height in zip(rows, heights, strict=True):
        for column, panel in enumerate(row):
            left = gap + column * (tile + gap)
            _paste(sheet, panel.image, left, top, tile)
            text = _shorten(panel.caption, font, tile)
            place = (left + tile / 2, top + tile + line / 2)
            draw.text(place, text, _INK, font, anchor="mm")
        top += height + gap
    return np.asarray(sheet)


def compare(
    image: UInt8[np.ndarray, "h w 3"],
    mask: Integer[np.ndarray, "h w"] | Bool[np.ndarray, "h w"],
    anomaly_map: Float[np.ndarray, "h w"],
    score: float,
    caption: str = "",
) -> list[Panel]:
    """One row of a sheet: input, outline of the mask, overlay with its score.

    Args:
        image: RGB, `[h, w, 3]`.
        mask: Non-zero on anomalous pixels.
        anomaly_map: Scores in [0, 1] at the size of the image.
        score: The image's score.
        caption: The line under the input.

    Returns:
        Three panels.

    Raises:
        ValueError: sizes differ or a score is NaN.
    """
    return [
        Panel(image, caption),
        Panel(outline(image, mask), "ground truth"),
        Panel(overlay(image, anomaly_map), f"score {score:.2f}"),
    ]


def _paste(
    sheet: Image.Image,
    image: UInt8[np.ndarray, "h w 3"],
    left: int,
    top: int,
    tile: int,
) -> None:
    picture = Image.fromarray(image)
    scale = tile / max(picture.size)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    sheet.paste(picture, (left + (tile - width) // 2, top + (tile - height) // 2))


def _shorten(
    text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int
) -> str:
    """The text, or as much of it as fits with an ellipsis."""
    kept = text
    while kept and font.getlength(kept if kept == text else kept + "…") > width:
        kept = kept[:-1]
    return text if kept == text else kept + "…"
