"""A look at the knowledge of a dataset: a table by class, and a picture of its texts."""

import dataclasses
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float
from ml_collections import FrozenConfigDict
from PIL import Image

from data_pipelines.catalog import CATALOG, select_classes
from data_pipelines.errors import AbsentError
from data_pipelines.sources import Source
from kanoclip_jax.backbones import Clip
from kanoclip_jax.engine.build import load_method, open_dataset, place
from kanoclip_jax.engine.knowledge import table as knowledge_table
from kanoclip_jax.engine.knowledge.training import gather_records, knowledge_folder
from kanoclip_jax.engine.restore import load_trained
from kanoclip_jax.engine.settings import datasets_of
from kanoclip_jax.engine.workdir import Workdir, file_name
from kanoclip_jax.errors import InputError
from kanoclip_jax.knowledge.means import CachedEncoder, knowledge_means
from kanoclip_jax.knowledge.statistics import class_statistics
from kanoclip_jax.knowledge.store import Record
from kanoclip_jax.models.base import Method, Params


class Subject(NamedTuple):
    """What is inspected.

    Attributes:
        dataset: its id.
        names: class ids, with their names in prompts.
        source: the dataset, or None where its masks are not there or not to be read.
        note: why there is no source, or nothing.
    """

    dataset: str
    names: Mapping[str, str]
    source: Source | None
    note: str


@dataclass(frozen=True, eq=False)
class Texts:
    """What there is to compare, as the text tower sees it.

    Attributes:
        records: the sentences of the subject's classes.
        features: g(p) of each text, not normalised.
        means: unit knowledge means (eq. 3) of the classes that have one.
        prompts: unit features of `hand-written` prompts, and of the `learned` ones
            where a checkpoint is named, by class and polarity.
    """

    records: list[Record]
    features: Mapping[str, Float[np.ndarray, " d"]]
    means: Mapping[str, Float[np.ndarray, " d"]]
    prompts: Mapping[str, Float[np.ndarray, "c 2 d"]]


def main(
    config: FrozenConfigDict, workdir: Path, overrides: frozenset[str] = frozenset()
) -> int:
    """Print the table and save `WORKDIR/knowledge/<dataset>.png`.

    Raises:
        InputError: no sentence at all, or a checkpoint without learned prompts.
    """
    folder = Workdir(workdir)
    subject = find_subject(config)
    records = _records(config, subject)
    config, clip, prompts = _prompts(config, folder, overrides, subject.names)
    texts = _encode(config, clip, list(subject.names), records, prompts)
    statistics = {
        name: class_statistics(
            [record for record in records if record.class_name == name],
            texts.features,
            texts.means.get(name),
            clip.tokenizer.count,
        )
        for name in subject.names
    }
    length = clip.tokenizer.length
    lines = [f"knowledge of {subject.dataset}{subject.note}", ""]
    lines += knowledge_table.by_class(statistics, texts.means, prompts, length)
    lines += [*knowledge_table.extremes(statistics), ""]
    lines += knowledge_table.activity(
        list(subject.names),
        texts.means,
        prompts,
        config.model.margin,
        config.model.knowledge_scope,
    )
    print("\n".join(lines))
    name = f"knowledge/{file_name(subject.dataset)}.png"
    folder.write(name, _picture(subject, texts, clip.name))
    print(f"\n{folder.path / name}")
    return 0


def find_subject(config: FrozenConfigDict) -> Subject:
    """The dataset whose knowledge is asked for, with its masks where those may be read.

    Raises:
        InputError: several are named.
        DataError: a folder that is not there, or an unknown dataset or class.
    """
    dataset = config.knowledge.dataset or config.train.dataset
    if len(datasets_of(dataset)) > 1:
        raise InputError(
            f"{dataset} are several datasets, and one is looked at at a time; name one "
            "of them with --config.knowledge.dataset"
        )
    classes = () if config.knowledge.dataset else config.train.classes
    evaluated = {place(config, target) for target in config.eval.datasets}
    allowed = config.knowledge.allow_evaluation_dataset
    sealed = place(config, dataset) in evaluated and not allowed
    note = ""
    if sealed:
        note = " (masks not read: it is one of eval.datasets)"
    if not sealed or dataset not in CATALOG:
        try:
            source = open_dataset(config, dataset, classes)
        except AbsentError:
            note = " (its images are not there: no sentences from masks)"
        else:
            names = {name: source.prompt_names[name] for name in source.classes}
            return Subject(dataset, names, None if sealed else source, note)
    known = CATALOG[dataset].classes
    chosen = select_classes(dataset, classes, known)
    return Subject(dataset, {name: known[name] for name in chosen}, None, note)


