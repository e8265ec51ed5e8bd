"""Pictures in files and arrays: which are read, and what the numbers in them mean.

It needs numpy and Pillow, for TIFF tifffile, and where they are installed pydicom and
pillow-heif; nothing here imports JAX, grain or scipy, so that a runner without them can
take these modules along.
"""

from data_pipelines.pictures.decode import (
    Picture,
    decode_picture,
    is_deep,
    picture_from_array,
    picture_from_image,
    read_picture,
    read_size,
    square,
)
from data_pipelines.pictures.files import open_file, read_file
from data_pipelines.pictures.formats import IMAGE_SUFFIXES
from data_pipelines.pictures.reading import (
    DEFAULT_READING,
    MAX_PIXELS,
    REPLACE,
    SKIP_REMEDY,
    Reading,
)
from data_pipelines.pictures.stored import load_deep_colours, load_stored
from data_pipelines.pictures.values import AUTO_RANGE, canonical_range

__all__ = [
    "AUTO_RANGE",
    "DEFAULT_READING",
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "REPLACE",
    "SKIP_REMEDY",
    "Picture",
    "Reading",
    "canonical_range",
    "decode_picture",
    "is_deep",
    "load_deep_colours",
    "load_stored",
    "open_file",
    "picture_from_array",
    "picture_from_image",
    "read_file",
    "read_picture",
    "read_size",
    "square",
]
