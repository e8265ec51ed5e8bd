"""The contact sheet of predictions: the pictures of the highest scores."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from data_pipelines.errors import DataError
from data_pipelines.names import printable
from data_pipelines.pictures import Reading, read_picture
from kanoclip_jax.engine.prediction.pictures import save_picture
from kanoclip_jax.engine.prediction.predictions import Line
from kanoclip_jax.engine.prediction.results import common_folder
from kanoclip_jax.viz.bar import Bar, number
from kanoclip_jax.viz.sheet import Heading, Panel, contact_sheet

SHEET = "highest.png"
_TILE = 200
_PER_ROW = 3


def write_sheet(
    folder: Path, lines: Sequence[Line], reading: Reading, bar: Bar
) -> None:
    """Write the contact sheet of some predictions, as far as their files exist.

    Args:
        folder: of results.
        lines: of the predictions, the highest scores first.
        reading: what the numbers of pictures mean.
        bar: the scale of their colours.
    """
    shown = [
        (line, panels)
        for line, name in zip(lines, _names(lines), strict=True)
        if (panels := _panels(folder, line, name, reading))
    ]
    if not shown:
        return
    cells = [panels for _, panels in shown]
    rows = [
        [panel for cell in cells[start : start + _PER_ROW] for panel in cell]
        for start in range(0, len(cells), _PER_ROW)
    ]
    coloured = any(len(cell) > 1 for cell in cells)
    heading = Heading(_title(shown[0][0], len(cells) > 1), bar if coloured else None)
    sheet = contact_sheet(rows, tile=_TILE, headings={0: heading})
    save_picture(folder / SHEET, sheet)


def _title(line: Line, several: bool) -> str:
    """What the sheet shows, and above which score a picture is anomalous."""
    title = printable(line.get("class_name", "pictures"))
    title += ": highest scores" if several else ": highest score"
    limits = line.get("thresholds")
    return f"{title}; anomalous above {number(limits['image'])}" if limits else title


def _names(lines: Sequence[Line]) -> list[str]:
    """What pictures are called: their paths from the folder that all of them are in.

    Of pictures of one folder its name stands before theirs.
    """
    paths = [Path(line["path"]) for line in lines]
    if not paths:
        return []
    base = common_folder(paths)
    if all(path.parent == base for path in paths):
        base = base.parent
    return [
        printable(os.path.relpath(path, base) if path.is_relative_to(base) else path)
        for path in paths
    ]


def _panels(folder: Path, line: Line, name: str, reading: Reading) -> list[Panel]:
    said = " ".join(filter(None, (f"{line['score']:.3f}", line.get("label"))))
    files = [Path(line["path"])]
    if line.get("overlay"):
        files.append(folder / line["overlay"])
    try:
        images = [_thumbnail(file, reading) for file in files]
    except DataError:
        return []
    if len(images) == 1:
        return [Panel(images[0], f"{name}\n{said}", is_path=True)]
    return [Panel(images[0], name, is_path=True), Panel(images[1], said)]


def _thumbnail(file: Path, reading: Reading) -> np.ndarray:
    image = read_picture(file, reading).image
    image.thumbnail((_TILE, _TILE), Image.Resampling.LANCZOS)
    return np.asarray(image)
