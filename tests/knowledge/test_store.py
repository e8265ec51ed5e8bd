"""Knowledge files: what is written is read, whole or not at all."""

import dataclasses
import json
from pathlib import Path

import pytest

from kanoclip_jax.errors import InputError
from kanoclip_jax.knowledge import store
from kanoclip_jax.knowledge.store import (
    Record,
    bundled_records,
    read_records,
    write_records,
)

RECORDS = [
    Record("mvtec", "bottle", "llm", "Ein Riß im „Glas“.", created="2025-01-02"),
    Record(
        "mvtec",
        "metal_nut",
        "vqa",
        "A scratch.",
        image="metal_nut/test/scratch/000.png",
        provider="openai:some",
        model="some",
        prompt_sha="00ff",
        sample=2,
        seed=7,
    ),
    Record("mine", "bolt", "template", "Clean.", polarity="background"),
]


def test_records_survive_the_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "mine.jsonl"
    write_records(path, RECORDS)
    assert read_records(path) == RECORDS
    first = json.loads(path.read_text(encoding="utf-8").splitlines()[0])
    assert first["class"] == "bottle"
    assert "class_name" not in first
    assert "Riß" in path.read_text(encoding="utf-8")


def test_minimal_record_and_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "k.jsonl"
    line = '{"dataset": "d", "class": "c", "source": "llm", "text": "t"}'
    path.write_text(f"\n{line}\n\n")
    assert read_records(path) == [Record("d", "c", "llm", "t")]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "Expecting"),
        ('{"dataset": "d", "source": "llm", "text": "t"}', "class"),
        ('{"dataset": "d", "class": "c", "source": "llm"}', "text"),
        ('{"class": "c", "colour": 1}', "unknown key 'colour'"),
        ('["a", "list"]', "no knowledge record"),
        ("3", "no knowledge record"),
    ],
)
def test_bad_line_is_named(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "k.jsonl"
    good = '{"dataset": "d", "class": "c", "source": "llm", "text": "t"}'
    path.write_text(f"{good}\n{line}\n")
    with pytest.raises(InputError, match=r"k\.jsonl:2 .*no knowledge rec") as caught:
        read_records(path)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_names_the_flag(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--config\.knowledge\.path"):
        read_records(tmp_path / "none.jsonl")


def test_write_replaces_the_file(tmp_path: Path) -> None:
    path = tmp_path / "k.jsonl"
    write_records(path, RECORDS)
    write_records(path, RECORDS[:1])
    assert read_records(path) == RECORDS[:1]


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Record]:
    """Two bundled files: a class in both, one in one, and one called as in prompts."""
    records = {
        "own": Record("a", "bolt", "llm", "own"),
        "other": Record("b", "bolt", "llm", "other"),
        "nut": Record("b", "hex_nut", "llm", "nut"),
        "scan": Record("any", "lung CT scan", "llm", "scan", polarity="background"),
    }
    write_records(tmp_path / "a.jsonl", [records["own"]])
    write_records(tmp_path / "b.jsonl", [records["other"], records["nut"]])
    write_records(tmp_path / "c.jsonl", [records["scan"]])
    store.write_digests(tmp_path)
    monkeypatch.setattr(store, "BUNDLED", tmp_path)
    return records


def test_bundled_prefers_the_datasets_own(bundle: dict[str, Record]) -> None:
    own, other, nut = (bundle[key] for key in ("own", "other", "nut"))
    assert bundled_records("a", {"bolt": "bolt"}) == [own]
    assert bundled_records("a", {"hex_nut": "nut", "bolt": "bolt"}) == [nut, own]
    assert bundled_records("folder:/x", {"bolt": "bolt"}) == [own, other]
    assert bundled_records("a", {"screw": "screw"}) == []


def test_bundled_are_found_by_the_name_in_prompts_and_take_the_class_id(
    bundle: dict[str, Record],
) -> None:
    found = bundled_records("hospital", {"01": "lung CT scan", "02": "lung ct SCAN"})
    assert [(r.class_name, r.text) for r in found] == [("01", "scan"), ("02", "scan")]
    assert {(r.dataset, r.polarity) for r in found} == {("any", "background")}
    assert bundled_records("hospital", {"lung": "lung"}) == []
    (nut,) = bundled_records("mine", {"Hex nut": "Hex nut"})
    assert nut == dataclasses.replace(bundle["nut"], class_name="Hex nut")
