"""What is refused before anything is decoded: huge pictures, and several in one file."""

from data_pipelines.errors import DataError
from data_pipelines.pictures.reading import Reading

# A count of more says «1000 and more»: each costs time.
MOST_PICTURES = 1000


# Of a pixel as stored; one of more counts as several.
_MOST_BYTES = 8


def check_pixels(
    width: int, height: int, name: str, reading: Reading, size: float = 1
) -> None:
    """Refuses what would take too much memory, before anything is decoded.

    Args:
      width: In pixels.
      height: Likewise.
      name: What the picture is, for the message.
      reading: How large it may be.
      size: Bytes of a pixel as stored.
    """
    if width * height * max(1, size / _MOST_BYTES) > reading.max_pixels:
        raise DataError(
            f"{name} has {width}x{height} px, {width * height} in all"
            f"{f' of {size:g} bytes' if size > _MOST_BYTES else ''}; allowed are "
            f"{reading.max_pixels}: cut it in parts, or allow more with "
            "--config.data.max_pixels (max_pixels of a Detector)"
        )


def refuse_several(count: int, name: str) -> None:
    """Refuses a file of several pictures: which of them was meant?"""
    if count > 1:
        many = f"{MOST_PICTURES} and more" if count >= MOST_PICTURES else str(count)
        raise DataError(
            f"{name} holds {many} pictures (pages, frames or slices), and one file is "
            "one picture here; save each as a file of its own"
        )
