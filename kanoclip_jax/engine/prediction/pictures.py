"""The pictures of predictions on disk: maps and overlays."""

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from data_pipelines.errors import DataError
from data_pipelines.pictures.decode import read_picture
from data_pipelines.pictures.reading import DEFAULT_READING, Reading
from kanoclip_jax.engine.prediction.detecting import Prediction
from kanoclip_jax.engine.prediction.predictions import Line
from kanoclip_jax.errors import InputError
from kanoclip_jax.files import reason, replacing
from kanoclip_jax.verdict import ANOMALOUS
from kanoclip_jax.viz.heatmap import overlay
from kanoclip_jax.viz.scale import Scale

FOLDERS = ("maps", "overlays")
_LONGEST_NAME = 150


class Pictures:
    """Writes what is to be looked at.

    Args:
        folder: of results.
        base: inputs are called by their path from here.
        maps: whether each map is kept,
        overlays: and each picture with its map over it,
        scale: in these colours; None for the absolute scale.
        lines: of earlier predictions, whose files keep their names.
        reading: what the numbers of pictures mean.
    """

    def __init__(
        self,
        folder: Path,
        base: Path,
        *,
        maps: bool,
        overlays: bool,
        scale: Scale | None = None,
        lines: Iterable[Line] = (),
        reading: Reading = DEFAULT_READING,
    ) -> None:
        self._reading, self._scale = reading, scale
        self._folder, self._base = folder, base
        self._wanted = dict(zip(FOLDERS, (maps, overlays), strict=True))
        self._owners: dict[str, str] = {}
        for line in lines:
            for name in FOLDERS:
                file = line.get(name.removesuffix("s"))
                if file:
                    self._owners[Path(file).stem.casefold()] = line["path"]
        for name in FOLDERS:
            if self._wanted[name]:
                (self._folder / name).mkdir(parents=True, exist_ok=True)

    def write(self, path: Path, found: Prediction) -> dict[str, str | None]:
        """Write the map and the overlay of a picture; returns where.

        Raises:
            DataError: the picture is no longer what it was.
            InputError: the folder cannot be written to.
        """
        stem = self._stem(path)
        written = {"map": None, "overlay": self.draw(path, found, stem)}
        if self._wanted["maps"]:
            written["map"] = f"maps/{stem}.npy"
            with self._writing():
                save_array(
                    self._folder / written["map"], found.anomaly_map.astype(np.float16)
                )
        return written

    def draw(self, path: Path, found: Prediction, stem: str) -> str | None:
        """Write the overlay of a picture, where it is wanted; returns where.

        Raises:
            DataError: the picture is no longer what it was.
            InputError: the folder cannot be written to.
        """
        if not self._wanted["overlays"]:
            return None
        # Decoded again at its own size: memory stays flat whatever is in a batch.
        picture = np.asarray(read_picture(path, self._reading).image)
        if picture.shape[:2] != found.anomaly_map.shape:
            raise DataError(f"{path} changed while it was read; predict it again")
        mask = found.mask if found.label == ANOMALOUS else None
        laid = overlay(picture, found.anomaly_map, self._scale, mask)
        with self._writing():
            save_picture(self._folder / f"overlays/{stem}.png", laid)
        return f"overlays/{stem}.png"

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(
                f"{self._folder} cannot be written to ({reason(error)}); "
                "pass another --workdir"
            ) from None

    def _stem(self, path: Path) -> str:
        """A file name that is unique for each input, and readable."""
        inner = path.is_relative_to(self._base)
        relative = path.relative_to(self._base if inner else path.anchor)
        name = "__".join(relative.parts)
        digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
        encoded = os.fsencode(name)
        if len(encoded) > _LONGEST_NAME:
            name = f"{encoded[-100:].decode(errors='ignore')}-{digest}"
        if self._owners.setdefault(name.casefold(), str(path)) != str(path):
            name = f"{name}-{digest}"
            self._owners[name.casefold()] = str(path)
        return name


def save_array(path: Path, array: np.ndarray) -> None:
    """Write a .npy file whole or not at all, as `np.save` does.

    That one hides from the system's error why nothing more could be written.
    """
    array = np.ascontiguousarray(array)
    header = np.lib.format.header_data_from_array_1_0(array)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.write(array.data)


def save_picture(path: Path, pixels: np.ndarray) -> None:
    """Write a PNG file whole or not at all."""
    with replacing(path) as temporary:
        Image.fromarray(pixels).save(temporary, "PNG")
