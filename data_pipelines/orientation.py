"""Which way up a picture is: EXIF orientations, and masks that follow them or do not.

A camera may store a picture turned and say so in its EXIF orientation, a number from 1
(as stored) to 8. Labelling tools show the picture upright; code that ignores EXIF does
not. So a mask may have been drawn either way, and only its size can tell, where the
turn is a quarter and the picture no square.
"""

import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

import numpy as np
from jaxtyping import Shaped
from PIL import ExifTags, Image

from data_pipelines.errors import DataError
from data_pipelines.names import name_some
from data_pipelines.notices import warn_once
from data_pipelines.pictures import DEFAULT_READING, Reading, open_file, read_size

MaskOrientation = Literal["auto", "upright", "stored"]

AS_STORED = 1
# Those that exchange width and height.
QUARTERS = frozenset((5, 6, 7, 8))
_INVERSE = {6: 8, 8: 6}
_PNG = b"\x89PNG\r\n\x1a\n"
# Where a PNG file may hold an orientation.
_PNG_TEXTS = (b"XML:com.adobe.xmp", b"Raw profile type ")


class Header(NamedTuple):
    """What is known of a picture before its pixels are decoded.

    Attributes:
      size: Width and height as they are decoded.
      orientation: Its EXIF orientation.
      by_reader: Whether decoding turns it upright, as Pillow's does TIFF files.
    """

    size: tuple[int, int]
    orientation: int = AS_STORED
    by_reader: bool = False

    @property
    def stored(self) -> tuple[int, int]:
        """Width and height as stored."""
        return self._other if self.by_reader else self.size

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height of the picture as it is to be looked at."""
        return self.size if self.by_reader else self._other

    @property
    def _other(self) -> tuple[int, int]:
        return self.size[::-1] if self.orientation in QUARTERS else self.size


class Posture(NamedTuple):
    """What headers say of a picture's orientation and of its mask's.

    Attributes:
      image: The picture's EXIF orientation.
      mask: The mask's own.
      drawn: How the mask was drawn, empty where nothing tells.
      by_reader: Whether the picture is upright however it is read; see `Header`.
    """

    image: int = AS_STORED
    mask: int = AS_STORED
    drawn: str = ""
    by_reader: bool = False


def turn(
    pixels: Shaped[np.ndarray, "h w ..."], orientation: int
) -> Shaped[np.ndarray, "..."]:
    """Turns pixels as stored upright, by their EXIF orientation."""
    if orientation in QUARTERS:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def turn_back(orientation: int) -> int:
    """The orientation that undoes one."""
    return _INVERSE.get(orientation, orientation)


def read_header(file: Path, reading: Reading = DEFAULT_READING) -> Header:
    """Reads a picture's size and orientation without decoding its pixels.

    Args:
      file: The file.
      reading: How large it may be.

    Raises:
      DataError: the file cannot be read or is not an image.
    """
    size = read_size(file, reading=reading)
    try:
        with open_file(file) as data:
            if data.read(len(_PNG)) == _PNG and not _png_has_exif(data):
                return Header(size)
            data.seek(0)
            with Image.open(data) as image:
                by_reader = image.format == "TIFF"
                tags = image.tag_v2 if by_reader else image.getexif()
                found = tags.get(ExifTags.Base.Orientation, AS_STORED)
    # Damaged EXIF data, on which Pillow raises nearly anything, turns nothing.
    except Exception:  # noqa: BLE001
        return Header(size)
    if found not in range(2, 9):
        return Header(size)
    return Header(size, found, by_reader)


def judge_posture(image: Header, mask: Header) -> Posture | None:
    """Says how a mask was drawn, as far as sizes and its own orientation tell.

    Args:
      image: The picture's header.
      mask: The mask's.

    Returns:
      The posture, None where the mask fits the picture neither way.
    """
    if mask.orientation != AS_STORED and mask.upright == image.upright:
        own = AS_STORED if mask.by_reader else mask.orientation
        return Posture(image.orientation, own, "upright", image.by_reader)
    fits = {
        "stored": mask.size == image.stored,
        "upright": mask.size == image.upright,
    }
    if not any(fits.values()):
        return None
    tells = image.orientation != AS_STORED and not all(fits.values())
    drawn = next(way for way in fits if fits[way]) if tells else ""
    return Posture(image.orientation, AS_STORED, drawn, image.by_reader)


def mask_turns(
    postures: Sequence[Posture | None],
    names: Sequence[str],
    *,
    dataset: str,
    upright: bool,
    drawn: MaskOrientation,
) -> list[tuple[int, ...]]:
    """Decides how each mask is to be turned to lie on its picture, and says so.

    Args:
      postures: Of each picture with a mask; None where there is no mask.
      names: The pictures' paths, for messages.
      dataset: The dataset's id, likewise.
      upright: Whether pictures are turned by their orientation.
      drawn: How masks were drawn where neither their size nor they themselves tell;
        `auto` takes what the other masks of the dataset tell, if they agree.

    Returns:
      The orientations to apply one after the other, none where nothing is to be turned.

    Raises:
      DataError: nothing tells how some masks were drawn.
    """
    turned = [i for i, seen in enumerate(postures) if seen and seen.image != AS_STORED]
    told = {i: postures[i].drawn for i in turned if postures[i].drawn}
    unknown = [i for i in turned if i not in told]
    agreed = set(told.values()) if drawn == "auto" else {drawn}
    if unknown and len(agreed) != 1:
        raise DataError(
            f"{dataset}: {len(unknown)} pictures have an EXIF orientation and masks "
            "that fit them as stored as well as turned upright: "
            f"{name_some([names[i] for i in unknown])}; say how the masks were drawn "
            "with --config.data.mask_orientation=upright (on the picture as labelling "
            "tools show it) or stored"
        )
    ways = told | {i: way for i in unknown for way in agreed}
    if turned:
        counts = Counter(ways.values())
        assumed = (
            f" ({len(unknown)} of them fit either way and are taken as "
            f"{' '.join(agreed)}, by --config.data.mask_orientation={drawn})"
            if unknown
            else ""
        )
        warn_once(
            f"{dataset}: of the masks of {len(turned)} pictures with an EXIF "
            f"orientation {counts['upright']} were drawn on the upright picture and "
            f"{counts['stored']} on the pixels as stored{assumed}"
        )
    return [
        () if seen is None else _turns(seen, ways.get(i, ""), upright)
        for i, seen in enumerate(postures)
    ]


def say_turned(dataset: str, names: Sequence[str], upright: bool, total: int) -> None:
    """Says once how many pictures have an orientation, and how they are read."""
    if names:
        how, value = ("turned upright", "upright") if upright else ("left", "stored")
        warn_once(
            f"{dataset}: {len(names)} of {total} pictures have an EXIF orientation and "
            f"are {how} (--config.data.orientation={value}): {name_some(names)}"
        )


def _turns(seen: Posture, drawn: str, upright: bool) -> tuple[int, ...]:
    """From the mask as decoded to the picture as it is read."""
    upright = upright or seen.by_reader
    if drawn == "stored":
        turns = [seen.image] if upright else []
    else:
        turns = [seen.mask, AS_STORED if upright else turn_back(seen.image)]
    return tuple(one for one in turns if one != AS_STORED)


def _png_has_exif(file: BinaryIO) -> bool:
    """Whether a PNG file, read from its first chunk on, holds EXIF or XMP anywhere.

    Pillow would have to decode all pixels to see what stands behind them.
    """
    while len(head := file.read(8)) == 8:
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        if kind == b"eXIf":
            return True
        if kind in (b"iTXt", b"tEXt", b"zTXt"):
            start = file.read(min(length, 32))
            if start.startswith(_PNG_TEXTS):
                return True
            length -= len(start)
        file.seek(length + 4, io.SEEK_CUR)
    return False
