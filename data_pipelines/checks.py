"""Checks of an image and its mask on disk, by header or by full decoding."""

from data_pipelines.errors import DataError
from data_pipelines.layouts import Item
from data_pipelines.pictures import (
    SKIP_REMEDY,
    Reading,
    decode_picture,
    load_stored,
    read_file,
    read_size,
)


def read_checked(item: Item, needs_mask: bool, reading: Reading) -> tuple[bytes, bytes]:
    """Reads an image and its mask, and decodes both fully.

    Args:
      item: The files.
      needs_mask: Whether an anomalous image must have a mask.
      reading: What the numbers of images mean.

    Returns:
      The encoded image and the encoded mask, `b""` where there is none.

    Raises:
      DataError: a file is unreadable, or the mask is missing or of another size.
    """
    _check_has_mask(item, needs_mask)
    image_bytes = read_file(item.image)
    image = decode_picture(image_bytes, str(item.image), reading).image
    if item.mask is None:
        return image_bytes, b""
    mask_bytes = read_file(item.mask)
    _check_sizes(
        item, image.size, load_stored(mask_bytes, str(item.mask), reading).size
    )
    return image_bytes, mask_bytes


def check_headers(item: Item, needs_mask: bool, reading: Reading) -> None:
    """Does the checks of `read_checked` that need no decoding of pixels."""
    _check_has_mask(item, needs_mask)
    size = read_size(item.image, reading=reading)
    if item.mask is not None:
        _check_sizes(item, size, read_size(item.mask, reading=reading))


def _check_has_mask(item: Item, needs_mask: bool) -> None:
    if needs_mask and item.entry.label == 1 and item.mask is None:
        raise DataError(
            f"{item.image} is anomalous but has no mask ({item.image.stem}_mask.* or "
            f"{item.image.stem}.* in the masks of {item.entry.defect!r}); add it, "
            f"{SKIP_REMEDY}"
        )


def _check_sizes(item: Item, image: tuple[int, int], mask: tuple[int, int]) -> None:
    if image != mask:
        raise DataError(
            f"{item.mask} is {mask[0]}x{mask[1]} px but its image {item.image.name} is "
            f"{image[0]}x{image[1]}; export the mask at the image's size, {SKIP_REMEDY}"
        )
