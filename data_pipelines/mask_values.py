"""Which values of a mask are the anomaly.

Masks come as black and white, class ids, palettes, painted transparency, probabilities
and scans of all of these. `auto` takes what a file itself tells:

| the mask is | the anomaly is |
|---|---|
| of 0 and one other value | that value |
| a palette | every index but 0, the background (PASCAL VOC) |
| partly transparent, its paint of one colour | what is above half opaque |
| of 0 and ids up to 31, and maybe 255 | the ids; 255 beside them is void (VOC) |
| grey in between: soft, anti-aliased, re-saved from JPEG | what is above half |
| flat colours on black | every colour |
| JPEG | above half, for it keeps no small values |

What fits several of these with different results is an error that names the setting:
`nonzero` (all that is not black, and not transparent), `half` (above half of the range)
or `ids` (every class id or palette index but 0, and 255 where there are others).
Catalogue datasets keep the rule that published figures were made with, `published`: any
channel above 0, of JPEG masks above 127.
"""

from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Bool, Shaped, UInt8

from data_pipelines.errors import DataError

MaskValues = Literal["auto", "nonzero", "half", "ids"]
# Of catalogue datasets alone.
PUBLISHED = "published"
CHOICES = get_args(MaskValues)

# Names of how a mask was read, for messages.
PLAIN = "by two values"
IDS = "by class ids"
VOID = "by class ids, without 255 (void)"
PALETTE = "by palette index"
PALETTE_VOID = "by palette index, without 255 (void)"
ALPHA = "by opacity"
SOFT = "above half"
COLOURS = "by colour"
LOSSY = "above half of JPEG's range"

_HIGHEST_ID = 31
_VOID = 255
# Fewer levels may be classes as well as steps of a soft edge.
_MANY_LEVELS = 16
# Of the values in doubt, the share that lies in flat areas, as edges do not.
_FLAT = 0.25


class Told(NamedTuple):
    """A mask, and how it was read."""

    mask: Bool[np.ndarray, "h w"]
    how: str


class Palette(NamedTuple):
    """A mask of palette indices.

    Attributes:
      indices: Of each pixel.
      colours: The palette.
    """

    indices: UInt8[np.ndarray, "h w"]
    colours: UInt8[np.ndarray, "n 3"]


