"""A file is written whole or not at all, with the rights that any new file has."""

import os
from pathlib import Path

import pytest

from kanoclip_jax import files
from kanoclip_jax.files import replacing, write_atomically


def test_failed_write_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "k.jsonl"
    write_atomically(path, b"old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["k.jsonl"]


def test_what_fails_on_the_way_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "table.csv"
    with pytest.raises(KeyError), replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyError
    assert list(path.parent.iterdir()) == []


def test_others_may_read_what_the_umask_allows(tmp_path: Path) -> None:
    former = os.umask(0o022)
    try:
        write_atomically(tmp_path / "report.json", b"{}")
    finally:
        os.umask(former)
    assert (tmp_path / "report.json").stat().st_mode & 0o777 == 0o644
