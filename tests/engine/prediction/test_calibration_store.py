"""Calibrations that are stored at once: none is lost, and a full disk loses none."""

import errno
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from data_pipelines.locks import hold
from kanoclip_jax.engine.prediction import calibration as store
from kanoclip_jax.engine.prediction.calibration import (
    FILE,
    Calibration,
    read_calibrations,
    save_calibration,
)
from kanoclip_jax.errors import InputError


def made(name: str) -> Calibration:
    part = {"threshold": 0.5}
    return Calibration(name, {"parameters": "ab"}, part, part, {})


def names_in(folder: Path) -> set[str]:
    return {found.class_name for found in read_calibrations(folder / FILE)}


def test_several_at_once_are_all_kept(tmp_path):
    """A training may hold the folder for itself: it does not touch this file."""
    names = {f"class {i}" for i in range(12)}
    with hold(tmp_path, "train", remedy=""), ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda name: save_calibration(made(name), (tmp_path,)), names))
    assert names_in(tmp_path) == names


def test_a_full_disk_leaves_the_earlier_ones(tmp_path, monkeypatch):
    save_calibration(made("cup"), (tmp_path,))

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store, "write_atomically", fail)
    with pytest.raises(InputError, match=r"\(No space left on device\); pass another"):
        save_calibration(made("plate"), (tmp_path,))
    assert names_in(tmp_path) == {"cup"}
