"""The providers that ask nobody."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from kanoclip_jax.errors import InputError
from kanoclip_jax.knowledge import store
from kanoclip_jax.knowledge.providers.base import Topic, Unanswered
from kanoclip_jax.knowledge.providers.bundled import BundledProvider
from kanoclip_jax.knowledge.providers.template import TemplateProvider
from kanoclip_jax.knowledge.store import Record, write_records


class Spotted:
    """A grey picture with a red spot in the upper left."""

    path, defect = "nut/test/red_spot/000.png", "red_spot"

    def within(self, side: int) -> np.ndarray:
        raise AssertionError("only the squashed picture is described")

    def outlined(self, side: int) -> tuple[np.ndarray, np.ndarray]:
        image = np.full((side, side, 3), 128, np.uint8)
        mask = np.zeros((side, side), np.uint8)
        image[20:40, 20:40], mask[20:40, 20:40] = (200, 40, 40), 1
        return image, mask


def test_template_describes_each_picture() -> None:
    provider = TemplateProvider()
    topics = [
        Topic("mine", "metal_nut", "metal nut", (Spotted(), Spotted())),
        Topic("mine", "bolt", "bolt"),
    ]
    first, second = provider.questions(topics)
    assert first.draft == Record(
        dataset="mine",
        class_name="metal_nut",
        source="template",
        image="nut/test/red_spot/000.png",
        text="",
        provider="template",
    )
    assert provider.answer(second) == (
        "The metal nut has a small compact anomaly (red spot) in the upper left, red, "
        "darker than the grey surface around it."
    )


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two files that both know wood."""
    wood = [
        Record(
            "a", "wood", "llm", f"{i}", prompt_sha="q", sample=i, created="2025-01-02"
        )
        for i in range(2)
    ]
    other = [dataclasses.replace(r, dataset="b", text=f"b{r.text}") for r in wood]
    write_records(tmp_path / "a.jsonl", wood)
    write_records(tmp_path / "b.jsonl", other)
    store.write_digests(tmp_path)
    monkeypatch.setattr(store, "BUNDLED", tmp_path)


def test_bundled_sentences_keep_their_provenance(bundle: None) -> None:
    provider = BundledProvider()
    questions = provider.questions([Topic("b", "wood", "wood")])
    assert [provider.answer(question) for question in questions] == ["b0", "b1"]
    assert questions[1].draft == Record(
        "b", "wood", "llm", "b1", prompt_sha="q", sample=1, created="2025-01-02"
    )


def test_sentences_of_two_files_are_numbered_through(bundle: None) -> None:
    provider = BundledProvider()
    questions = provider.questions([Topic("folder:x", "wood", "wood")])
    assert [(q.draft.text, q.draft.sample) for q in questions] == [
        ("0", 0),
        ("1", 1),
        ("b0", 2),
        ("b1", 3),
    ]
    assert {q.draft.dataset for q in questions} == {"folder:x"}


def test_a_class_without_sentences_is_a_failure(bundle: None) -> None:
    provider = BundledProvider()
    topics = [Topic("b", "cup", "cup"), Topic("b", "wood", "wood")]
    missing = provider.questions(topics)[0]
    with pytest.raises(Unanswered, match="no sentence is bundled"):
        provider.answer(missing)
    with pytest.raises(InputError, match="bundled for cup; .*provider=openai"):
        provider.questions(topics[:1])
