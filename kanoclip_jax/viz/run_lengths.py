"""Regions as COCO's run lengths: down the columns, packed into a short text."""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Bool

from kanoclip_jax.viz.regions import Box, Region, label_runs

# Of a number, so many bits a letter; a letter's other bits say whether more follow, and
# whether the number is negative.
_BITS, _MORE, _SIGN, _FIRST = 5, 0x20, 0x10, 48


def encode_regions(
    mask: Bool[np.ndarray, "h w"], regions: Iterable[Region]
) -> list[str]:
    """The run lengths of regions, each over the whole picture.

    Args:
        mask: of `find_regions`.
        regions: some of those that it gives with it.

    Returns:
        Of each the `counts` of COCO's compressed RLE, as pycocotools writes them.
    """
    # Rows of what is turned over are columns.
    columns = label_runs(mask.T)
    if not len(columns.owner):
        return []
    order, bounds = columns.grouped()
    # No two regions have one box: whatever reaches all four of its sides would cross.
    place = {
        (x, y, width, height): slice(start, end)
        for (y, x, height, width), start, end in zip(
            columns.boxes(order, bounds),
            bounds.tolist(),
            [*bounds[1:].tolist(), len(order)],
            strict=True,
        )
    }
    height = mask.shape[0]
    starts = columns.row * height + columns.left
    ends = columns.row * height + columns.right
    texts = []
    for region in regions:
        own = order[place[region.box]]
        texts.append(pack(_counts(starts[own], ends[own], mask.size)))
    return texts


def _counts(starts: np.ndarray, ends: np.ndarray, size: int) -> list[int]:
    """Lengths of what is outside and inside in turn, from the first pixel on."""
    # A run may go on at the top of the next column.
    apart = starts[1:] != ends[:-1]
    starts, ends = starts[np.r_[True, apart]], ends[np.r_[apart, True]]
    edges = np.stack([starts, ends], axis=1).ravel()
    counts = np.diff(edges, prepend=0).tolist()
    return [*counts, size - int(edges[-1])] if edges[-1] < size else counts


def decode_region(text: str, height: int, box: Box) -> Bool[np.ndarray, "bh bw"]:
    """A region's pixels within its box.

    Args:
        text: of `encode_regions`.
        height: of the picture.
        box: of the region.
    """
    x, y, width, rows = box
    edges = np.cumsum(unpack(text))
    # What follows the last pixel of a region is outside.
    starts, ends = edges[: len(edges) // 2 * 2].reshape(-1, 2).T
    first = (starts // height - x) * rows + starts % height - y
    flips = np.zeros(width * rows + 1, np.int8)
    flips[first] += 1
    flips[first + ends - starts] -= 1
    return np.cumsum(flips[:-1]).astype(bool).reshape(width, rows).T


def pack(counts: Sequence[int]) -> str:
    """Run lengths as COCO packs them: from the fourth on, what each differs by.

    It differs from the one before the last, which is of the same kind.
    """
    letters = []
    for place, count in enumerate(counts):
        left = count - counts[place - 2] if place > 2 else count
        more = True
        while more:
            bits = left & 0x1F
            left >>= _BITS
            more = left != (-1 if bits & _SIGN else 0)
            letters.append(chr((bits | _MORE if more else bits) + _FIRST))
    return "".join(letters)


def unpack(text: str) -> list[int]:
    """The opposite of `pack`."""
    counts: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - _FIRST
        value |= (bits & 0x1F) << shift
        shift += _BITS
        if bits & _MORE:
            continue
        if bits & _SIGN:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    return counts
