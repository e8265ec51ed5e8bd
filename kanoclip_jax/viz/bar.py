"""The colour bar of a scale, with its numbers, as a line of a contact sheet."""

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from kanoclip_jax.viz.scale import Scale, lay_over

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

INK = (32, 32, 32)
# Grounds that colours are shown on, as over a light and over a dark picture.
_LIGHT, _DARK = 232, 56
# Of the bar's width, what shows that there is no colour below the beginning.
_BELOW = 0.18
_WIDTH = 11


class Bar(NamedTuple):
    """A scale and what is said of it.

    Attributes:
        scale: None for the absolute one.
        mark: the threshold, which a tick shows; None where there is none.
        name: what the mark is.
    """

    scale: Scale | None
    mark: float | None
    name: str = "threshold"

    @property
    def begin(self) -> str:
        """What stands before the bar."""
        if self.scale is None:
            return "0"
        return f"{self.name} {number(self.scale.begin)}"

    @property
    def end(self) -> str:
        """What stands behind it."""
        if self.scale is not None:
            return number(self.scale.end)
        return "1" if self.mark is None else f"1, {self.name} {number(self.mark)}"


def number(score: float) -> str:
    """A score in as many digits as a reader compares."""
    return f"{score:.4g}"


def draw_bar(
    draw: ImageDraw.ImageDraw,
    sheet: Image.Image,
    bar: Bar,
    right: int,
    middle: int,
    font: Font,
) -> int:
    """Draw a bar between its numbers onto a sheet.

    Args:
        draw: of the sheet.
        sheet: is drawn on.
        bar: what is drawn.
        right: where it ends, in pixels,
        middle: and the height that it is centred at.
        font: of the numbers.

    Returns:
        Where it begins.
    """
    size = int(font.getbbox("0")[3])
    height, width, gap = size + 2, _WIDTH * size, size // 2
    draw.text((right, middle), bar.end, INK, font, anchor="rm")
    left = right - int(font.getlength(bar.end)) - gap - width
    top = middle - height // 2
    sheet.paste(Image.fromarray(_pixels(bar, width, height)), (left, top))
    draw.rectangle((left - 1, top - 1, left + width, top + height), outline=INK)
    tick = _place(bar, width)
    if tick is not None:
        x = left + tick
        draw.line((x, top - 4, x, top + height + 3), INK, 2)
    draw.text((left - gap, middle), bar.begin, INK, font, anchor="rm")
    return left - gap - int(font.getlength(bar.begin))


def _place(bar: Bar, width: int) -> int | None:
    """Where the tick is."""
    if bar.scale is not None:
        return round(_BELOW * width)
    return None if bar.mark is None else round(bar.mark * (width - 1))


def _pixels(bar: Bar, width: int, height: int) -> np.ndarray:
    """The colours as they are over a light and over a dark picture."""
    ground = np.full((height, width, 3), _LIGHT, np.uint8)
    ground[height // 2 :] = _DARK
    scale = bar.scale
    if scale is None:
        scores = np.linspace(0, 1, width)
    else:
        first = round(_BELOW * width)
        # Apart from its beginning by whatever floating point keeps apart.
        scale = Scale(0.25, 0.75)
        above = np.linspace(0.25, 0.75, width - first + 1)[1:]
        scores = np.concatenate([np.zeros(first), above])
    scores = np.broadcast_to(scores.astype(np.float32), (height, width))
    return lay_over(ground, scores, scale)
