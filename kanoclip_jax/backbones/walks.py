"""Walks through the image tower that several methods share.

Each is a function of a bound module, for `module.apply({"params": params}, …,
method=walk)`.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from kanoclip_jax.backbones.blocks import block_plain
from kanoclip_jax.backbones.towers import DualPathCLIP, VisualTokens
from kanoclip_jax.errors import InputError


def plain_taps(
    module: DualPathCLIP,
    pixels: Float[Array, "b height width 3"],
    taps: tuple[int, ...],
) -> VisualTokens:
    """CLIP's own walk, with the residual stream taken on the way (APRIL-GAN, CLIP).

    Args:
        module: bound.
        pixels: normalised images.
        taps: blocks (from 1, ascending) after which patch tokens are taken.
    """
    hidden = module.enter(pixels)
    tapped = []
    for depth, block in enumerate(module.blocks, start=1):
        hidden = block_plain(block, hidden)
        if depth in taps:
            tapped.append(hidden[:, 1:])
    return VisualTokens(module.leave(hidden[:, 0]), jnp.stack(tapped, axis=1))


def enter_to(
    module: DualPathCLIP, pixels: Float[Array, "b height width 3"], last: int
) -> Float[Array, "b n d"]:
    """The residual stream after block `last` (from 1), CLS first (MVFA)."""
    return through(module, module.enter(pixels), 0, last)


def through(
    module: DualPathCLIP, hidden: Float[Array, "b n d"], first: int, last: int
) -> Float[Array, "b n d"]:
    """Tokens after block `last`, from those after block `first` (both from 1)."""
    for block in module.blocks[first:last]:
        hidden = block_plain(block, hidden)
    return hidden


def encode_windows(
    module: DualPathCLIP,
    pixels: Float[Array, "b height width 3"],
    sizes: tuple[int, ...] = (2, 3),
) -> tuple[Float[Array, "b _ joint"], ...]:
    """Image features of the tower run on parts of the image (WinCLIP).

    A window's sequence is the CLS token and the window's patches at their own positions.
    One window of the grid's size is the whole image, and its feature CLIP's.

    Args:
        module: bound.
        pixels: normalised images.
        sizes: patches along one side of the windows.

    Returns:
        For each size, the windows' features in the order of `window_patches`, in the
        joint space, not normalised.

    Raises:
        InputError: a size that the grid of patches has no windows of.
    """
    vision = module.config.vision_config
    # The entrance treats each token by itself, so once for all windows is exact.
    tokens = module.enter(pixels)
    features = []
    for size in sizes:
        patches = window_patches(vision.image_size // vision.patch_size, size)
        cls_first = np.pad(1 + patches, ((0, 0), (1, 0)))
        hidden = tokens[:, cls_first].reshape(-1, 1 + size**2, tokens.shape[-1])
        for block in module.blocks:
            hidden = block_plain(block, hidden)
        cls = module.leave(hidden[:, 0])
        features.append(cls.reshape(tokens.shape[0], len(patches), -1))
    return tuple(features)


def window_patches(grid: int, size: int) -> Int[np.ndarray, "windows patches"]:
    """Which patches each square window holds, at stride 1.

    Args:
        grid: patches along one side of the image.
        size: patches along one side of a window.

    Returns:
        Patch indices from 0, row by row; windows in the order of their first patch.

    Raises:
        InputError: the grid has no window of that size.
    """
    if not 1 <= size <= grid:
        raise InputError(
            f"windows of {size} × {size} patches do not fit {grid} × {grid}; allowed: "
            f"1 to {grid}"
        )
    index = np.arange(grid**2).reshape(grid, grid)
    windows = np.lib.stride_tricks.sliding_window_view(index, (size, size))
    return windows.reshape(-1, size**2)
