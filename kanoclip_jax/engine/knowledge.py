"""What is known of the training classes: records gathered, and their means (eq. 3)."""

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from ml_collections import FrozenConfigDict
from tqdm import tqdm

from data_pipelines.sources import Source
from data_pipelines.transforms import decode_image, decode_mask, decode_within
from kanoclip_jax.clip import Clip
from kanoclip_jax.errors import InputError
from kanoclip_jax.knowledge.features import CachedEncoder, knowledge_means
from kanoclip_jax.knowledge.providers.base import Topic
from kanoclip_jax.knowledge.providers.template import TemplateProvider
from kanoclip_jax.knowledge.store import (
    Record,
    bundled_records,
    read_records,
    write_records,
)


class SourcePicture:
    """An anomalous image of a source, as providers see it; see `Picture`."""

    def __init__(self, source: Source, i: int) -> None:
        self._source, self._i = source, i
        self.path, self.defect = source.index[i].path, source.index[i].defect

    def within(self, side: int) -> UInt8[np.ndarray, "h w 3"]:
        """The image at its own aspect; its mask plays no part."""
        return decode_within(self._source[self._i]["image"], self.path, side)

    def outlined(
        self, side: int
    ) -> tuple[UInt8[np.ndarray, "side side 3"], UInt8[np.ndarray, "side side"]]:
        """The image and its mask, squashed."""
        record = self._source[self._i]
        return (
            decode_image(record["image"], self.path, side),
            decode_mask(record["mask"], self.path, side),
        )


def topics_of(source: Source) -> list[Topic]:
    """What providers may be asked about: each class, and its anomalous images."""
    return [
        Topic(
            dataset=source.dataset,
            class_name=name,
            name=source.prompt_names[name],
            pictures=tuple(
                SourcePicture(source, i)
                for i, entry in enumerate(source.index)
                if entry.label == 1 and entry.class_name == name
            ),
        )
        for name in source.classes
    ]


def training_knowledge(
    config: FrozenConfigDict, source: Source, clip: Clip
) -> Float[np.ndarray, "c joint"]:
    """The unit knowledge mean of each training class, in the source's order."""
    records = training_records(config, source)
    encode = CachedEncoder(clip, Path(config.data.prepared) / "knowledge")
    return knowledge_means(records, source.classes, encode, config.knowledge.weighting)


def training_records(config: FrozenConfigDict, source: Source) -> list[Record]:
    """The sentences to train with.

    They come from `knowledge.path`, or from what is bundled; for a class without an
    image sentence on file, the mask of each anomalous image makes one.
    """
    if config.knowledge.path:
        records = read_records(Path(config.knowledge.path).expanduser())
    else:
        records = bundled_records(source.dataset, source.classes)
    seen = {r.class_name for r in records if r.source in ("vqa", "template")}
    if source.has_masks and not seen.issuperset(source.classes):
        stand_ins = template_records(source, Path(config.data.prepared) / "knowledge")
        records = records + [r for r in stand_ins if r.class_name not in seen]
    return records


def template_records(source: Source, folder: Path) -> list[Record]:
    """One sentence for each anomalous image, computed from its mask and kept on disk.

    Args:
        source: the training dataset; an evaluation dataset's masks are never read.
        folder: where the sentences are kept, keyed by the source's content.
    """
    anomalous = [i for i, entry in enumerate(source.index) if entry.label == 1]
    digest = hashlib.sha256(source.dataset.encode())
    for i in anomalous:
        digest.update(f"{source.index[i]}{source.key(i)}".encode())
    path = folder / f"template-{digest.hexdigest()[:24]}.jsonl"
    if path.is_file():
        try:
            return read_records(path)
        except InputError:
            path.unlink()
    provider = TemplateProvider()
    records = [
        dataclasses.replace(question.draft, text=provider.answer(question))
        for question in tqdm(
            provider.questions(topics_of(source)), desc="template knowledge", unit="img"
        )
    ]
    write_records(path, records)
    return records