def _records(config: FrozenConfigDict, subject: Subject) -> list[Record]:
    """The sentences of the subject's classes."""
    records = [
        record
        for record in gather_records(
            config, subject.dataset, subject.names, subject.source
        )
        if record.class_name in subject.names
    ]
    if not records:
        raise InputError(
            f"there is no knowledge of {subject.dataset} "
            f"({', '.join(subject.names)}); give sentences with "
            "--config.knowledge.path=FILE.jsonl"
        )
    return records


def _prompts(
    config: FrozenConfigDict,
    folder: Workdir,
    overrides: frozenset[str],
    names: Mapping[str, str],
) -> tuple[FrozenConfigDict, Clip, dict[str, Float[np.ndarray, "c 2 d"]]]:
    """Settings, backbone and prompts; those of a checkpoint where one is named."""
    words = list(names.values())
    learned = {}
    trained = load_trained(config, folder, overrides) if config.checkpoint else None
    config = trained.config if trained else config
    if config.method != "kanoclip":
        raise InputError(
            f"method {config.method!r} learns from no knowledge, so there is nothing to "
            "hold beside it; inspect it with a configuration or a checkpoint of "
            "'kanoclip'"
        )
    if trained:
        method = trained.method
        if not config.model.knpl:
            raise InputError(
                f"{trained.checkpoint} has no learned prompts (model.knpl is False); "
                "name another, or leave --config.checkpoint out"
            )
        learned = {"learned": _text(method, trained.params, words)}
    else:
        method = load_method(config)
    written = dataclasses.replace(method, knpl=False)
    return config, method.clip, {"hand-written": _text(written, {}, words)} | learned


def _text(
    method: Method, params: Params, words: list[str]
) -> Float[np.ndarray, "c 2 d"]:
    classes = method.prompts(method.frozen, words)
    return np.asarray(jax.jit(method.text)(method.frozen, params, classes))


def _encode(
    config: FrozenConfigDict,
    clip: Clip,
    classes: list[str],
    records: list[Record],
    prompts: Mapping[str, Float[np.ndarray, "c 2 d"]],
) -> Texts:
    encode = CachedEncoder(clip, knowledge_folder(config))
    texts = list(dict.fromkeys(record.text for record in records))
    features = dict(zip(texts, encode(texts), strict=True))
    described = {r.class_name for r in records if r.polarity == "abnormal"}
    known = [name for name in classes if name in described]
    means = knowledge_means(
        records,
        known,
        lambda wanted: np.stack([features[text] for text in wanted]),
        config.knowledge.weighting,
        normalize_each=config.knowledge.normalize_each,
    )
    return Texts(records, features, dict(zip(known, means, strict=True)), prompts)


def _picture(subject: Subject, texts: Texts, clip_name: str) -> bytes:
    """PNG of all texts."""
    # matplotlib takes long to import, and nothing else needs it.
    from kanoclip_jax.viz import embedding
    from kanoclip_jax.viz.embedding import Marks

    number = {name: position for position, name in enumerate(subject.names)}
    groups: dict[str, list[Record]] = {}
    for record in texts.records:
        kind = record.source if record.polarity == "abnormal" else record.polarity
        groups.setdefault(kind, []).append(record)
    sentences = [
        Marks(
            kind,
            _unit(np.stack([texts.features[record.text] for record in own])),
            np.array([number[record.class_name] for record in own]),
        )
        for kind, own in groups.items()
    ]
    every = np.arange(len(number))
    written, learned = (
        [
            Marks(kind, texts.prompts[key][:, polarity], every)
            for polarity, kind in enumerate(kinds)
            if key in texts.prompts
        ]
        for key, kinds in (
            ("hand-written", embedding.WRITTEN),
            ("learned", embedding.LEARNED),
        )
    )
    means = []
    if texts.means:
        own = np.array([number[name] for name in texts.means])
        means.append(Marks(embedding.MEAN, np.stack(list(texts.means.values())), own))
    # A checkpoint's prompts do not move the plane: pictures of several compare.
    image = embedding.draw_embedding(
        [*sentences, *written],
        [*learned, *means],
        list(subject.names),
        f"knowledge of {subject.dataset}\ntext features of {clip_name}",
    )
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def _unit(features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    return features / np.linalg.norm(features, axis=1, keepdims=True)
