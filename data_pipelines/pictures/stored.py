"""Pixels as files hold them, for masks, whose numbers are not brightness."""

from typing import BinaryIO

import numpy as np
from PIL import Image

from data_pipelines.errors import DataError
from data_pipelines.pictures.decode import REMEDY, identified, naming, nonempty
from data_pipelines.pictures.deep import is_deep_image, read_deep
from data_pipelines.pictures.formats import TIFF, load_whole, name_format
from data_pipelines.pictures.reading import DEFAULT_READING, SKIP_REMEDY, Reading
from data_pipelines.pictures.tiff import Tiff, is_deep_tiff, open_tiff, read_tiff


def load_stored(
    data: bytes | BinaryIO,
    path: str,
    reading: Reading = DEFAULT_READING,
    remedy: str = REMEDY,
) -> Image.Image:
    """Decodes all pixels in the mode and orientation that Pillow gives them.

    For masks, whose numbers are not brightness.

    Raises:
      DataError: see `decode_picture`; of floating-point pixels, too.
    """
    with naming(path, remedy):
        file = nonempty(data, path, remedy)
        if name_format(file) == TIFF:
            image = open_tiff(file, path, reading)
        else:
            image = identified(file, path, reading, remedy)
        load_whole(image)
    if image.mode == "F":
        raise DataError(
            f"{path} holds floating-point pixels; allowed are 8- and 16-bit images: "
            f"convert it, {SKIP_REMEDY}"
        )
    return image


def load_deep_colours(
    data: bytes | BinaryIO, path: str, reading: Reading = DEFAULT_READING
) -> tuple[np.ndarray, int] | None:
    """Decodes colours of more than 8 bits, of which Pillow keeps the high bytes alone.

    For masks, whose small numbers may be class ids.

    Returns:
      Values `[h, w, 3]` as stored, without alpha, and the orientation that
      `load_stored` would have applied; None where the picture is of another kind.

    Raises:
      DataError: see `decode_picture`.
    """
    with naming(path, REMEDY):
        file = nonempty(data, path, REMEDY)
        stored, orientation = None, 1
        if name_format(file) == TIFF:
            found = read_tiff(file, path, reading) if is_deep_tiff(file) else Tiff()
            stored, orientation = found.stored, found.orientation
        elif is_deep_image(file):
            stored = read_deep(file, identified(file, path, reading, REMEDY))
    if stored is None or stored.pixels.ndim != 3:
        return None
    return stored.pixels, orientation
