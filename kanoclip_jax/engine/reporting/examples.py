"""A picture of what an evaluation saw: one anomalous image of each class, outlined."""

import itertools
from pathlib import Path

import numpy as np
from jaxtyping import Array
from PIL import Image

from data_pipelines.pipeline import Batch
from data_pipelines.sources import Source
from kanoclip_jax.engine.workdir import file_name
from kanoclip_jax.files import replacing
from kanoclip_jax.viz.sheet import Panel, compare, contact_sheet

_MOST = 24
_PER_ROW = 2
# Neighbouring classes show different kinds of anomalies where kinds are in order.
_STRIDE = 7


class Examples:
    """Collects a few images of a dataset as they pass.

    Args:
        source: the dataset; which images are shown depends on it alone.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._chosen: dict[int, list[Panel]] = {}
        for position, name in enumerate(source.classes[:_MOST]):
            anomalous = [
                i
                for i, entry in enumerate(source.index)
                if entry.class_name == name and entry.label == 1
            ]
            if anomalous:
                self._chosen[anomalous[position * _STRIDE % len(anomalous)]] = []

    def add(
        self,
        batch: Batch,
        row: int,
        anomaly_map: Array | np.ndarray,
        score: float,
    ) -> None:
        """Keep one image of a batch if it is among the chosen."""
        index = int(batch["index"][row])
        if index in self._chosen:
            entry = self._source.index[index]
            self._chosen[index] = compare(
                batch["image"][row],
                batch["mask"][row],
                np.asarray(anomaly_map),
                score,
                f"{entry.class_name}: {entry.defect}",
            )

    def merge(self, other: "Examples") -> None:
        """Take over what another process saw."""
        self._chosen |= {i: panels for i, panels in other._chosen.items() if panels}

    def save(self, folder: Path) -> Path | None:
        """Write the sheet into `folder`; None if there is nothing to show."""
        panels = [panels for panels in self._chosen.values() if panels]
        if not panels:
            return None
        rows = [
            list(itertools.chain.from_iterable(panels[start : start + _PER_ROW]))
            for start in range(0, len(panels), _PER_ROW)
        ]
        path = folder / f"examples-{file_name(self._source.dataset)}.png"
        with replacing(path) as temporary:
            Image.fromarray(contact_sheet(rows, tile=160)).save(temporary, "PNG")
        return path
