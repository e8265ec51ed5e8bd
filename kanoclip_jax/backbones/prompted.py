"""Walks with prompts inside of both towers, other ones for each image (AdaCLIP).

Each is a function of a bound module, as those of `walks`. Where a gradient is to pass
through, blocks are computed again on the way back and only their inputs are kept. Of a
ViT-L/14 at 518 px in half precision that is, for one image, 24 · 1375 · 1024 · 2 bytes
= 68 MB of the image tower and 12 · 48 · 24 · 768 · 2 = 21 MB of the text tower; the
block at work needs 16 · 1375² · 4 = 121 MB for each copy of its attention matrices. As
XLA counts, AdaCLIP's step on one image takes 0.9 GB in float32 beside 1.7 GB of
arguments; without this, each block of the image tower takes 0.46 GB more. Only a
scheduler that minds memory saves so much: XLA's for CPUs computes all blocks again at
once, but with `XLA_FLAGS=--xla_cpu_enable_concurrency_optimized_scheduler=false`.
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from transformers.models.clip.modeling_flax_clip import FlaxCLIPEncoderLayer

from kanoclip_jax.backbones.blocks import block_plain
from kanoclip_jax.backbones.towers import DualPathCLIP, VisualTokens


def plain_image(
    module: DualPathCLIP, pixels: Float[Array, "b height width 3"]
) -> tuple[Float[Array, "b joint"], Float[Array, "b n d"]]:
    """CLIP's image feature, and the tokens that block 1 reads: what is there to prompt.

    Args:
        module: bound.
        pixels: normalised images.
    """
    tokens = hidden = module.enter(pixels)
    for block in module.blocks:
        hidden = block_plain(block, hidden)
    return module.leave(hidden[:, 0]), tokens


def prompted_image(
    module: DualPathCLIP,
    tokens: Float[Array, "b n d"],
    prompts: Float[Array, "b j k d"],
    taps: tuple[int, ...],
    *,
    again: bool = False,
) -> VisualTokens:
    """The image tower with k further tokens behind those of the patches.

    The first prompts enter block 1, those of blocks 2 … j take the place of what came
    out of the block before, and after block j they pass on.

    Args:
        module: bound.
        tokens: as `enter` gives them.
        prompts: of each image, for each of the first j blocks.
        taps: blocks (from 1, ascending) after which patch tokens are taken.
        again: compute blocks again on the way back; see above.
    """
    count, depths = tokens.shape[1], prompts.shape[1]
    run = _block(again)
    hidden = tokens.astype(module.dtype)
    tapped = []
    for depth, block in enumerate(module.blocks, start=1):
        if depth <= depths:
            own = prompts[:, depth - 1].astype(hidden.dtype)
            hidden = jnp.concatenate([hidden[:, :count], own], axis=1)
        hidden = run(block, hidden)
        if depth in taps:
            tapped.append(hidden[:, 1:count])
    return VisualTokens(module.leave(hidden[:, 0]), jnp.stack(tapped, axis=1))


def prompted_text(
    module: DualPathCLIP,
    ids: Int[Array, "b s t"],
    end: Int[Array, "b s"],
    prompts: Float[Array, "b j k w"],
    *,
    again: bool = False,
) -> Float[Array, "b s joint"]:
    """Sentences of each image, with its prompts in place of their first words.

    At the entrance of blocks 2 … j positions 1 … k are overwritten, in block 1 nothing
    is: the first of `prompts` is not read.

    Args:
        module: bound.
        ids: sentences, cut behind the last one's end: the causal mask makes what
            follows irrelevant.
        end: position of each sentence's end token.
        prompts: of each image, for each of the first j blocks.
        again: compute blocks again on the way back; see above.

    Returns:
        Their features in the joint space, not normalised.
    """
    text = module.text_model
    positions = text.embeddings.position_embedding(jnp.arange(ids.shape[2]))
    words = text.embeddings.token_embedding(ids) + positions
    batch, sentences, length, width = words.shape
    hidden = words.astype(module.dtype).reshape(-1, length, width)
    run = _block(again, causal=True)
    behind = 1 + prompts.shape[2]
    for depth, block in enumerate(text.encoder.layers.layers, start=1):
        if 2 <= depth <= prompts.shape[1]:
            own = prompts[:, depth - 1].astype(hidden.dtype)
            own = jnp.repeat(own, sentences, axis=0)
            hidden = jnp.concatenate([hidden[:, :1], own, hidden[:, behind:]], axis=1)
        hidden = run(block, hidden)
    hidden = hidden.reshape(batch, sentences, length, width)
    last = jnp.arange(length) == end[..., None]
    hidden = jnp.where(last[..., None], hidden, 0).sum(2)
    return module.text_projection(text.final_layer_norm(hidden))


def _block(
    again: bool, *, causal: bool = False
) -> Callable[[FlaxCLIPEncoderLayer, Array], Array]:
    run = functools.partial(block_plain, causal=causal)
    return nn.remat(run) if again else run
