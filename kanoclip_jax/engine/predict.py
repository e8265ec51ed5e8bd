"""Prediction on a user's own pictures: scores, maps at their own size, overlays."""

import glob
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import jax
import numpy as np
from ml_collections import FrozenConfigDict
from PIL import Image
from tqdm import tqdm

from data_pipelines.errors import DataError
from data_pipelines.layouts import IMAGE_SUFFIXES
from data_pipelines.pipeline import predict_stream
from data_pipelines.transforms import read_upright
from kanoclip_jax.engine.resize import resize_map
from kanoclip_jax.engine.restore import Trained, load_trained
from kanoclip_jax.engine.sharding import Devices
from kanoclip_jax.engine.step import Inference
from kanoclip_jax.engine.workdir import Workdir
from kanoclip_jax.errors import InputError
from kanoclip_jax.viz.heatmap import overlay
from kanoclip_jax.viz.regions import hottest_box


def main(
    config: FrozenConfigDict, workdir: Path, overrides: frozenset[str] = frozenset()
) -> int:
    """Predict `predict.input`; exit status 1 where some inputs failed."""
    if jax.process_count() > 1:
        raise InputError(
            "predict runs in one process; give each a part of the pictures instead, "
            "with --config.predict.input=LIST.txt"
        )
    paths = find_inputs(config.predict.input)
    folder = Workdir(workdir)
    trained = load_trained(config, folder, overrides)
    writer = _Writer(folder, trained.config, paths)
    temporary = folder.path / "predictions.jsonl.partial"
    folder.path.mkdir(parents=True, exist_ok=True)
    with temporary.open("w", encoding="utf-8") as lines:
        failed = _predict(trained, paths, writer, lines)
    os.replace(temporary, folder.path / "predictions.jsonl")
    print(f"{len(paths) - failed} predicted, {failed} failed: {folder.path}")
    return 1 if failed else 0


def find_inputs(given: str) -> list[Path]:
    """The pictures that `predict.input` names, in a fixed order.

    Args:
        given: an image, a folder (recursive; symlinked folders are not followed), a
            glob, or a text file that lists one path a line.

    Raises:
        InputError: nothing is there.
    """
    if not given:
        raise InputError(
            "predict.input is empty; name an image, a folder, a glob or a list file, "
            "as in --config.predict.input=photos/"
        )
    path = Path(given).expanduser()
    if path.is_dir():
        found = [
            Path(parent) / name
            for parent, _, names in os.walk(path)
            for name in names
            if Path(name).suffix.lower() in IMAGE_SUFFIXES
        ]
    elif path.is_file() and path.suffix.lower() in (".txt", ".lst", ".list"):
        lines = path.read_text(encoding="utf-8").splitlines()
        found = [path.parent / line.strip() for line in lines if line.strip()]
        return found or _nothing(given)
    elif path.is_file():
        return [path]
    else:
        found = [Path(name) for name in glob.glob(str(path), recursive=True)]
        found = [name for name in found if name.is_file()]
    return sorted(found) or _nothing(given)


def _nothing(given: str) -> list[Path]:
    raise InputError(
        f"predict.input {given!r} names no picture; allowed are an image, a folder with "
        f"images ({', '.join(sorted(IMAGE_SUFFIXES))}), a glob or a list file (.txt)"
    )


def _predict(
    trained: Trained, paths: list[Path], writer: "_Writer", lines: TextIO
) -> int:
    """Write a line for each path; returns how many failed."""
    config, method, clip = trained.config, trained.method, trained.clip
    devices = Devices(config.predict.batch_size, "predict.batch_size")
    inference = Inference(method, devices, clip.params, trained.params)
    stream = predict_stream(
        paths,
        image_size=clip.image_size,
        batch_size=config.predict.batch_size,
        workers=config.data.workers,
    )
    class_name = config.predict.class_name.replace("_", " ")
    found = inference.detections([class_name], stream)
    failed = 0
    for batch, (maps, scores, *_) in tqdm(
        found, total=len(stream), desc="predict", unit="batch"
    ):
        for row in np.flatnonzero(batch["is_real"]):
            model_map = np.asarray(maps[row])
            line = writer.record(batch, row, model_map, float(scores[row]))
            failed += "error" in line
            lines.write(json.dumps(line, ensure_ascii=False) + "\n")
        lines.flush()
    return failed


class _Writer:
    """Writes the pictures of a prediction and makes its line."""

    def __init__(
        self, folder: Workdir, config: FrozenConfigDict, paths: list[Path]
    ) -> None:
        self._folder, self._config, self._paths = folder, config.predict, paths
        common = os.path.commonpath([path.absolute().parent for path in paths])
        self._base = Path(common)
        for name in ("maps", "overlays"):
            if config.predict[name]:
                (folder.path / name).mkdir(parents=True, exist_ok=True)

    def record(
        self,
        batch: Mapping[str, np.ndarray],
        row: int,
        model_map: np.ndarray,
        score: float,
    ) -> dict[str, Any]:
        """The line of one input; with its map and overlay on disk."""
        path = self._paths[batch["index"][row]]
        line: dict[str, Any] = {
            "path": str(path),
            "class_name": self._config.class_name,
        }
        try:
            # Decoded again at its own size: memory stays flat whatever is in a batch.
            picture = read_upright(path)
        except DataError as error:
            return line | {"error": str(error)}
        full = resize_map(model_map, *picture.shape[:2])
        stem = self._stem(path)
        map_file = None
        if self._config.maps:
            map_file = f"maps/{stem}.npy"
            np.save(self._folder.path / map_file, full.astype(np.float16))
        if self._config.overlays:
            target = self._folder.path / "overlays" / f"{stem}.png"
            Image.fromarray(overlay(picture, full)).save(target)
        box = [int(edge) for edge in hottest_box(full)]
        return line | {"score": score, "map": map_file, "box": box}

    def _stem(self, path: Path) -> str:
        """A file name that is unique for each input and readable."""
        relative = path.absolute().relative_to(self._base)
        name = "__".join(relative.parts)
        if len(name.encode()) > 150:
            digest = hashlib.sha256(name.encode()).hexdigest()[:16]
            name = f"{name.encode()[-100:].decode(errors='ignore')}-{digest}"
        return name
