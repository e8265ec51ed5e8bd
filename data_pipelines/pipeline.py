"""Grain streams of padded batches for training, evaluation and prediction."""

from collections.abc import Sequence
from pathlib import Path

import grain
import numpy as np

from data_pipelines.augment import DrawMosaics, read_mosaic
from data_pipelines.errors import DataError, reason_of
from data_pipelines.masks import (
    decode_mask,
    decode_original_mask,
    label_regions,
    square_mask,
)
from data_pipelines.orientation import QUARTERS
from data_pipelines.pictures import (
    DEFAULT_READING,
    Reading,
    decode_picture,
    read_picture,
    read_size,
    square,
)
from data_pipelines.records import Source
from data_pipelines.stream import Batch, BatchStream


def steps_per_run(length: int, batch_size: int, epochs: int) -> int:
    """Returns the number of batches of `train_stream`; only the last is padded."""
    return -(-length * epochs // batch_size)


def train_stream(
    source: Source,
    *,
    image_size: int,
    batch_size: int,
    epochs: int,
    seed: int,
    workers: int,
    with_images: bool = True,
    mosaic: float = 0.0,
    part: tuple[int, int] = (0, 1),
) -> grain.DatasetIterator:
    """Streams a source for training, shuffled anew each epoch.

    The order is a function of the seed alone, whatever the number of workers. Epochs
    follow each other without a gap: every image comes exactly `epochs` times, a batch
    may span two epochs, and only the run's last batch is padded. The state of the
    iterator is the number of batches taken, so a run may be resumed bit-exactly, also
    with another number of workers.

    Args:
      source: Where the records come from.
      image_size: Side of images and masks in pixels.
      batch_size: Records per batch.
      epochs: Passes over the source.
      seed: Any non-negative integer.
      workers: Reading processes; 0 reads in threads of this process.
      with_images: False leaves `image` out and decodes masks only, for training on
        cached features.
      mosaic: The probability that four pictures of its class, drawn at random, take
        the place of a record's picture and mask (see `augment`). `label`,
        `class_index` and `index` stay the record's own, as in the public code: the
        label of a mosaic says nothing of its content.
      part: This process and how many share each batch; it gets its rows alone.

    Returns:
      A checkpointable iterator of numpy dicts: `image` uint8 `[b, h, w, 3]`, `mask`
      uint8 `[b, h, w]`, `label`, `class_index` (into `source.classes`) and `index`
      (into `source`) int32 `[b]`, `is_real` bool `[b]`, and with images `warning` str
      `[b]`: what is to be said of their values, if anything. Padding is zeros.

    Raises:
      DataError: a size is not positive, mosaics that cannot be made, or, while
        iterating, a file is unusable.
    """
    _check_positive(
        image_size=image_size,
        batch_size=batch_size,
        epochs=epochs,
        source_length=len(source),
    )
    _check_mosaic(mosaic, image_size, with_images)
    # Grain shuffles epoch e with seed + e: neighbouring seeds would share epochs.
    mixed = int(np.random.SeedSequence(seed).generate_state(1)[0])
    order = grain.MapDataset.range(len(source)).shuffle(mixed).repeat(epochs)
    if mosaic:
        order = order.map_with_index(DrawMosaics(source.index, mosaic, seed))
    load = _LoadRecords(source, image_size, batch_size, part, with_images=with_images)
    return BatchStream(order.batch(batch_size).map(load), workers)


def eval_stream(
    source: Source,
    *,
    image_size: int,
    batch_size: int,
    workers: int,
    indices: Sequence[int] | None = None,
    with_images: bool = True,
    original_masks: bool = False,
    part: tuple[int, int] = (0, 1),
) -> grain.DatasetIterator:
    """Streams a source once and in order for evaluation.

    Args:
      source: Where the records come from.
      image_size: Side of images and masks in pixels.
      batch_size: Records per batch; the last batch is padded.
      workers: Reading processes; 0 reads in threads of this process.
      indices: Which records, in which order; all where None.
      with_images: False leaves `image` out.
      original_masks: Labels the regions of the masks at their own size.
      part: This process and how many share each batch; it gets its rows alone.

    Returns:
      An iterator of the dicts of `train_stream`, plus `regions` int32 `[b, h, w]`:
      the 8-connected regions of each mask numbered from 1 (zeros without a mask), and
      `region_count` int32 `[b]`: how many there are. With
      `original_masks`, `regions` is a list of `b` arrays, each of its mask's own size,
      without a mask of its image's, and empty for padding.

    Raises:
      DataError: a size is not positive, or, while iterating, a file is unusable.
    """
    _check_positive(image_size=image_size, batch_size=batch_size)
    chosen = np.asarray(range(len(source)) if indices is None else indices, np.int64)
    load = _LoadRecords(
        source,
        image_size,
        batch_size,
        part,
        with_images=with_images,
        with_regions=True,
        original_masks=original_masks,
    )
    return BatchStream(
        grain.MapDataset.source(chosen).batch(batch_size).map(load), workers
    )


def predict_stream(
    paths: Sequence[str | Path],
    *,
    image_size: int,
    batch_size: int,
    workers: int,
    reading: Reading = DEFAULT_READING,
) -> grain.DatasetIterator:
    """Streams image files for prediction.

    An unreadable file does not stop the stream: it comes as a zero image with its
    message in `error`.

    Args:
      paths: The image files.
      image_size: Side of the images in pixels.
      batch_size: Files per batch; the last batch is padded.
      workers: Reading processes; 0 reads in threads of this process.
      reading: What the numbers of images mean.

    Returns:
      An iterator of dicts: `image` uint8 `[b, h, w, 3]`, `index` (into `paths`),
      `height` and `width` (of the picture as read) int32 `[b]`, `error` and `warning` str
      `[b]` (empty where there is none) and `is_real` bool `[b]`.

    Raises:
      DataError: a size is not positive.
    """
    _check_positive(image_size=image_size, batch_size=batch_size)
    load = _LoadFiles(tuple(map(str, paths)), image_size, batch_size, reading)
    return BatchStream(
        grain.MapDataset.range(len(paths)).batch(batch_size).map(load), workers
    )


class _LoadRecords(grain.transforms.Map):
    """Turns a batch of record numbers, or of drawn mosaics, into padded arrays."""

    def __init__(
        self,
        source: Source,
        image_size: int,
        batch_size: int,
        part: tuple[int, int],
        *,
        with_images: bool,
        with_regions: bool = False,
        original_masks: bool = False,
    ):
        self._source = source
        self._class_index = {name: i for i, name in enumerate(source.classes)}
        self._size = image_size
        index, count = part
        if batch_size % count:
            raise DataError(f"{count} processes cannot share a batch of {batch_size}")
        self._rows = batch_size // count
        self._first = index * self._rows
        self._with_images = with_images
        self._with_regions = with_regions
        self._original_masks = original_masks

    def map(self, element: np.ndarray) -> Batch:
        b, size = self._rows, self._size
        batch = {
            "mask": np.zeros((b, size, size), np.uint8),
            "label": np.zeros(b, np.int32),
            "class_index": np.zeros(b, np.int32),
            "index": np.zeros(b, np.int32),
            "is_real": np.zeros(b, bool),
        }
        if self._with_images:
            batch["image"] = np.zeros((b, size, size, 3), np.uint8)
        if self._original_masks:
            batch["regions"] = [np.zeros((0, 0), np.int32)] * b
        elif self._with_regions:
            batch["regions"] = np.zeros((b, size, size), np.int32)
            batch["region_count"] = np.zeros(b, np.int32)
        warnings = [""] * b
        for row, drawn in enumerate(element[self._first : self._first + b]):
            i, *cells = np.atleast_1d(drawn).tolist()
            if cells and cells[0] >= 0:
                image, mask, warnings[row] = read_mosaic(self._source, cells, size)
                batch["image"][row], batch["mask"][row] = image, mask
            else:
                warnings[row] = self._read(batch, row, i)
            entry = self._source.index[i]
            batch["label"][row] = entry.label
            batch["class_index"][row] = self._class_index[entry.class_name]
            batch["index"][row] = i
            batch["is_real"][row] = True
        return batch | ({"warning": np.array(warnings)} if self._with_images else {})

    def _read(self, batch: Batch, row: int, i: int) -> str:
        """Reads a record into a row; returns what is to be said of its image."""
        warning = ""
        entry, rule = self._source.index[i], self._source.file_rule(i)
        if self._with_images or self._original_masks:
            record = self._source[i]
            image_bytes, mask_bytes = record["image"], record["mask"]
        else:
            image_bytes, mask_bytes = b"", self._source.mask(i)
        if self._with_images:
            found = decode_picture(
                image_bytes, entry.path, self._source.reading, upright=rule.upright
            )
            batch["image"][row] = square(found.image, self._size)
            warning = found.warning
        mask_path = f"the mask of {entry.path}"
        if not self._original_masks:
            mask = decode_mask(mask_bytes, mask_path, self._size, rule.mask)
            batch["mask"][row] = mask
        elif mask_bytes:
            mask = decode_original_mask(mask_bytes, mask_path, rule.mask)
            batch["mask"][row] = square_mask(mask, self._size)
        else:
            size = read_size(image_bytes, entry.path, self._source.reading)
            shape = size if rule.turned in QUARTERS else size[::-1]
            mask = np.zeros(shape, np.uint8)
        if self._with_regions:
            regions = label_regions(mask)
            batch["regions"][row] = regions
            if "region_count" in batch and mask.any():
                batch["region_count"][row] = regions.max()
        return warning


class _LoadFiles(grain.transforms.Map):
    """Turns a batch of file numbers into a padded batch of upright images."""

    def __init__(
        self,
        paths: tuple[str, ...],
        image_size: int,
        batch_size: int,
        reading: Reading,
    ):
        self._paths = paths
        self._size = image_size
        self._batch_size = batch_size
        self._reading = reading

    def map(self, element: np.ndarray) -> Batch:
        b, size = self._batch_size, self._size
        batch = {
            "image": np.zeros((b, size, size, 3), np.uint8),
            "index": np.zeros(b, np.int32),
            "height": np.zeros(b, np.int32),
            "width": np.zeros(b, np.int32),
            "is_real": np.zeros(b, bool),
        }
        errors, warnings = [""] * b, [""] * b
        for row, i in enumerate(element):
            batch["index"][row] = i
            batch["is_real"][row] = True
            try:
                found = read_picture(self._paths[i], self._reading)
                image = found.image
                batch["image"][row] = square(image, size)
            except (DataError, MemoryError) as error:
                errors[row] = reason_of(error, self._paths[i])
                continue
            batch["height"][row], batch["width"][row] = image.height, image.width
            warnings[row] = found.warning
        return batch | {"error": np.array(errors), "warning": np.array(warnings)}


def _check_positive(**sizes: int) -> None:
    for name, value in sizes.items():
        if value < 1:
            raise DataError(f"{name} is {value}; allowed are 1 and above")


def _check_mosaic(mosaic: float, image_size: int, with_images: bool) -> None:
    if not 0 <= mosaic <= 1:
        raise DataError(f"mosaic is {mosaic}; allowed is a probability, from 0 to 1")
    if mosaic and image_size % 2:
        raise DataError(
            f"mosaic is {mosaic} and image_size {image_size}, which has no half; use "
            "an even one, or mosaic=0"
        )
    if mosaic and not with_images:
        raise DataError(
            f"mosaic is {mosaic}, but cached features are of whole pictures; use "
            "mosaic=0, or read pictures with --config.train.cache_features=never"
        )
