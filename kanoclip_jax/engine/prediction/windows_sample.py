"""Calibration pictures scored in windows: joined maps at the pictures' own sizes."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32
from ml_collections import FrozenConfigDict

from data_pipelines.pictures import Picture, Reading, decode_picture
from data_pipelines.pipeline import Batch, eval_stream
from data_pipelines.sources import Source
from kanoclip_jax.engine.bars import progress
from kanoclip_jax.engine.prediction.detector import Detector
from kanoclip_jax.engine.prediction.tiles import Shrinkage
from kanoclip_jax.engine.remarks import Remarks
from kanoclip_jax.errors import InputError
from kanoclip_jax.metrics.histograms import PixelHistogram, coarse_counts


class Sample(NamedTuple):
    """What was seen of the calibration pictures.

    Attributes:
        scores: of images,
        labels: 0 normal, 1 anomalous.
        pixels: of the images that pixel thresholds are chosen on,
        counts: of these, normal and anomalous pixels by coarse bin,
        pixel_labels: and what they are.
        shrinkage: what squashing cost them.
        highest: score of any of their maps.
    """

    scores: np.ndarray
    labels: np.ndarray
    pixels: PixelHistogram
    counts: np.ndarray
    pixel_labels: np.ndarray
    shrinkage: Shrinkage
    highest: float


def take_sample_of_windows(
    config: FrozenConfigDict, detector: Detector, source: Source, *, masks: bool
) -> Sample:
    """As `take_sample`, where the detector scores pictures in windows."""
    scores, labels, counts, chosen = [], [], [], []
    pixels, shrinkage, highest = PixelHistogram(), detector.shrinkage(), 0.0
    remarks = Remarks(source.dataset)
    truth = eval_stream(
        source,
        image_size=detector.image_size,
        batch_size=1,
        workers=0,
        with_images=False,
        original_masks=source.has_masks,
    )
    pictures = _pictures(source, detector.reading)
    found = detector.score(config.predict.class_name, pictures)
    with progress("calibrate", len(source)) as bar:
        for scored, batch in zip(found, truth, strict=True):
            if scored.error:
                raise InputError(scored.error)
            # Of unknown labels, all are normal: the folder was named as such.
            label = max(int(batch["label"][0]), 0)
            scores.append(scored.score)
            highest = max(highest, float(scored.anomaly_map.max()))
            labels.append(label)
            if label == 0 or masks:
                regions = _regions(source, batch, scored.anomaly_map)
                pixels.update(scored.anomaly_map, regions)
                counts.append(coarse_counts(scored.anomaly_map, regions))
                chosen.append(label)
            shrinkage.add(*scored.anomaly_map.shape)
            remarks.add(scored.warning, scored.key)
            bar.update()
    remarks.say()
    return Sample(
        np.array(scores, np.float64),
        np.array(labels),
        pixels,
        np.stack(counts),
        np.array(chosen),
        shrinkage,
        highest,
    )


def _pictures(source: Source, reading: Reading) -> Iterator[tuple[str, Picture]]:
    for i, entry in enumerate(source.index):
        upright = source.file_rule(i).upright
        data = source[i]["image"]
        yield entry.path, decode_picture(data, entry.path, reading, upright=upright)


def _regions(
    source: Source, batch: Batch, anomaly_map: np.ndarray
) -> Int32[np.ndarray, "h w"]:
    if not source.has_masks:
        return np.zeros(anomaly_map.shape, np.int32)
    return batch["regions"][0]
