"""Checks of an image and its mask on disk, by header or by full decoding."""

from data_pipelines.errors import DataError
from data_pipelines.layouts import Item
from data_pipelines.orientation import Header, Posture, judge_posture, read_header
from data_pipelines.pictures import (
    SKIP_REMEDY,
    Reading,
    decode_picture,
    is_deep,
    load_stored,
    read_file,
)
from data_pipelines.records import Source
from data_pipelines.tally import Tally

# Of a dataset whose pictures are alike, so many say what all are like.
SAMPLE = 24


def read_checked(
    item: Item, needs_mask: bool, reading: Reading, as_stored: bool = True
) -> tuple[bytes, bytes]:
    """Reads an image and its mask, and decodes both fully.

    Args:
      item: The files.
      needs_mask: Whether an anomalous image must have a mask.
      reading: What the numbers of images mean.
      as_stored: Whether the mask must be of the image's size as stored; else
        `check_headers` says what it fits.

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
    mask = load_stored(mask_bytes, str(item.mask), reading)
    if as_stored and image.size != mask.size:
        raise _another_size(item, Header(image.size), mask.size)
    return image_bytes, mask_bytes


def check_headers(
    item: Item, needs_mask: bool, reading: Reading
) -> tuple[Header, Posture | None]:
    """Does the checks of `read_checked` that need no decoding of pixels.

    Returns:
      The image's header, and how its mask may have been drawn, None where it has none.

    Raises:
      DataError: a header is unreadable, or the mask is missing or fits neither the
        picture as stored nor upright.
    """
    _check_has_mask(item, needs_mask)
    image = read_header(item.image, reading)
    if item.mask is None:
        return image, None
    mask = read_header(item.mask, reading)
    posture = judge_posture(image, mask)
    if posture is None:
        raise _another_size(item, image, mask.size)
    return image, posture


def examine(source: Source, most: int | None = SAMPLE) -> str | None:
    """Looks at the values of deep pictures before anything is computed with them.

    Args:
      source: The pictures; those of 8 bits are not decoded.
      most: Look at so many, evenly spread; at all where None.

    Returns:
      How many of them are nearly black or without any contrast, and the first of
      these, in a line; None where there are none.

    Raises:
      DataError: one cannot be decoded, or its range is not known.
    """
    count = min(len(source), most or len(source))
    tally = Tally(f"{source.dataset} that were looked at")
    for number in range(count):
        i = number * len(source) // count
        record = source[i]
        warning = ""
        if is_deep(record["image"]):
            # Orientation plays no part.
            found = decode_picture(record["image"], record["path"], source.reading)
            warning = found.warning
        tally.add(warning, record["path"])
    return tally.said()


def _check_has_mask(item: Item, needs_mask: bool) -> None:
    if needs_mask and item.entry.label == 1 and item.mask is None:
        raise DataError(
            f"{item.image} is anomalous but has no mask ({item.image.stem}_mask.* or "
            f"{item.image.stem}.* in the masks of {item.entry.defect!r}); add it, "
            f"{SKIP_REMEDY}"
        )


def _another_size(item: Item, image: Header, mask: tuple[int, int]) -> DataError:
    sizes = " or ".join(
        dict.fromkeys("{}x{}".format(*size) for size in (image.stored, image.upright))
    )
    return DataError(
        f"{item.mask} is {mask[0]}x{mask[1]} px but its image {item.image.name} is "
        f"{sizes}; export the mask at the image's size, {SKIP_REMEDY}"
    )
