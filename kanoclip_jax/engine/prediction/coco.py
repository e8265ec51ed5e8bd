"""Predictions as a COCO file: what annotation tools and pycocotools read."""

import datetime
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from kanoclip_jax.engine.prediction.predictions import Line
from kanoclip_jax.files import replacing
from kanoclip_jax.viz.polygons import trace_region
from kanoclip_jax.viz.run_lengths import decode_region

FILE = "coco.json"
# How regions are written: polygons, which every tool reads, or run lengths, which are
# smaller and which some take for masks; or no file.
POLYGONS, RLE, NEVER = "polygons", "rle", "never"
KINDS = (POLYGONS, RLE, NEVER)


def write_coco(
    folder: Path,
    lines: Callable[[], Iterable[Line]],
    base: Path,
    class_name: str,
    *,
    kind: str,
    upright: bool,
) -> int:
    """Write the regions of predictions as one COCO file, detection's.

    Masks are exact in either kind: those that pycocotools makes of a polygon are the
    region's own pixels, holes included.

    Args:
        folder: of results.
        lines: gives a line of each picture, none that failed, as often as it is asked.
        base: pictures are called by their path from here.
        class_name: of all of them.
        kind: `polygons` or `rle`.
        upright: whether pictures were turned by their EXIF orientation.

    Returns:
        How many regions it has.
    """
    head = {
        "info": _info(base, upright),
        "licenses": [{"id": 0, "name": "", "url": ""}],
        "categories": [{"id": 1, "name": class_name, "supercategory": "anomaly"}],
    }
    count = 0
    with (
        replacing(folder / FILE) as temporary,
        temporary.open("w", encoding="ascii", newline="\n") as file,
    ):
        file.write(json.dumps(head)[:-1])
        file.write(', "images": [')
        file.writelines(_joined(_images(lines(), base)))
        file.write('], "annotations": [')
        for text in _joined(_annotations(lines(), kind)):
            file.write(text)
            count += 1
        file.write("]}\n")
    return count


def _info(base: Path, upright: bool) -> dict[str, Any]:
    today = datetime.date.today()
    turned = (
        "turned upright by their EXIF orientation" if upright else "as they are stored"
    )
    return {
        "description": f"anomalies found by KAnoCLIP-JAX; coordinates are pixels of the "
        f"pictures {turned}, scores are not calibrated probabilities",
        "version": "1.0",
        "url": "",
        "contributor": "",
        "year": today.year,
        "date_created": today.isoformat(),
        "folder": str(base),
    }


def _images(lines: Iterable[Line], base: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, start=1):
        path = Path(line["path"])
        inner = path.relative_to(base) if path.is_relative_to(base) else path
        yield {
            "id": number,
            "file_name": inner.as_posix(),
            "width": line["width"],
            "height": line["height"],
            "license": 0,
            "score": line["score"],
            "label": line["label"],
        }


def _annotations(lines: Iterable[Line], kind: str) -> Iterator[dict[str, Any]]:
    made = 0
    for image, line in enumerate(lines, start=1):
        size = [line["height"], line["width"]]
        for region in line["regions"]:
            made += 1
            yield {
                "id": made,
                "image_id": image,
                "category_id": 1,
                "bbox": region["box"],
                "area": region["area"],
                "segmentation": (
                    {"size": size, "counts": region["rle"]}
                    if kind == RLE
                    else [_polygon(region, line["height"])]
                ),
                "iscrowd": 0,
                "score": region["score"],
            }


def _polygon(region: dict[str, Any], height: int) -> list[int]:
    x, y, *_ = region["box"]
    points = trace_region(decode_region(region["rle"], height, tuple(region["box"])))
    points[::2] = [x + column for column in points[::2]]
    points[1::2] = [y + row for row in points[1::2]]
    return points


def _joined(entries: Iterable[dict[str, Any]]) -> Iterator[str]:
    lead = "\n"
    for entry in entries:
        yield lead + json.dumps(entry)
        lead = ",\n"
