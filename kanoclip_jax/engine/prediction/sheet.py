"""The contact sheet of predictions: the pictures of the highest scores."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from data_pipelines.errors import DataError
from data_pipelines.names import printable
from data_pipelines.pictures import Reading, read_picture
from kanoclip_jax.engine.prediction.pictures import save_picture
from kanoclip_jax.engine.prediction.predictions import Line
from kanoclip_jax.viz.sheet import Panel, contact_sheet

SHEET = "highest.png"
_TILE = 200
_PER_ROW = 3


def write_sheet(folder: Path, lines: Iterable[Line], reading: Reading) -> None:
    """Write the contact sheet of some predictions, as far as their files exist.

    Args:
        folder: of results.
        lines: of the predictions.
        reading: what the numbers of pictures mean.
    """
    cells = [cell for line in lines if (cell := _panels(folder, line, reading))]
    if not cells:
        return
    rows = [
        [panel for cell in cells[start : start + _PER_ROW] for panel in cell]
        for start in range(0, len(cells), _PER_ROW)
    ]
    save_picture(folder / SHEET, contact_sheet(rows, tile=_TILE))


def _panels(folder: Path, line: Line, reading: Reading) -> list[Panel]:
    files = [Path(line["path"])]
    captions = [
        printable(files[0].name),
        " ".join(filter(None, (f"{line['score']:.3f}", line.get("label")))),
    ]
    if line.get("overlay"):
        files.append(folder / line["overlay"])
    try:
        panels = [Panel(_thumbnail(file, reading)) for file in files]
    except DataError:
        return []
    if len(panels) == 1:
        return [Panel(panels[0].image, f"{captions[1]} {captions[0]}")]
    return [Panel(p.image, c) for p, c in zip(panels, captions, strict=True)]


def _thumbnail(file: Path, reading: Reading) -> np.ndarray:
    image = read_picture(file, reading).image
    image.thumbnail((_TILE, _TILE), Image.Resampling.LANCZOS)
    return np.asarray(image)
