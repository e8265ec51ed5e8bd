"""The bundled knowledge: complete, well-formed and answering the right question."""

import functools
import hashlib
import json
from pathlib import Path

import pytest

import kanoclip_jax
from data_pipelines.textures import TRAIN_CLASSES

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
PCB, MACARONI, MRI = "printed circuit board", "macaroni", "brain MRI scan"
NAMES = {
    "mvtec": {
        "bottle": "bottle",
        "cable": "cable",
        "capsule": "capsule",
        "carpet": "carpet",
        "grid": "metal grid",
        "hazelnut": "hazelnut",
        "leather": "leather",
        "metal_nut": "metal nut",
        "pill": "pill",
        "screw": "screw",
        "tile": "tile",
        "toothbrush": "toothbrush",
        "transistor": "transistor",
        "wood": "wood",
        "zipper": "zipper",
    },
    "visa": {
        "candle": "candle",
        "capsules": "capsules",
        "cashew": "cashew",
        "chewinggum": "chewing gum",
        "fryum": "fryum",
        "macaroni1": MACARONI,
        "macaroni2": MACARONI,
        "pcb1": PCB,
        "pcb2": PCB,
        "pcb3": PCB,
        "pcb4": PCB,
        "pipe_fryum": "pipe fryum",
    },
    "textures": {
        "weave": "woven fabric",
        "corduroy": "corduroy",
        "plaid": "plaid cloth",
        "wood": "wood",
        "marble": "marble",
        "granite": "granite",
        "concrete": "concrete",
        "brushed": "brushed metal",
        "tiles": "ceramic tiles",
        "dots": "dotted paper",
        "perforated": "perforated sheet",
    },
    "medical": {
        "brainmri": MRI,
        "liverct": "liver CT scan",
        "resc": "retinal OCT scan",
        "br35h": MRI,
        "covid19": "chest X-ray",
        "headct": "head CT scan",
    },
}
IDS = {
    "mvtec": "mvtec",
    "visa": "visa",
    "textures": "textures_train",
    "medical": "medical",
}
QUESTIONS = {
    "abnormal": "Describe what an abnormal image of {} looks like?",
    "background": "Describe what a normal image of {} looks like?",
}
CLASSES = [(dataset, name) for dataset in NAMES for name in NAMES[dataset]]


@functools.cache
def read(dataset: str) -> list[dict]:
    lines = (FOLDER / f"{dataset}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def texts(dataset: str, name: str, polarity: str) -> list[str]:
    return [
        record["text"]
        for record in read(dataset)
        if (record["class"], record["polarity"]) == (name, polarity)
    ]


def test_every_file_is_known() -> None:
    assert {path.stem for path in FOLDER.glob("*.jsonl")} == set(NAMES)


@pytest.mark.parametrize("dataset", NAMES)
def test_records_are_well_formed(dataset: str) -> None:
    records = read(dataset)
    assert {record["class"] for record in records} == set(NAMES[dataset])
    for record in records:
        assert list(record) == KEYS
        assert record["v"] == 1
        assert record["dataset"] == IDS[dataset]
        assert (record["source"], record["provider"]) == ("llm", "bundled")
        assert record["image"] is None
        assert record["polarity"] in QUESTIONS


@pytest.mark.parametrize("dataset", NAMES)
def test_prompt_sha_is_the_hash_of_the_question(dataset: str) -> None:
    for record in read(dataset):
        name = NAMES[dataset][record["class"]]
        question = QUESTIONS[record["polarity"]].format(name)
        assert record["prompt_sha"] == hashlib.sha256(question.encode()).hexdigest()


@pytest.mark.parametrize(("dataset", "name"), CLASSES)
def test_each_class_has_distinct_sentences(dataset: str, name: str) -> None:
    abnormal = texts(dataset, name, "abnormal")
    background = texts(dataset, name, "background")
    assert len(abnormal) == 8
    assert len(background) == 3
    assert len({text.casefold() for text in abnormal + background}) == 11


@pytest.mark.parametrize(("dataset", "name"), CLASSES)
def test_samples_are_numbered_per_question(dataset: str, name: str) -> None:
    for polarity, count in (("abnormal", 8), ("background", 3)):
        numbers = [
            record["sample"]
            for record in read(dataset)
            if (record["class"], record["polarity"]) == (name, polarity)
        ]
        assert numbers == list(range(count))


@pytest.mark.parametrize(("dataset", "name"), CLASSES)
def test_sentences_are_short_and_name_the_object(dataset: str, name: str) -> None:
    words = NAMES[dataset][name].lower().removesuffix("s")
    for polarity in QUESTIONS:
        for text in texts(dataset, name, polarity):
            assert len(text.split()) <= 60
            assert words in text.lower()
            assert text.endswith(".")


def test_known_question_has_known_hash() -> None:
    record = read("mvtec")[0]
    assert (record["class"], record["polarity"]) == ("bottle", "abnormal")
    expected = "f542031de559763963d4e1f83e7cab95436bf4e8893d5d32186f270829b363fa"
    assert record["prompt_sha"] == expected


def test_training_surfaces_are_all_described() -> None:
    assert NAMES["textures"] == TRAIN_CLASSES


def test_classes_of_different_names_have_no_text_in_common() -> None:
    owner: dict[str, str] = {}
    for dataset, name in CLASSES:
        for polarity in QUESTIONS:
            for text in texts(dataset, name, polarity):
                words = NAMES[dataset][name]
                assert owner.setdefault(text.casefold(), words) == words
