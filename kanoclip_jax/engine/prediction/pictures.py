"""The pictures of predictions on disk: maps, overlays, and a sheet of the highest."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from data_pipelines.errors import DataError
from data_pipelines.pictures import DEFAULT_READING, Reading, read_picture
from kanoclip_jax.engine.prediction.detector import Prediction
from kanoclip_jax.engine.prediction.predictions import Line, printable
from kanoclip_jax.engine.workdir import Workdir
from kanoclip_jax.errors import InputError
from kanoclip_jax.viz.heatmap import overlay
from kanoclip_jax.viz.sheet import Panel, contact_sheet

SHEET = "highest.png"
FOLDERS = ("maps", "overlays")
_TILE = 200
_PER_ROW = 3
_LONGEST_NAME = 150


class Pictures:
    """Writes what is to be looked at.

    Args:
        workdir: the folder of results.
        base: inputs are called by their path from here.
        maps: whether each map is kept,
        overlays: and each picture with its map over it.
        lines: of earlier predictions, whose files keep their names.
        reading: what the numbers of pictures mean.
    """

    def __init__(
        self,
        workdir: Workdir,
        base: Path,
        *,
        maps: bool,
        overlays: bool,
        lines: Iterable[Line] = (),
        reading: Reading = DEFAULT_READING,
    ) -> None:
        self._reading = reading
        self._folder, self._base = workdir.path, base
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
        picture = None
        if self._wanted["overlays"]:
            # Decoded again at its own size: memory stays flat whatever is in a batch.
            picture = np.asarray(read_picture(path, self._reading).image)
            if picture.shape[:2] != found.anomaly_map.shape:
                raise DataError(f"{path} changed while it was read; predict it again")
        written: dict[str, str | None] = {"map": None, "overlay": None}
        try:
            if self._wanted["maps"]:
                written["map"] = f"maps/{stem}.npy"
                half = found.anomaly_map.astype(np.float16)
                np.save(self._folder / written["map"], half)
            if picture is not None:
                written["overlay"] = f"overlays/{stem}.png"
                mask = found.mask if found.label == "anomalous" else None
                laid = overlay(picture, found.anomaly_map, mask=mask)
                Image.fromarray(laid).save(self._folder / written["overlay"])
        except OSError as error:
            raise InputError(
                f"{self._folder} cannot be written to ({error.strerror or error}); "
                "pass another --workdir"
            ) from None
        return written

    def write_sheet(self, lines: Iterable[Line]) -> None:
        """Write the contact sheet of some predictions, as far as their files exist."""
        cells = [cell for line in lines if (cell := self._panels(line))]
        if not cells:
            return
        rows = [
            [panel for cell in cells[start : start + _PER_ROW] for panel in cell]
            for start in range(0, len(cells), _PER_ROW)
        ]
        Image.fromarray(contact_sheet(rows, tile=_TILE)).save(self._folder / SHEET)

    def _panels(self, line: Line) -> list[Panel]:
        files = [Path(line["path"])]
        captions = [
            printable(files[0].name),
            " ".join(filter(None, (f"{line['score']:.3f}", line["label"]))),
        ]
        if line["overlay"]:
            files.append(self._folder / line["overlay"])
        try:
            panels = [Panel(_thumbnail(file, self._reading)) for file in files]
        except DataError:
            return []
        if len(panels) == 1:
            return [Panel(panels[0].image, f"{captions[1]} {captions[0]}")]
        return [Panel(p.image, c) for p, c in zip(panels, captions, strict=True)]

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


def _thumbnail(file: Path, reading: Reading) -> np.ndarray:
    image = read_picture(file, reading).image
    image.thumbnail((_TILE, _TILE), Image.Resampling.LANCZOS)
    return np.asarray(image)
