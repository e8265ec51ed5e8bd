"""Where the tower is tapped, and that both paths' taps are what each gives by itself."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from kanoclip_jax.backbones import Clip
from kanoclip_jax.backbones.taps import tapped_blocks
from kanoclip_jax.errors import InputError


@pytest.mark.parametrize(
    ("depth", "chosen", "expected"),
    [
        (24, (), (6, 12, 18, 24)),
        (12, (), (3, 6, 9, 12)),
        (2, (), (1, 2)),
        (24, (18, 6, 18), (6, 18)),
    ],
)
def test_quarters_of_the_depth_unless_told_otherwise(depth, chosen, expected) -> None:
    assert tapped_blocks(depth, chosen) == expected


@pytest.mark.parametrize("tap", [0, 5])
def test_a_block_that_is_not_there_is_refused(tap: int) -> None:
    with pytest.raises(InputError, match=f"holds {tap}; this CLIP has blocks 1 to 4"):
        tapped_blocks(4, (1, tap))


def test_value_value_taps_come_first_and_then_the_ordinary(clip: Clip) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)

    def encode(start: int, paths: str):
        return clip.module.apply(
            {"params": clip.params},
            clip.normalise(images),
            vv_start=start,
            taps=(1, 3, 4),
            paths=paths,
            method="encode_image",
        )

    both = encode(2, "both")
    assert both.taps.shape == (2, 6, 16, 64)
    for half, start in ((0, 2), (1, 5)):
        alone = encode(start, "vv")
        assert_allclose(both.taps[:, 3 * half : 3 * half + 3], alone.taps, atol=1e-5)
        assert_allclose(both.cls, alone.cls, atol=1e-5)
    # Before the V-V path begins, the two are one.
    assert_allclose(both.taps[:, 0], both.taps[:, 3], atol=1e-6)
