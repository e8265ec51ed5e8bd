"""The feature cache: shards, completion after a kill, keys, and its choice by disk."""

import shutil
from collections import namedtuple

import jax
import numpy as np
import pytest

from kanoclip_jax.engine import feature_cache
from kanoclip_jax.engine.build import load_method, open_dataset
from kanoclip_jax.engine.feature_cache import FeatureCache, choose_cache
from kanoclip_jax.engine.settings import resolve
from kanoclip_jax.engine.sharding import Devices
from kanoclip_jax.engine.step import make_features


@pytest.fixture
def world(settings):
    config = resolve(settings())
    method = load_method(config)
    return method, open_dataset(config, "mvtec", ())


def fill(cache, world, visual=None):
    method, source = world
    devices = Devices(4, "train.batch_size")
    visual = visual or make_features(method, devices)
    cache.fill(source, visual, method.frozen, devices, batch_size=4, workers=0)


def test_what_is_read_is_what_the_tower_gives(world, tmp_path):
    method, source = world
    cache = FeatureCache(tmp_path, method)
    fill(cache, world)
    again = FeatureCache(tmp_path, method)
    from data_pipelines.transforms import decode_image

    order = [7, 2, 2]
    images = np.stack(
        [decode_image(source[i]["image"], "", method.image_size) for i in order]
    )
    expected = jax.device_get(jax.jit(method.visual)(method.frozen, images))
    found = again.read([source.key(i) for i in order])
    assert found.cls.dtype == found.taps.dtype == np.float16
    # Another batch size may differ in the last bit of a half.
    np.testing.assert_allclose(found.cls, expected.cls, rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(found.taps, expected.taps, rtol=2e-3, atol=2e-3)


def test_features_beyond_half_precision_saturate(world):
    method, _ = world
    clip = dict(method.frozen["clip"])
    clip["visual_projection"] = jax.tree.map(
        lambda kernel: 1e6 * kernel, clip["visual_projection"]
    )
    frozen = {"clip": clip}
    images = np.random.default_rng(0).integers(
        0, 256, (1, method.image_size, method.image_size, 3), np.uint8
    )
    devices = Devices(1, "train.batch_size", 1)
    found = make_features(method, devices)(frozen, images)
    assert np.isfinite(found.cls).all()
    assert np.abs(found.cls).max() == 65504


def test_a_killed_fill_is_completed(world, tmp_path, monkeypatch):
    method, source = world
    monkeypatch.setattr(feature_cache, "_SHARD_BYTES", 1)
    visual = jax.jit(method.visual)
    seen = []

    def dies(frozen, image):
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.append(image)
        return visual(frozen, image)

    cache = FeatureCache(tmp_path, method)
    with pytest.raises(KeyboardInterrupt):
        fill(cache, world, dies)
    left = FeatureCache(tmp_path, method)
    done = sum(source.key(i) in left for i in range(len(source)))
    assert done == 12
    counted = []

    def counts(frozen, image):
        counted.append(len(image))
        return visual(frozen, image)

    fill(left, world, counts)
    assert len(counted) == -(-(len(source) - 12) // 4)
    assert all(source.key(i) in left for i in range(len(source)))
    assert not list(tmp_path.rglob("*.partial"))


def test_a_damaged_shard_is_computed_again(world, tmp_path):
    method, source = world
    cache = FeatureCache(tmp_path, method)
    fill(cache, world)
    (shard,) = tmp_path.rglob("*.safetensors")
    shard.write_bytes(shard.read_bytes()[:100])
    again = FeatureCache(tmp_path, method)
    assert source.key(0) not in again
    fill(again, world)
    assert source.key(0) in again


def test_other_settings_have_another_folder(settings, world, tmp_path):
    method, _ = world
    here = FeatureCache(tmp_path, method).folder
    for key, value in (
        ("model__vv_start", 2),
        ("model__taps", "1,2"),
        ("model__image_feature", "vv"),
        ("clip__image_size", 64),
    ):
        other = load_method(resolve(settings(**{key: value})))
        assert FeatureCache(tmp_path, other).folder != here
    same = load_method(resolve(settings(model__bica_width=32, seed=5)))
    assert FeatureCache(tmp_path, same).folder == here


def test_auto_looks_at_the_disk_and_says_so(world, tmp_path, monkeypatch, capsys):
    method, source = world
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1000))
    assert choose_cache("auto", tmp_path, method, source) is None
    assert "features are not cached" in capsys.readouterr().out
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**12))
    assert choose_cache("auto", tmp_path, method, source) is not None
    assert choose_cache("never", tmp_path, method, source) is None
