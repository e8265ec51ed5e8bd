"""Tiny image trees, written with Pillow, for every test of the data pipelines."""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_pipelines.builders.published import warn_once
from data_pipelines.sources import Source, open_source


def encode(value: int, size: tuple[int, int] = (6, 4), kind: str = "PNG") -> bytes:
    """A one-colour image file of (width, height)."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (value, value, value)).save(buffer, kind)
    return buffer.getvalue()


def encode_mask(size: tuple[int, int] = (6, 4)) -> bytes:
    """A mask with its left half set."""
    mask = np.zeros(size[::-1], np.uint8)
    mask[:, : size[0] // 2] = 255
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG")
    return buffer.getvalue()


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def write_mvtec_class(root: Path, name: str, normal: int, anomalous: int) -> Path:
    """One class in MVTec's layout, its images told apart by their grey value."""
    folder = root / name
    write(folder / "train/good/000.png", encode(255))
    for i in range(normal):
        write(folder / f"test/good/{i:03d}.png", encode(i))
    for i in range(anomalous):
        write(folder / f"test/crack/{i:03d}.png", encode(100 + i))
        write(folder / f"ground_truth/crack/{i:03d}_mask.png", encode_mask())
    return folder


@pytest.fixture(autouse=True)
def nothing_was_said() -> None:
    """Let every test hear its warnings, whatever an earlier one heard."""
    warn_once.cache_clear()


@pytest.fixture
def open_dataset(tmp_path: Path) -> Callable[..., Source]:
    """Opens a dataset below `tmp_path / "root"`, prepared beside it."""

    def opened(dataset: str, **options: Any) -> Source:
        return open_source(
            dataset,
            root=str(tmp_path / "root"),
            prepared=str(tmp_path / "prepared"),
            **options,
        )

    return opened


@pytest.fixture(scope="session")
def mvtec_class() -> Callable[..., Path]:
    return write_mvtec_class


@pytest.fixture(scope="session")
def image() -> Callable[..., bytes]:
    return encode


@pytest.fixture(scope="session")
def mask() -> Callable[..., bytes]:
    return encode_mask


@pytest.fixture(scope="session")
def put() -> Callable[..., Path]:
    return write


@pytest.fixture(scope="session")
def shared() -> Path:
    folder = os.environ.get("KANOCLIP_SHARED")
    if not folder:
        pytest.skip("KANOCLIP_SHARED is unset: no real images to read")
    return Path(folder) / "data"
