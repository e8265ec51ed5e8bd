"""A whole world in miniature: a CLIP, two datasets in original layouts, a configuration."""

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from class_trees import write_class
from ml_collections import ConfigDict

from kanoclip_jax.configs import base
from kanoclip_jax.engine.build import load_method
from kanoclip_jax.engine.checkpoint import Checkpoints
from kanoclip_jax.engine.settings import resolve, to_dict
from kanoclip_jax.engine.step import TrainState

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


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def quick(settings: Callable[..., ConfigDict]) -> Callable[..., ConfigDict]:
    """The same of a method whose programs are small, for what is the engine's own."""

    def make(**overrides: object) -> ConfigDict:
        config = settings()
        config.method, config.model = "probe", base.get_config("probe").model
        config.model.taps = "2,4"
        config.train.learning_rate = 1e-3
        for key, value in overrides.items():
            section, _, name = key.rpartition("__")
            (config[section] if section else config)[name] = value
        return config

    return make


@pytest.fixture(scope="session")
def checkpoint(
    settings: Callable[..., ConfigDict], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A checkpoint as training leaves it, of parameters that nothing trained."""
    return write_checkpoint(settings(), tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="session")
def quick_checkpoint(
    quick: Callable[..., ConfigDict], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The same of `quick`, for what is the same whoever gives scores."""
    return write_checkpoint(quick(), tmp_path_factory.mktemp("quick"))


def write_checkpoint(config: ConfigDict, run: Path) -> Path:
    """Parameters that are drawn, as a step of a run."""
    config = resolve(config)
    method = load_method(config)
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: leaf + 0.1 * rng.normal(size=leaf.shape).astype(leaf.dtype),
        jax.jit(method.init)(jax.random.key(0), method.frozen),
    )
    checkpoints = Checkpoints(run / "checkpoints")
    checkpoints.save(
        TrainState(params, {"count": np.zeros(())}, np.int32(7)),
        {
            "config": to_dict(config),
            **method.backbone_identity(),
            "dataset": "mvtec",
            "seconds": 1.0,
        },
    )
    checkpoints.close()
    return run / "checkpoints"
