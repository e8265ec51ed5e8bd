"""How pictures are read: the settings that are the same for all pictures of a run."""

import numbers
from dataclasses import dataclass

from data_pipelines.errors import DataError
from data_pipelines.pictures.values import AUTO_RANGE, canonical_range

# As many as Pillow's own limit.
MAX_PIXELS = 178_956_970

ORIENTATIONS = ("upright", "stored")

REPLACE = "replace or remove the file"
SKIP_REMEDY = "or skip such files with --config.data.skip_bad_files=True"


@dataclass(frozen=True)
class Reading:
    """What numbers in files mean, and how large a picture may be.

    Attributes:
      value_range: Which values are black and white in pictures that are not of 8 bits:
        `auto` (what the file says), a depth from `8bit` to `16bit`, or `LOW,HIGH`.
      orientation: `upright` turns pictures by their EXIF orientation, `stored` does
        not. A TIFF's and HEIC's is always applied, a catalogue dataset's never.
      max_pixels: A picture of more is refused before it is decoded.
    """

    value_range: str = AUTO_RANGE
    max_pixels: int = MAX_PIXELS
    orientation: str = "upright"

    def __post_init__(self) -> None:
        object.__setattr__(self, "value_range", canonical_range(self.value_range))
        if not isinstance(self.max_pixels, numbers.Real) or not self.max_pixels >= 1:
            raise DataError(
                f"data.max_pixels is {self.max_pixels!r}; allowed are 1 and above"
            )

    @property
    def upright(self) -> bool:
        """Whether a user's pictures are turned by their EXIF orientation."""
        return self.orientation == "upright"

    def identity(self) -> dict[str, str]:
        """The settings that scores depend on, as the configuration calls them."""
        return {
            "data.value_range": self.value_range,
            "data.orientation": self.orientation,
        }

    def changed(self) -> dict[str, str]:
        """Those of `identity` that are not what they were before there were any.

        Orientation is left out: what is turned has another key.
        """
        if self.value_range == AUTO_RANGE:
            return {}
        return {"data.value_range": self.value_range}


DEFAULT_READING = Reading()
