"""A file of records that grows: whole lines, one writer, nothing twice."""

import dataclasses
import errno
import os
from pathlib import Path

import pytest

from kanoclip_jax.errors import InputError
from kanoclip_jax.knowledge.ledger import Ledger
from kanoclip_jax.knowledge.store import Record, read_records, to_line, write_records

LLM = Record("mine", "nut", "llm", "Ein Riß.", model="m", prompt_sha="ff")
VQA = dataclasses.replace(LLM, source="vqa", image="nut/bent/0.png", text="A dent.")


def test_lines_are_on_disk_as_they_come(tmp_path: Path) -> None:
    path = tmp_path / "knowledge" / "mine.jsonl"
    with Ledger(path) as ledger:
        assert ledger.append(LLM)
        assert read_records(path) == [LLM]
        assert ledger.append(VQA)
        assert read_records(path) == [LLM, VQA]
    with Ledger(path) as ledger:
        assert (ledger.records, ledger.cut) == ([LLM, VQA], 0)


@pytest.mark.parametrize(
    "change",
    [
        {"class_name": "bolt"},
        {"source": "template"},
        {"image": "nut/bent/1.png"},
        {"prompt_sha": "00"},
        {"model": "other"},
        {"sample": 1},
    ],
)
def test_six_things_make_another_answer(tmp_path: Path, change: dict) -> None:
    other = dataclasses.replace(VQA, **change)
    with Ledger(tmp_path / "k.jsonl") as ledger:
        assert ledger.append(VQA)
        assert other not in ledger
        assert ledger.append(other)


def test_the_same_answer_is_kept_once(tmp_path: Path) -> None:
    again = dataclasses.replace(VQA, text="Other words.", created="2030-01-01", seed=9)
    with Ledger(tmp_path / "k.jsonl") as ledger:
        ledger.append(VQA)
        assert again in ledger
        assert not ledger.append(again)
    assert read_records(tmp_path / "k.jsonl") == [VQA]


@pytest.mark.parametrize("kept", [1, 40, -2])
def test_an_unfinished_last_line_is_cut_off(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "k.jsonl"
    rest = to_line(LLM).encode()[:-1][:kept]
    write_records(path, [VQA])
    path.write_bytes(path.read_bytes() + rest)
    with Ledger(path) as ledger:
        assert (ledger.records, ledger.cut) == ([VQA], len(rest))
        ledger.append(LLM)
    assert read_records(path) == [VQA, LLM]


def test_a_line_cut_within_a_letter(tmp_path: Path) -> None:
    path = tmp_path / "k.jsonl"
    line = to_line(LLM).encode()
    path.write_bytes(line[: line.index("ß".encode()) + 1])
    with pytest.raises(InputError, match=r"k\.jsonl:1 .*no knowledge record"):
        read_records(path)
    with Ledger(path) as ledger:
        assert ledger.records == []
    assert path.read_bytes() == b""


def test_a_whole_last_line_without_its_end_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "k.jsonl"
    path.write_bytes(to_line(VQA).encode()[:-1])
    with Ledger(path) as ledger:
        assert (ledger.records, ledger.cut) == ([VQA], 0)
        ledger.append(LLM)
    assert read_records(path) == [VQA, LLM]


def test_a_bad_line_further_up_is_named_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "k.jsonl"
    content = b"{oops}\n" + to_line(VQA).encode()
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"k\.jsonl:1 .*no knowledge record"):
        Ledger(path)
    assert path.read_bytes() == content


def test_a_full_disk_leaves_whole_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "k.jsonl"
    written = []

    def write(file: int, data: bytes, original=os.write) -> int:
        if written:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(original(file, data[:20]))
        return written[0]

    with Ledger(path) as ledger:
        ledger.append(VQA)
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", write)
            with pytest.raises(InputError, match="No space left on device"):
                ledger.append(LLM)
        assert written == [20]
        assert LLM not in ledger
        assert ledger.append(LLM)
    assert read_records(path) == [VQA, LLM]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "knowledge").write_text("a file")
    with pytest.raises(InputError, match="--workdir"):
        Ledger(tmp_path / "knowledge" / "k.jsonl")


def test_sentences_may_hold_any_line_end(tmp_path: Path) -> None:
    odd = dataclasses.replace(VQA, text="One\u2028two\x85three\rfour\nfive\x0bsix")
    with Ledger(tmp_path / "k.jsonl") as ledger:
        ledger.append(odd)
    assert read_records(tmp_path / "k.jsonl") == [odd]
