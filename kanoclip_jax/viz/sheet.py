"""Contact sheets: rows of captioned pictures in one, under headings with colour bars."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8
from PIL import Image, ImageDraw, ImageFont

from kanoclip_jax.viz.bar import INK, Bar, Font, draw_bar
from kanoclip_jax.viz.heatmap import outline, overlay
from kanoclip_jax.viz.scale import Scale, is_coloured

_PAPER = (255, 255, 255)


class Panel(NamedTuple):
    """One picture of a sheet and the text under it.

    Attributes:
        image: RGB.
        caption: what stands under it, in one line or several.
        is_path: whether the end of the first line says most: then it is the beginning
            that is cut off.
    """

    image: UInt8[np.ndarray, "h w 3"]
    caption: str = ""
    is_path: bool = False


class Heading(NamedTuple):
    """A line above a row: a text on the left, a colour bar on the right."""

    text: str
    bar: Bar | None = None


def contact_sheet(
    rows: Sequence[Sequence[Panel]],
    tile: int = 256,
    gap: int = 8,
    headings: Mapping[int, Heading] | None = None,
    foot: str = "",
) -> UInt8[np.ndarray, "h w 3"]:
    """Lays out rows of pictures on white, each centred in a square of one size.

    Args:
        rows: Panels from left to right, rows from top to bottom; rows may differ in
            length, pictures in size.
        tile: Side of the squares in pixels; the longer side of a picture fills it.
        gap: Space around and between tiles in pixels.
        headings: Lines above rows, by their numbers. Where there are some, the sheet is
            wide enough for a colour bar.
        foot: A line under all rows; none where empty.

    Returns:
        RGB. A row has as many lines of text under its tiles as its longest caption; a
        line wider than its tile is cut off with an ellipsis.

    Raises:
        ValueError: there is no panel, or tile is not positive.
    """
    if not any(rows):
        raise ValueError("a contact sheet needs at least one panel; rows is empty")
    if tile < 1:
        raise ValueError(f"tile is {tile}; it must be at least 1 pixel")
    headings = headings or {}
    size = max(11, tile // 16)
    font = ImageFont.load_default(size)
    line = size + size // 2
    heading = 2 * size + gap if headings else 0
    heights = [
        (heading if number in headings else 0)
        + tile
        + line * max((len(p.caption.splitlines()) for p in row), default=0)
        for number, row in enumerate(rows)
    ]
    columns = max(len(row) for row in rows)
    width = max(gap + columns * (tile + gap), 42 * size if headings else 0)
    tall = gap + sum(heights) + gap * len(rows) + (line + gap if foot else 0)
    sheet = Image.new("RGB", (width, tall), _PAPER)
    draw = ImageDraw.Draw(sheet)
    top = gap
    for number, (row, height) in enumerate(zip(rows, heights, strict=True)):
        bottom = top + height
        if number in headings:
            _head(draw, sheet, headings[number], gap, top + heading // 2, font)
            top += heading
        for column, panel in enumerate(row):
            left = gap + column * (tile + gap)
            _paste(sheet, panel.image, left, top, tile)
            for below, text in enumerate(panel.caption.splitlines()):
                text = shorten(text, font, tile, from_left=panel.is_path and not below)
                place = (left + tile / 2, top + tile + line * (below + 0.5))
                draw.text(place, text, INK, font, anchor="mm")
        top = bottom + gap
    if foot:
        text = shorten(foot, font, width - 2 * gap)
        draw.text((gap, tall - gap - line / 2), text, INK, font, anchor="lm")
    return np.asarray(sheet)


def compare(
    image: UInt8[np.ndarray, "h w 3"],
    mask: Integer[np.ndarray, "h w"] | Bool[np.ndarray, "h w"],
    anomaly_map: Float[np.ndarray, "h w"],
    scale: Scale | None,
    captions: tuple[str, str],
) -> list[Panel]:
    """Two panels of a sheet: the image with its true outline, and the overlay.

    Args:
        image: RGB, `[h, w, 3]`.
        mask: Non-zero on anomalous pixels; its outline is drawn where there are any.
        anomaly_map: Scores in [0, 1] at the size of the image.
        scale: Of the overlay, whose contour is where colour begins; None for the
            absolute one, without a contour.
        captions: What stands under the two; the first one begins with a path.

    Raises:
        ValueError: sizes differ or a score is NaN.
    """
    found = None if scale is None else is_coloured(anomaly_map, scale)
    return [
        Panel(outline(image, mask), captions[0], is_path=True),
        Panel(overlay(image, anomaly_map, scale, mask=found), captions[1]),
    ]


def _head(
    draw: ImageDraw.ImageDraw,
    sheet: Image.Image,
    heading: Heading,
    gap: int,
    middle: int,
    font: Font,
) -> None:
    room = sheet.width - 2 * gap
    if heading.bar is not None:
        room = draw_bar(draw, sheet, heading.bar, sheet.width - gap, middle, font)
        room -= 3 * gap
    text = shorten(heading.text, font, room)
    draw.text((gap, middle), text, INK, font, anchor="lm")


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


def shorten(text: str, font: Font, width: int, *, from_left: bool = False) -> str:
    """The text, or as much of its beginning or end as fits with an ellipsis."""
    kept, cut = text, text
    while kept and font.getlength(cut) > width:
        kept = kept[1:] if from_left else kept[:-1]
        cut = f"…{kept}" if from_left else f"{kept}…"
    return cut
