"""Files of predictions: whole or not there, readable by others, as numpy writes them."""

import os
import resource
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kanoclip_jax.engine.prediction.pictures import save_array, save_picture
from kanoclip_jax.files import write_atomically

NOISE = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
WRITERS: dict[str, Callable[[Path], None]] = {
    "array": lambda path: save_array(path, NOISE.astype(np.float16)),
    "picture": lambda path: save_picture(path, NOISE),
    "bytes": lambda path: write_atomically(path, NOISE.tobytes()),
}


@pytest.fixture
def small_files() -> Iterator[None]:
    """As where a disk is full: no file takes more than 1000 bytes."""
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, former[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, former)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("writer", WRITERS)
def test_what_does_not_fit_leaves_what_was_there(writer, tmp_path, small_files):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="File too large"):
        WRITERS[writer](path)
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("writer", WRITERS)
def test_others_may_read_them(writer, tmp_path):
    former = os.umask(0o022)
    try:
        WRITERS[writer](tmp_path / "file")
    finally:
        os.umask(former)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_are_as_numpy_saves_them(order, tmp_path):
    array = np.asarray(NOISE[..., 0].astype(np.float16), order=order)
    save_array(tmp_path / "ours.npy", array)
    np.save(tmp_path / "theirs.npy", np.ascontiguousarray(array))
    assert (tmp_path / "ours.npy").read_bytes() == (
        tmp_path / "theirs.npy"
    ).read_bytes()
    save_picture(tmp_path / "a.png", NOISE)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), NOISE)
