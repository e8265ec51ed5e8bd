"""Which sentences a training takes."""

from pathlib import Path

import pytest

from data_pipelines.sources import Source
from kanoclip_jax.engine.build import open_dataset
from kanoclip_jax.engine.knowledge.training import gather_records
from kanoclip_jax.engine.settings import resolve
from kanoclip_jax.knowledge.store import Record, write_records


@pytest.fixture
def source(settings) -> Source:
    return open_dataset(resolve(settings()), "mvtec", ())


def gathered(config, source: Source) -> list[Record]:
    return gather_records(config, source.dataset, source.prompt_names, source)


def sources_of(records: list[Record]) -> dict[str, set[str]]:
    return {
        name: {r.source for r in records if r.class_name == name}
        for name in ("bottle", "metal_nut")
    }


def test_bundled_sentences_and_masks_are_the_default(settings, source):
    records = gathered(resolve(settings()), source)
    assert sources_of(records) == {
        "bottle": {"llm", "template"},
        "metal_nut": {"llm", "template"},
    }
    assert sum(r.source == "template" for r in records) == 12


def test_masks_stand_in_where_a_class_has_no_image_sentence(
    settings, source, tmp_path: Path
):
    path = tmp_path / "k.jsonl"
    own = [
        Record("mvtec", "bottle", "llm", "A chip."),
        Record(
            "mvtec", "bottle", "vqa", "A chip above.", image="bottle/test/spot/0.png"
        ),
        Record("mvtec", "metal_nut", "llm", "A dent."),
    ]
    write_records(path, own)
    records = gathered(resolve(settings(knowledge__path=str(path))), source)
    assert records[:3] == own
    assert sources_of(records) == {
        "bottle": {"llm", "vqa"},
        "metal_nut": {"llm", "template"},
    }
