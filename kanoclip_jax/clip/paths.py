"""Where the image tower is tapped: after which blocks, and on both of its paths."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, UInt8

from kanoclip_jax.clip.towers import ImageFeature, VisualTokens
from kanoclip_jax.clip.weights import Clip
from kanoclip_jax.errors import InputError


def tapped_blocks(depth: int, chosen: tuple[int, ...] = ()) -> tuple[int, ...]:
    """Blocks after which tokens are taken, ascending.

    Args:
        depth: blocks of the tower.
        chosen: those asked for, from 1; depth · {1, 2, 3, 4} // 4 if empty.

    Raises:
        InputError: the tower has no such block.
    """
    for tap in chosen:
        if not 1 <= tap <= depth:
            raise InputError(
                f"model.taps holds {tap}; this CLIP has blocks 1 to {depth}"
            )
    quarters = [max(depth * quarter // 4, 1) for quarter in (1, 2, 3, 4)]
    return tuple(sorted(set(chosen or quarters)))


def both_paths(
    clip: Clip,
    frozen: Mapping[str, Any],
    images: UInt8[Array, "b h w 3"],
    *,
    vv_start: int,
    taps: tuple[int, ...],
    image_feature: ImageFeature = "post_layernorm",
) -> VisualTokens:
    """Take patch tokens of both paths after the same blocks.

    The V-V path shows what a patch is made of, the ordinary one what it means beside
    the others; a head may read both.

    Args:
        clip: the frozen backbone.
        frozen: its parameters.
        images: pixels, as they come.
        vv_start: first block of the V-V path, from 1.
        taps: `l` blocks (from 1, ascending) after which tokens are taken.
        image_feature: see `DualPathCLIP.encode_image`.

    Returns:
        The image feature [b, joint], and taps [b, 2l, n, d]: `l` of the V-V path, then
        `l` of the ordinary path, in the tower's own width.
    """
    pixels = clip.normalise(images)
    value, ordinary = (
        clip.module.apply(
            {"params": frozen},
            pixels,
            vv_start=start,
            taps=taps,
            image_feature=image_feature,
            method="encode_image",
        )
        for start in (vv_start, clip.depth + 1)
    )
    return VisualTokens(value.cls, jnp.concatenate([value.taps, ordinary.taps], axis=1))
