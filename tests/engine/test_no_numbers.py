"""NaN and infinity on every way into the engine: an error that names where they are."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_clip

from kanoclip_jax.backbones import load_clip
from kanoclip_jax.engine import train
from kanoclip_jax.engine.build import load_method, open_dataset
from kanoclip_jax.engine.feature_cache import FeatureCache
from kanoclip_jax.engine.restore import Trained
from kanoclip_jax.engine.settings import resolve
from kanoclip_jax.engine.sharding import Devices
from kanoclip_jax.errors import InputError

BAD = {"head": {"kernel": np.array([1.0, np.nan], np.float32)}}


@pytest.fixture(scope="module")
def world(quick):
    config = resolve(quick())
    return config, load_method(config)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_backbone_is_refused_when_it_is_read(tmp_path, tiny_weights, bad):
    weights = {name: value.copy() for name, value in tiny_weights.items()}
    name = "vision_model.encoder.layers.2.mlp.fc1.weight"
    weights[name][3, 4] = bad
    folder = tiny_clip.write_directory(tmp_path / "clip", weights=weights)
    with pytest.raises(InputError, match="NaN or infinity in .*2.*fc1.*fetch the file"):
        load_clip(str(folder))


def test_a_checkpoint_is_refused_when_it_is_loaded(world, tmp_path):
    config, method = world
    with pytest.raises(InputError, match="checkpoints/7 holds NaN or infinity in head"):
        Trained(config, method, BAD, tmp_path / "checkpoints" / "7", {})


def test_what_training_broke_is_not_saved():
    run = types.SimpleNamespace(_state=types.SimpleNamespace(params=BAD))
    with pytest.raises(InputError, match="what step 6 learned holds NaN.*diverged"):
        train.Run._save(run, 6)


def test_features_are_checked_when_they_are_stored_and_read(world, tmp_path):
    config, method = world
    source = open_dataset(config, "mvtec", ())
    devices = Devices(4, "train.batch_size")
    cache = FeatureCache(tmp_path, method)

    def visual(frozen, images):
        return jax.tree.map(
            lambda leaf: jnp.full((len(images), *leaf.shape[1:]), np.nan, jnp.float16),
            cache._like,
        )

    fill = {"batch_size": 4, "workers": 0}
    with pytest.raises(InputError, match="the frozen pass over a training picture"):
        cache.fill(source, visual, method.frozen, devices, **fill)
    assert not list(cache.folder.glob("*.safetensors"))
    rows = jax.tree.leaves(visual(None, np.zeros(1)))
    cache._write([("key", [np.asarray(leaf)[0] for leaf in rows])])
    with pytest.raises(InputError, match="the feature cache .* holds NaN or infinity"):
        cache.read(["key"])
