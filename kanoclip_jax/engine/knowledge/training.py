"""What is known of the training classes: records gathered, and their means (eq. 3)."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from ml_collections import FrozenConfigDict

from data_pipelines.masks import decode_mask
from data_pipelines.records import AS_PUBLISHED
from data_pipelines.sources import JoinedSource, Source
from data_pipelines.transforms import decode_image, decode_within
from kanoclip_jax.backbones import Clip
from kanoclip_jax.engine.bars import progress
from kanoclip_jax.errors import InputError
from kanoclip_jax.knowledge.means import CachedEncoder, knowledge_means
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
        image, reading = self._source[self._i]["image"], self._source.reading
        upright = self._source.file_rule(self._i).upright
        return decode_within(image, self.path, side, reading, upright=upright)

    def outlined(
        self, side: int
    ) -> tuple[UInt8[np.ndarray, "side side 3"], UInt8[np.ndarray, "side side"]]:
        """The image and its mask, squashed."""
        record, rule = self._source[self._i], self._source.file_rule(self._i)
        reading = self._source.reading
        return (
            decode_image(record["image"], self.path, side, rule.upright, reading),
            decode_mask(record["mask"], self.path, side, rule.mask),
        )


def topics_of(source: Source) -> list[Topic]:
    """What providers may be asked about: each class, and its anomalous images.

    Those of a join are its parts', under the names that they have there.
    """
    return [
        Topic(
            dataset=part.dataset,
            class_name=name,
            name=part.prompt_names[name],
            pictures=tuple(
                SourcePicture(part, i)
                for i, entry in enumerate(part.index)
                if entry.label == 1 and entry.class_name == name
            ),
        )
        for part in source.parts
        for name in part.classes
    ]


class Knowledge(NamedTuple):
    """What a training learns from.

    Attributes:
        means: unit knowledge mean of each class, in the source's order.
        digest: sha256 of the sentences behind them.
    """

    means: Float[np.ndarray, "c joint"]
    digest: str


def training_knowledge(
    config: FrozenConfigDict, source: Source, clip: Clip
) -> Knowledge:
    """The knowledge of the training classes.

    See `gather_records` for where the sentences come from.
    """
    records = _records_of(config, source)
    means = knowledge_means(
        records,
        source.classes,
        CachedEncoder(clip, knowledge_folder(config)),
        config.knowledge.weighting,
        normalize_each=config.knowledge.normalize_each,
    )
    sentences = sorted(
        [record.class_name, record.source, record.text]
        for record in records
        if record.polarity == "abnormal" and record.class_name in source.classes
    )
    return Knowledge(means, hashlib.sha256(json.dumps(sentences).encode()).hexdigest())


def _records_of(config: FrozenConfigDict, source: Source) -> list[Record]:
    """The sentences of a source's classes; of a join, those of each part by itself."""
    if not isinstance(source, JoinedSource):
        names = {name: source.prompt_names[name] for name in source.classes}
        return gather_records(config, source.dataset, names, source)
    found = []
    ids = {part.dataset for part in source.parts}
    for part, new_names in zip(source.parts, source.names, strict=True):
        names = {name: part.prompt_names[name] for name in part.classes}
        records = gather_records(config, part.dataset, names, part)
        for name, new in new_names.items():
            called = [record for record in records if record.class_name == name]
            # A file of sentences may know another part's class of that name too.
            others = ids - {part.dataset}
            own = [record for record in called if record.dataset not in others]
            found += [
                dataclasses.replace(record, class_name=new) for record in own or called
            ]
    return found


def gather_records(
    config: FrozenConfigDict,
    dataset: str,
    names: Mapping[str, str],
    source: Source | None,
) -> list[Record]:
    """The sentences that training on a dataset would learn from.

    They come from `knowledge.path` or from what is bundled; for a class without an
    image sentence on file, the mask of each anomalous image makes one.

    Args:
        config: the settings.
        dataset: its id.
        names: class ids, with their names in prompts.
        source: the dataset, or None where its masks are not there or not to be read.
    """
    if config.knowledge.path:
        records = read_records(Path(config.knowledge.path).expanduser())
    else:
        records = bundled_records(dataset, names)
    if source is None or not source.has_masks:
        return records
    seen = {r.class_name for r in records if r.source in ("vqa", "template")}
    if not seen.issuperset(source.classes):
        stand_ins = template_records(source, knowledge_folder(config))
        records = records + [r for r in stand_ins if r.class_name not in seen]
    return records


def knowledge_folder(config: FrozenConfigDict) -> Path:
    """Where features of sentences, and sentences of masks, are kept between runs."""
    return Path(config.data.prepared) / "knowledge"


def template_records(source: Source, folder: Path) -> list[Record]:
    """One sentence for each anomalous image, computed from its mask and kept on disk.

    Args:
        source: the training dataset; an evaluation dataset's masks are never read.
        folder: where the sentences are kept, keyed by the source's content.
    """
    anomalous = [i for i, entry in enumerate(source.index) if entry.label == 1]
    digest = hashlib.sha256(source.dataset.encode())
    if changed := source.reading.changed():
        digest.update(json.dumps(changed).encode())
    for i in anomalous:
        digest.update(f"{source.index[i]}{source.key(i)}".encode())
        rule = source.file_rule(i).mask
        if rule != AS_PUBLISHED.mask:
            digest.update(f"{rule.values}{rule.turns}".encode())
    path = folder / f"template-{digest.hexdigest()[:24]}.jsonl"
    provider = TemplateProvider()
    questions = provider.questions(topics_of(source))
    if path.is_file():
        try:
            records = read_records(path)
        except InputError as error:
            print(f"{error}; computed again")
        else:
            if len(records) == len(questions):
                return records
            print(f"{path} lacks sentences; computed again")
    records = []
    with progress("template knowledge", len(questions)) as bar:
        for question in questions:
            text = provider.answer(question)
            records.append(dataclasses.replace(question.draft, text=text))
            bar.update()
    write_records(path, records)
    return records
