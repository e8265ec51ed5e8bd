"""What is known of the training classes: records gathered, and their means (eq. 3)."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float
from ml_collections import FrozenConfigDict
from tqdm import tqdm

from data_pipelines.sources import Source
from data_pipelines.transforms import decode_image, decode_mask
from kanoclip_jax.clip import Clip
from kanoclip_jax.errors import InputError
from kanoclip_jax.knowledge import template
from kanoclip_jax.knowledge.features import CachedEncoder, knowledge_means
from kanoclip_jax.knowledge.store import (
    Record,
    bundled_records,
    read_records,
    write_records,
)

# Where an anomaly is and how it looks is read at this size, in pixels.
_LOOK = 256


def training_knowledge(
    config: FrozenConfigDict, source: Source, clip: Clip
) -> Float[np.ndarray, "c joint"]:
    """The unit knowledge mean of each training class, in the source's order.

    See `gather_records` for where the sentences come from.
    """
    names = {name: source.prompt_names[name] for name in source.classes}
    return knowledge_means(
        gather_records(config, source.dataset, names, source),
        source.classes,
        CachedEncoder(clip, knowledge_folder(config)),
        config.knowledge.weighting,
        normalize_each=config.knowledge.normalize_each,
    )


def gather_records(
    config: FrozenConfigDict,
    dataset: str,
    names: Mapping[str, str],
    source: Source | None,
) -> list[Record]:
    """The sentences that training on a dataset would learn from.

    Language sentences come from `knowledge.path` or from what is bundled; where no
    image sentence is on file, the mask of each anomalous image makes one.

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
    on_file = any(record.source in ("vqa", "template") for record in records)
    if source is not None and source.has_masks and not on_file:
        records = records + template_records(source, knowledge_folder(config))
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
    for i in anomalous:
        digest.update(f"{source.index[i]}{source.key(i)}".encode())
    path = folder / f"template-{digest.hexdigest()[:24]}.jsonl"
    if path.is_file():
        try:
            return read_records(path)
        except InputError:
            path.unlink()
    records = []
    for i in tqdm(anomalous, desc="template knowledge", unit="img"):
        entry, record = source.index[i], source[i]
        sentence = template.describe(
            decode_image(record["image"], entry.path, _LOOK),
            decode_mask(record["mask"], entry.path, _LOOK),
            source.prompt_names[entry.class_name],
            entry.defect,
        )
        records.append(
            Record(
                dataset=source.dataset,
                class_name=entry.class_name,
                source="template",
                image=entry.path,
                text=sentence,
                provider="template",
            )
        )
    write_records(path, records)
    return records
