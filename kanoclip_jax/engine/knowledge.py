"""What is known of the training classes: records gathered, and their means (eq. 3)."""

import hashlib
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

    Language sentences come from `knowledge.path` or from what is bundled; where no
    image sentence is on file, the mask of each anomalous image makes one.
    """
    prepared = Path(config.data.prepared)
    if config.knowledge.path:
        records = read_records(Path(config.knowledge.path).expanduser())
    else:
        records = bundled_records(source.dataset, source.classes)
    if source.has_masks and not any(r.source in ("vqa", "template") for r in records):
        records = records + template_records(source, prepared / "knowledge")
    encode = CachedEncoder(clip, prepared / "knowledge")
    return knowledge_means(
        records,
        source.classes,
        encode,
        config.knowledge.weighting,
        normalize_each=config.knowledge.normalize_each,
    )


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
