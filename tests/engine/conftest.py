"""A whole world in miniature: a CLIP, two datasets in original layouts, a configuration."""

from collections.abc import Callable
from pathlib import Path

import pytest
from class_trees import write_class
from ml_collections import ConfigDict

from configs import base

SIZE = 32


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of MVTec AD, and a folder of the user's own; read it only."""
    root = tmp_path_factory.mktemp("data")
    write_class(root / "mvtec" / "bottle", 5, 6, seed=1)
    write_class(root / "mvtec" / "metal_nut", 4, 6, seed=2)
    write_class(root / "mine" / "cup", 6, 5, seed=3)
    write_class(root / "mine" / "plate", 4, 4, seed=4)
    return root


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where converted copies go; shared by the session's runs, as by a user's."""
    return tmp_path_factory.mktemp("prepared")


@pytest.fixture
def settings(
    tiny_directory: Path, data_root: Path, prepared: Path
) -> Callable[..., ConfigDict]:
    """Makes a configuration; keywords set dotted keys, with `__` for the dot."""

    def make(**overrides: object) -> ConfigDict:
        config = base.get_config()
        config.clip.name = str(tiny_directory)
        config.clip.image_size = SIZE
        config.model.bica_width = 16
        config.model.bica_heads = 2
        config.model.bica_groups = 2
        config.model.context_length = 4
        config.model.taps = "2,4"
        config.model.bica_stride = 2
        config.data.root = str(data_root)
        config.data.prepared = str(prepared)
        config.train.epochs = 2
        config.train.batch_size = 4
        config.train.checkpoint_every = 3
        config.train.log_every = 1
        config.eval.datasets = f"folder:{data_root / 'mine'}"
        config.eval.batch_size = 4
        for key, value in overrides.items():
            section, _, name = key.rpartition("__")
            (config[section] if section else config)[name] = value
        return config

    return make
