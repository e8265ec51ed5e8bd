"""Seeded augmentation of training records: the mosaics of VAND-APRIL-GAN.

Chen et al., «A Zero-/Few-Shot Anomaly Classification and Segmentation Method», 2023;
the draw and the picture follow the public code (MIT), which makes mosaics of MVTec-AD
only, of every fifth record.
"""

from collections.abc import Sequence

import grain
import numpy as np
from jaxtyping import Int64, UInt8

from data_pipelines.masks import decode_mask
from data_pipelines.pictures import decode_picture, square
from data_pipelines.records import Entry, Source

_CELLS = 4


class DrawMosaics(grain.transforms.MapWithIndex):
    """Draws which records of a run make place for a mosaic, and of what.

    Every cell is drawn anew from the record's class: first a kind (`good` counts as
    one), then one of its records. So normal cells are as frequent as those of any one
    defect, and a record may come twice.

    Args:
      index: The source's entries.
      rate: The probability that a record makes place, in [0, 1].
      seed: Any non-negative integer.
    """

    def __init__(self, index: Sequence[Entry], rate: float, seed: int):
        self._rate = rate
        self._seed = seed
        self._classes = tuple(entry.class_name for entry in index)
        kinds: dict[str, dict[str, list[int]]] = {}
        for i, entry in enumerate(index):
            kinds.setdefault(entry.class_name, {}).setdefault(entry.defect, []).append(
                i
            )
        self._kinds = {name: tuple(of.values()) for name, of in kinds.items()}

    def map_with_index(self, index: int, element: int) -> Int64[np.ndarray, "5"]:
        """Draws for one record.

        Args:
          index: Its place in the run, of which and of the seed alone the draw is a
            function: workers, batches and resumption change nothing.
          element: Its number in the source.

        Returns:
          The record's number, then those of the cells row by row, -1 for no mosaic.
        """
        drawn = np.full(1 + _CELLS, -1, np.int64)
        drawn[0] = element
        rng = np.random.default_rng((self._seed, index))
        if rng.random() < self._rate:
            kinds = self._kinds[self._classes[element]]
            for cell in range(1, 1 + _CELLS):
                records = kinds[rng.integers(len(kinds))]
                drawn[cell] = records[rng.integers(len(records))]
        return drawn


def read_mosaic(
    source: Source, cells: Sequence[int], size: int
) -> tuple[UInt8[np.ndarray, "size size 3"], UInt8[np.ndarray, "size size"], str]:
    """Reads four records as one picture and one mask, each at half of the size.

    The public code pastes the pictures at their own size and squashes the whole. Of
    pictures of one size, as in each class of MVTec-AD, that gives the same pixels but
    for a seam of a few between the cells, where it mixes neighbours. Of others it
    cuts off or pads with black what differs from the first; here each is squashed.

    Args:
      source: Where the records come from.
      cells: Their numbers, row by row.
      size: Side of the result in pixels; an even number.

    Returns:
      The picture, the mask of {0, 1}, empty in the cells of normal records, and what is
      to be said of the pictures, if anything.

    Raises:
      DataError: a file is unusable.
    """
    half, warning = size // 2, ""
    image = np.empty((size, size, 3), np.uint8)
    mask = np.empty((size, size), np.uint8)
    for cell, i in enumerate(cells):
        top, left = cell // 2 * half, cell % 2 * half
        here = slice(top, top + half), slice(left, left + half)
        record, rule = source[i], source.file_rule(i)
        found = decode_picture(
            record["image"], record["path"], source.reading, upright=rule.upright
        )
        image[here], warning = square(found.image, half), warning or found.warning
        mask_path = f"the mask of {record['path']}"
        mask[here] = decode_mask(record["mask"], mask_path, half, rule.mask)
    return image, mask, warning
