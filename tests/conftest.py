"""Fixtures that several packages' tests share: one tiny CLIP, written and loaded once."""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

# Tiny programs run once: compiling them well takes longer than running them.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import jax
import numpy as np
import pytest
import tiny_clip
import tiny_dino
from chat_server import ChatServer, chat_server

from kanoclip_jax.backbones import Clip, Dino, load_clip, load_dino


@pytest.fixture(scope="session", autouse=True)
def compile_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Share compiled programs between tests: most of their time is compilation."""
    base = tmp_path_factory.getbasetemp()
    workers = "PYTEST_XDIST_WORKER" in os.environ
    folder = (base.parent if workers else base) / "compiled"
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


@pytest.fixture(scope="session")
def tiny_weights() -> Mapping[str, np.ndarray]:
    """The tiny CLIP's weights under PyTorch's names."""
    return tiny_clip.draw_weights()


@pytest.fixture(scope="session")
def tiny_directory(
    tmp_path_factory: pytest.TempPathFactory, tiny_weights: Mapping[str, np.ndarray]
) -> Path:
    """The tiny CLIP on disk; read it only."""
    return tiny_clip.write_directory(
        tmp_path_factory.mktemp("clip") / "tiny", weights=tiny_weights
    )


@pytest.fixture(scope="session")
def clip(tiny_directory: Path) -> Clip:
    """The tiny CLIP at its own size: 4 × 4 patches of 8 px, 4 blocks."""
    return load_clip(str(tiny_directory))


@pytest.fixture(scope="session")
def wide_clip(tiny_directory: Path) -> Clip:
    """The same at 72 px: 9 × 9 patches."""
    return load_clip(str(tiny_directory), 72)


@pytest.fixture(scope="session")
def even_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny CLIP whose joint space is as wide as its text tower; read it only."""
    config = tiny_clip.change(projection_dim=32)
    for section in ("text_config", "vision_config"):
        config[section]["projection_dim"] = 32
    return tiny_clip.write_directory(tmp_path_factory.mktemp("even") / "tiny", config)


@pytest.fixture(scope="session")
def guide_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny DINOv2 on disk, of patches of 4 px; read it only."""
    return tiny_dino.write_directory(tmp_path_factory.mktemp("guide") / "tiny")


@pytest.fixture(scope="session")
def backbones(
    clip: Clip, even_directory: Path, guide_directory: Path
) -> Callable[[str], dict[str, Clip | Dino]]:
    """Makes what a method is built around, by its name."""
    even = load_clip(str(even_directory))
    guide = load_dino(str(guide_directory), even.image_size)

    def of(method: str) -> dict[str, Clip | Dino]:
        # Crane's texts read the image's feature, so it must be as wide as a word.
        known = {"crane": {"clip": even}, "crane_plus": {"clip": even, "guide": guide}}
        return known.get(method, {"clip": clip})

    return of


@pytest.fixture
def images() -> np.ndarray:
    """Three images of 32 px."""
    return np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), np.uint8)


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    """A model server on the loopback, out of reach of any proxy."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with chat_server() as server:
        yield server
