"""Both paths' taps are what each path gives by itself."""

import numpy as np
from numpy.testing import assert_allclose

from kanoclip_jax.clip import Clip
from kanoclip_jax.clip.paths import both_paths


def test_value_value_taps_come_first_and_then_the_ordinary(clip: Clip) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    both = both_paths(clip, clip.params, images, vv_start=2, taps=(1, 3, 4))
    assert both.taps.shape == (2, 6, 16, 64)
    for half, start in ((0, 2), (1, 5)):
        alone = clip.module.apply(
            {"params": clip.params},
            clip.normalise(images),
            vv_start=start,
            taps=(1, 3, 4),
            method="encode_image",
        )
        assert_allclose(both.taps[:, 3 * half : 3 * half + 3], alone.taps, atol=1e-5)
        assert_allclose(both.cls, alone.cls, atol=1e-5)
    # Before the V-V path begins, the two are one.
    assert_allclose(both.taps[:, 0], both.taps[:, 3], atol=1e-6)


def test_the_image_feature_of_the_value_path_is_had_by_name(clip: Clip) -> None:
    images = np.random.default_rng(1).integers(0, 256, (1, 32, 32, 3), np.uint8)
    own = both_paths(
        clip, clip.params, images, vv_start=2, taps=(4,), image_feature="vv"
    )
    ordinary = both_paths(clip, clip.params, images, vv_start=2, taps=(4,))
    assert np.abs(own.cls - ordinary.cls).max() > 1e-3
