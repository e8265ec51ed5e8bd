"""The bundled knowledge: complete, well-formed and answering the right question."""

import functools
import hashlib
import json
from pathlib import Path

import pytest

import kanoclip_jax
from data_pipelines.catalog import CATALOG
from kanoclip_jax.backbones import Tokenizer
from kanoclip_jax.backbones.locate import DEMO
from kanoclip_jax.knowledge.store import bundled_records

FOLDER = Path(kanoclip_jax.__file__).parent / "knowledge" / "data"
KEYS = [
    "v",
    "dataset",
    "class",
    "source",
    "image",
    "polarity",
    "text",
    "provider",
    "model",
    "prompt_sha",
    "sample",
    "seed",
    "created",
]
# Sets of a dataset's classes, by file.
DATASETS = {
    "mvtec": ["mvtec"],
    "visa": ["visa"],
    "mpdd": ["mpdd"],
    "textures": ["textures_train", "textures_eval"],
}
# Sets that go by their name in prompts: ids such as `01` or `head` say too little.
NAMED = {
    "btad": ["concentric ring part", "striped surface", "oval ring"],
    "sdd": ["electrical commutator"],
    "dagm": ["textured surface"],
    "dtd_synthetic": [
        "blotchy texture",
        "fibrous texture",
        "marbled texture",
        "matted texture",
        "mesh texture",
        "perforated texture",
        "stratified texture",
        "woven texture",
    ],
    "medical": [
        "brain MRI scan",
        "liver CT scan",
        "retinal OCT scan",
        "chest X-ray",
        "head CT scan",
        "skin",
        "colon",
        "thyroid",
    ],
}
QUESTIONS = {
    "abnormal": "Describe what an abnormal image of {} looks like?",
    "background": "Describe what a normal image of {} looks like?",
}
# (file, dataset, class) and its name in prompts.
NAMES = {
    (file, dataset, name): words
    for file, datasets in DATASETS.items()
    for dataset in datasets
    for name, words in CATALOG[dataset].classes.items()
} | {(file, file, name): name for file, names in NAMED.items() for name in names}
SETS = [(*key, polarity) for key in NAMES for polarity in QUESTIONS]


@functools.cache
def read(file: str) -> list[dict]:
    lines = (FOLDER / f"{file}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def records_of(file: str, dataset: str, name: str, polarity: str) -> list[dict]:
    return [
        record
        for record in read(file)
        if (record["dataset"], record["class"], record["polarity"])
        == (dataset, name, polarity)
    ]


def test_every_file_and_class_is_known() -> None:
    files = [path.stem for path in FOLDER.glob("*.jsonl")]
    found = {(file, r["dataset"], r["class"]) for file in files for r in read(file)}
    assert found == set(NAMES)


@pytest.mark.parametrize("file", [*DATASETS, *NAMED])
def test_records_are_well_formed(file: str) -> None:
    for record in read(file):
        assert list(record) == KEYS
        assert record["v"] == 1
        assert (record["source"], record["provider"]) == ("llm", "bundled")
        assert record["image"] is None
        question = QUESTIONS[record["polarity"]].format(
            NAMES[file, record["dataset"], record["class"]]
        )
        assert record["prompt_sha"] == hashlib.sha256(question.encode()).hexdigest()


def test_known_question_has_known_hash() -> None:
    record = read("mvtec")[0]
    assert (record["class"], record["polarity"]) == ("bottle", "abnormal")
    expected = "f542031de559763963d4e1f83e7cab95436bf4e8893d5d32186f270829b363fa"
    assert record["prompt_sha"] == expected


@pytest.mark.parametrize(("file", "dataset", "name", "polarity"), SETS)
def test_a_set_is_numbered_and_names_its_object(
    file: str, dataset: str, name: str, polarity: str
) -> None:
    records = records_of(file, dataset, name, polarity)
    assert len(records) >= {"abnormal": 8, "background": 3}[polarity]
    assert [record["sample"] for record in records] == list(range(len(records)))
    words = NAMES[file, dataset, name].lower().removesuffix("s").split()
    for record in records:
        text = record["text"]
        assert text.endswith(".")
        assert all(word in text.lower() for word in words), text


def test_no_sentence_is_said_twice_but_of_classes_that_share_a_name() -> None:
    owner: dict[str, tuple[str, str]] = {}
    for (file, dataset, name), words in NAMES.items():
        own = [
            record["text"].casefold()
            for polarity in QUESTIONS
            for record in records_of(file, dataset, name, polarity)
        ]
        assert len(set(own)) == len(own)
        for text in own:
            assert owner.setdefault(text, (dataset, words)) == (dataset, words)


def test_no_sentence_is_split() -> None:
    """In the poorest vocabulary of a few hundred words; OpenAI's takes about half."""
    tokenizer = Tokenizer(DEMO, 77)
    for file in (*DATASETS, *NAMED):
        for record in read(file):
            assert tokenizer.count(record["text"]) <= 77, record["text"]


@pytest.mark.parametrize("dataset", CATALOG)
def test_every_class_of_the_catalogue_is_described(dataset: str) -> None:
    classes = CATALOG[dataset].classes
    records = bundled_records(dataset, classes)
    assert {record.class_name for record in records} == set(classes)
    for name in classes:
        texts = {
            polarity: [
                record.text
                for record in records
                if (record.class_name, record.polarity) == (name, polarity)
            ]
            for polarity in QUESTIONS
        }
        assert len(set(texts["abnormal"])) == len(texts["abnormal"]) >= 8
        assert len(texts["background"]) >= 3
        assert not set(texts["abnormal"]) & set(texts["background"])


def test_a_folder_is_not_taken_for_a_dataset_by_a_number_or_a_common_word() -> None:
    names = ("01", "Class1", "head", "brain", "chest")
    assert bundled_records("folder:/mine", {name: name for name in names}) == []