def tell_grey(
    values: Shaped[np.ndarray, "h w"], path: str, rule: MaskValues, top: int = 255
) -> Told:
    """Tells the anomaly from the values of one channel.

    Args:
      values: Integers.
      path: The mask's name, for the message.
      rule: The setting.
      top: The highest value that the file's format has.

    Raises:
      DataError: values are negative, or fit several readings.
    """
    levels = _levels(values)
    if levels[0] < 0:
        raise DataError(
            f"{path} holds negative values, from {levels[0]}, and no rule says which "
            "of them are the background; write it with a background of 0"
        )
    if rule == "nonzero":
        return Told(values > 0, "above 0")
    if rule == "half":
        return Told(values > top // 2, SOFT)
    if rule == "ids":
        return _ids(values, levels)
    return _tell(values, levels, path, top, coloured=False)


def tell_palette(palette: Palette, path: str, rule: MaskValues) -> Told:
    """Tells the anomaly from a palette: every index but 0, the background.

    Where all that is used is grey and index 0 black, the greys are the values, as in
    files without a palette. Where another index is black and alone at the border, black
    is the background.

    Raises:
      DataError: the background is not there, or not where one is expected.
    """
    indices, colours = palette
    used = _levels(indices)
    if rule == "ids":
        return _ids(indices, used)
    painted = colours[indices]
    if rule != "auto":
        return _by_colour(painted, path, rule)
    black = used[(colours[used] == 0).all(axis=-1)]
    grey = (painted == painted[..., :1]).all()
    zero_outside = _touches_border(indices == 0)
    if black.size and (grey if 0 in black else not zero_outside):
        return _by_colour(painted, path, rule)
    why = ""
    if used[0] > 0:
        why = "no pixel has the index 0, the background"
    elif not zero_outside:
        why = "its index 0, the background, is nowhere at the border"
    elif black.size and 0 not in black and _touches_border(indices == black[0]):
        why = f"its index 0 is a colour, its index {black[0]} is black"
    if why:
        raise _unclear(f"{path} has a palette, and {why}", "ids", "nonzero")
    told = _ids(indices, used)
    return told._replace(how=PALETTE if told.how == IDS else PALETTE_VOID)


def tell_colours(
    colours: Shaped[np.ndarray, "h w 3"], path: str, rule: MaskValues, top: int = 255
) -> Told:
    """Tells the anomaly from red, green and blue, of values up to `top`."""
    return _by_colour(colours, path, rule, top)


def tell_transparent(
    colours: UInt8[np.ndarray, "h w 3"],
    alpha: UInt8[np.ndarray, "h w"],
    path: str,
    rule: MaskValues,
) -> Told:
    """Tells the anomaly of a mask that has an alpha channel; alpha 0 is background.

    Raises:
      DataError: visible black may be paint as well as background.
    """
    if alpha.min() == alpha.max() > 0:
        return _by_colour(colours, path, rule)
    solid = colours[alpha > 127] if (alpha > 127).any() else colours[alpha > 0]
    if not solid.size or (solid == solid[0]).all():
        return tell_grey(alpha, path, rule)._replace(how=ALPHA)
    if rule == "auto":
        if (solid == 0).all(axis=-1).any():
            raise _unclear(
                f"{path} is transparent in parts, and black beside other colours in "
                "those that are not",
                "nonzero",
            )
        return tell_grey(alpha, path, rule)._replace(how=ALPHA)
    told = _by_colour(colours, path, rule)
    return told._replace(mask=told.mask & (alpha > (127 if rule == "half" else 0)))


def tell_lossy(
    colours: UInt8[np.ndarray, "h w 3"], path: str, rule: MaskValues
) -> Told:
    """Tells the anomaly of a JPEG mask, which rings around edges.

    Raises:
      DataError: it holds low values alone, as class ids do.
    """
    highest = colours.max(axis=-1)
    if rule != "auto":
        return tell_grey(highest, path, rule)
    if 0 < highest.max() <= 127:
        raise _unclear(
            f"{path} is a JPEG file of values up to {highest.max()}, and class ids do not "
            "survive in one (PNG keeps them)",
            "nonzero",
        )
    return Told(highest > 127, LOSSY)


def _by_colour(
    colours: Shaped[np.ndarray, "h w 3"], path: str, rule: MaskValues, top: int = 255
) -> Told:
    highest = colours.max(axis=-1)
    if rule != "auto" or (highest == colours.min(axis=-1)).all():
        return tell_grey(highest, path, rule, top)
    levels = _levels(highest)
    if levels[0] > _HIGHEST_ID:
        if (colours == colours[0, 0]).all():
            return Told(highest > 0, PLAIN)
        raise _unclear(f"{path} has several colours, and none of them is black")
    return _tell(highest, levels, path, top, coloured=True)


def _tell(
    values: Shaped[np.ndarray, "h w"],
    levels: Shaped[np.ndarray, " n"],
    path: str,
    top: int,
    *,
    coloured: bool,
) -> Told:
    """The rule `auto` for one channel of values from 0 on."""
    half = values > top // 2
    positive = levels[levels > 0]
    if levels.size == 1 or (positive.size == 1 and levels[0] == 0):
        return Told(values > 0, PLAIN)
    if levels[0] > 0:
        if levels[0] <= top // 8 and levels[-1] >= top - top // 8:
            return Told(half, SOFT)
        raise _unclear(
            f"{path} holds values from {levels[0]} to {levels[-1]}, and no pixel is 0, "
            "the background",
            *(("half",) if levels[-1] > top // 2 else ()),
        )
    if positive[0] > top // 2:
        return Told(half, PLAIN)
    if not coloured and positive[positive != _VOID].max() <= _HIGHEST_ID:
        return _ids(values, levels)
    doubtful = (values > 0) & ~half
    flat = (doubtful & _is_flat(values)).sum() > _FLAT * doubtful.sum()
    if coloured and flat and positive.size < _MANY_LEVELS:
        return Told(values > 0, COLOURS)
    steps = positive.size < _MANY_LEVELS or _jumps(values, doubtful) > top // 16
    if positive[-1] <= top // 2 or (flat and steps):
        raise _unclear(
            f"{path} holds {levels.size} values from 0 to {levels[-1]}, which may be "
            "class ids as well as a soft mask",
            "ids",
            "half",
        )
    return Told(half, SOFT)


def _ids(values: Shaped[np.ndarray, "h w"], levels: Shaped[np.ndarray, " n"]) -> Told:
    """Every id but 0, and but 255 where there are others."""
    if _VOID in levels and ((levels > 0) & (levels != _VOID)).any():
        return Told((values > 0) & (values != _VOID), VOID)
    return Told(values > 0, IDS)


def _levels(values: Shaped[np.ndarray, "h w"]) -> Shaped[np.ndarray, " n"]:
    if values.dtype == np.uint8:
        return np.flatnonzero(np.bincount(values.ravel(), minlength=256))
    return np.unique(values)


def _is_flat(values: Shaped[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Where a pixel equals its four neighbours."""
    flat = np.ones(values.shape, bool)
    for axis in (0, 1):
        same = np.diff(values.astype(np.int32), axis=axis) == 0
        before, after = [slice(None)] * 2, [slice(None)] * 2
        before[axis], after[axis] = slice(1, None), slice(None, -1)
        flat[tuple(before)] &= same
        flat[tuple(after)] &= same
    return flat


def _jumps(
    values: Shaped[np.ndarray, "h w"], doubtful: Bool[np.ndarray, "h w"]
) -> float:
    """The median of the values in doubt that lie beside the background."""
    zero = np.pad(values == 0, 1)
    beside = zero[:-2, 1:-1] | zero[2:, 1:-1] | zero[1:-1, :-2] | zero[1:-1, 2:]
    found = values[doubtful & beside]
    return float(np.median(found)) if found.size else 0.0


def _touches_border(mask: Bool[np.ndarray, "h w"]) -> bool:
    return bool(
        mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any()
    )


def _unclear(what: str, *rules: MaskValues) -> DataError:
    ways = " or ".join(f"--config.data.mask_values={rule}" for rule in rules)
    say = f", or say what counts with {ways}" if rules else ""
    return DataError(f"{what}; write it with a black background{say}")
