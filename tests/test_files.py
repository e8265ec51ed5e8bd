"""A file is written whole or not at all, with the rights that any new file has."""

import errno
import os
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from kanoclip_jax import files
from kanoclip_jax.files import (
    is_full,
    out_of_space,
    reason,
    remove_remains,
    replacing,
    write_atomically,
)


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
        with replacing(tmp_path / "head.safetensors") as temporary:
            save_file({"a": np.zeros(2)}, temporary)
    finally:
        os.umask(former)
    modes = {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {0o644}


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        OSError("65536 requested and 32704 written"),
        RuntimeError("I/O error: No space left on device (os error 28)"),
        ValueError("RESOURCE_EXHAUSTED: Failed to write … [os_error_code='28']"),
    ],
)
def test_a_full_disk_is_known_by_whoever_says_it(error: Exception) -> None:
    assert is_full(error) and reason(error) == "No space left on device"
    wrapped = KeyError("a")
    wrapped.__context__ = error
    assert is_full(wrapped)
    said = str(out_of_space(error, Path("runs/demo")))
    assert said.startswith(
        "runs/demo cannot be written (No space left on device); free"
    )


def test_other_errors_keep_their_reason() -> None:
    for error in (OSError(errno.EACCES, "Permission denied"), ValueError("28 of 30")):
        assert not is_full(error) and out_of_space(error, Path()) is None
    assert reason(OSError(errno.EFBIG, "File too large")) == "File too large"
    assert reason(ValueError("one\ntwo")) == "one"
    assert reason(ValueError()) == "ValueError"


def test_remains_of_killed_writers_go_in_time(tmp_path: Path) -> None:
    names = (".a.npy.1234.partial", ".b.npy.5678.partial", "c.partial", "a.npy")
    for name in names:
        (tmp_path / name).write_bytes(b"half")
    yesterday = time.time() - 25 * 3600
    for name in (names[0], *names[2:]):
        os.utime(tmp_path / name, (yesterday, yesterday))
    remove_remains(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[1:])
