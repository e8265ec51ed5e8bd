"""HEIC, as phones make it (pillow-heif)."""

from typing import BinaryIO

from PIL import Image

from data_pipelines.errors import DataError
from data_pipelines.pictures.formats import EXTRA
from data_pipelines.pictures.limits import check_pixels, refuse_several
from data_pipelines.pictures.reading import Reading


def read_heic(file: BinaryIO, name: str, reading: Reading) -> Image.Image:
    """Reads the one picture of a HEIC file; it comes upright.

    Raises:
      DataError: pillow-heif is not installed, or it holds several pictures or too large
        a one.
    """
    try:
        import pillow_heif
    except ImportError:
        raise DataError(f"{name} is HEIC, which needs pillow-heif: {EXTRA}") from None
    file.seek(0)
    try:
        found = pillow_heif.open_heif(file, convert_hdr_to_8bit=True)
    except (OSError, ValueError, EOFError, RuntimeError) as error:
        # The library names no format.
        raise ValueError(f"HEIC: {error}") from error
    refuse_several(len(found), name)
    check_pixels(*found.size, name, reading)
    return found.to_pillow()
