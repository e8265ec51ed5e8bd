"""The frozen CLIP in pieces, with the dual-path image tower and the splice of prompts.

Wraps transformers' Flax CLIP (Apache-2.0): the modules and the parameter tree are
theirs, unchanged; only the walks through the blocks are ours.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int
from transformers import CLIPConfig
from transformers.models.clip.modeling_flax_clip import (
    FlaxCLIPEncoderLayer,
    FlaxCLIPModule,
)

from kanoclip_jax.backbones.blocks import block_attention, block_heads, block_mlp

ImageFeature = Literal["post_layernorm", "plain", "vv"]
Paths = Literal["vv", "both"]


class VisualTokens(NamedTuple):
    """What one pass over an image gives.

    Attributes:
        cls: the image feature in the joint space, not normalised.
        taps: patch tokens after each tapped block, in the tower's own width (before
            `post_layernorm`): of the V-V path where there is one, then those of the
            original path where both are asked for.
    """

    cls: Float[Array, "b joint"]
    taps: Float[Array, "b l n d"]


class KeyValue(NamedTuple):
    """Keys and values of some positions of a text."""

    key: Float[Array, "p t heads size"]
    value: Float[Array, "p t heads size"]


class DualPathCLIP(FlaxCLIPModule):
    """CLIP with a value-value path in its image tower and prompts spliced in its text.

    Call its methods through `module.apply({"params": params}, …, method=…)`; `method`
    may be any function of the bound module, which is how another walk through the
    image tower is written: `enter`, a loop over `blocks`, `leave`.

    Attributes:
        dtype: of the computation.
    """

    dtype: DTypeLike = jnp.float32

    def embed(self, pixels: Float[Array, "b height width 3"]) -> Float[Array, "b n d"]:
        """CLS and patches, row by row, with positions, before `pre_layrnorm`."""
        return self.vision_model.embeddings(pixels)

    def enter(self, pixels: Float[Array, "b height width 3"]) -> Float[Array, "b n d"]:
        """Tokens as the first block of the image tower reads them, CLS first."""
        return self.vision_model.pre_layrnorm(self.embed(pixels))

    @property
    def blocks(self) -> list[FlaxCLIPEncoderLayer]:
        """Blocks of the image tower; `backbones.blocks` takes them apart."""
        return self.vision_model.encoder.layers.layers

    def leave(
        self, tokens: Float[Array, "*axes d"], norm: bool = True
    ) -> Float[Array, "*axes joint"]:
        """Tokens in the joint space, not normalised; CLIP does so with the CLS alone.

        Args:
            tokens: of the image tower, after a block.
            norm: apply `post_layernorm` first.
        """
        if norm:
            tokens = self.vision_model.post_layernorm(tokens)
        return self.visual_projection(tokens)

    def encode_image(
        self,
        pixels: Float[Array, "b height width 3"],
        *,
        vv_start: int,
        taps: tuple[int, ...],
        image_feature: ImageFeature = "post_layernorm",
        paths: Paths = "vv",
    ) -> VisualTokens:
        """Run both paths once (eq. 4-8 of KAnoCLIP; AnomalyCLIP's DPAM).

        The V-V path reads the *original* path through each block's own `layer_norm1`,
        `v_proj` and `out_proj`, attends with V for query, key and value, and has no
        MLP: `vv_l = vv_{l-1} + out_proj(attn(v, v, v))`. Up to `vv_start - 1` it is
        the original path.

        Where the original path is not tapped, its last block's tokens are read by nobody
        but the V-V path, which takes their values: beside a V-V path, that block's
        queries and MLP are the CLS token's alone. This is exact.

        Args:
            pixels: normalised images.
            vv_start: first block (counted from 1) with a V-V path; beyond the depth
                there is none and the taps are plain CLIP's.
            taps: blocks (from 1, ascending) after which patch tokens are taken.
            image_feature: CLS of the original path after `post_layernorm` and
                projection; `plain` leaves out `post_layernorm`, as AnomalyCLIP; `vv`
                takes the V-V path's CLS.
            paths: which paths' taps are returned.
        """
        original = value_path = self.enter(pixels)
        value_taps, original_taps = [], []
        for depth, block in enumerate(self.blocks, start=1):
            normed = block.layer_norm1(original)
            key, value = block_heads(block, normed, "kv")
            if depth >= vv_start:
                value_path += block_attention(block, value, value, value)
            if depth == len(self.blocks) >= vv_start and paths == "vv":
                original, normed = original[:, :1], normed[:, :1]
            (query,) = block_heads(block, normed, "q")
            original += block_attention(block, query, key, value)
            original += block_mlp(block, original)
            if depth < vv_start:
                value_path = original
            if depth in taps:
                value_taps.append(value_path[:, 1:])
                original_taps.append(original[:, 1:])
        source = value_path if image_feature == "vv" else original
        cls = self.leave(source[:, 0], norm=image_feature != "plain")
        taps = value_taps + (original_taps if paths == "both" else [])
        return VisualTokens(cls, jnp.stack(taps, axis=1))

    def encode_text(
        self,
        token_ids: Int[Array, "p t"],
        end: Int[Array, " p"],
        context: Float[Array, "k w"] | None = None,
        deep: Float[Array, "j m w"] | None = None,
        inserted: Float[Array, "p w"] | None = None,
    ) -> Float[Array, "p joint"]:
        """Encode prompts, with learned vectors in place of the tokens after the start.

        The causal mask makes everything behind `end` irrelevant, so callers truncate
        `token_ids` after the last prompt's end; and the start and the learned vectors
        never see the words, so they pass the tower once for all prompts. Both are
        exact.

        Args:
            token_ids: start token, `k` placeholders (and one more for what is inserted),
                words, end token, padding.
            end: position of each prompt's end token.
            context: learned context (eq. 1), put at positions 1 … k of every prompt.
            deep: with a context, tokens that overwrite positions 1 … m, m ≤ k, at the
                entrance of blocks 2 … j + 1, as AnomalyCLIP's compound prompts.
            inserted: behind the context, a vector for each prompt in place of position
                k + 1's token, as Crane's feature of the image.

        Returns:
            Text features in the joint space, not normalised.
        """
        text = self.text_model
        positions = text.embeddings.position_embedding(jnp.arange(token_ids.shape[1]))
        shared = 0 if context is None else 1 + context.shape[0]
        words = text.embeddings.token_embedding(token_ids[:, shared:])
        if inserted is not None:
            first = inserted[:, None].astype(words.dtype)
            words = jnp.concatenate([first, words[:, 1:]], 1)
        words = (words + positions[shared:]).astype(self.dtype)
        if shared:
            start = text.embeddings.token_embedding(token_ids[:1, :1])
            prefix = jnp.concatenate([start, context[None].astype(start.dtype)], 1)
            prefix = (prefix + positions[:shared]).astype(self.dtype)
        before = None
        for depth, block in enumerate(text.encoder.layers.layers, start=1):
            if deep is not None and 2 <= depth <= deep.shape[0] + 1:
                tokens = deep[depth - 2].astype(prefix.dtype)
                prefix = prefix.at[:, 1 : 1 + tokens.shape[0]].set(tokens)
            if shared:
                prefix, before = self._text_block(block, prefix)
            words, _ = self._text_block(block, words, before)
        words = text.final_layer_norm(words)
        # A row for each prompt by its number is what ONNX has no word for, where any
        # number of pictures brings its own prompts.
        last = jnp.arange(words.shape[1]) == (end - shared)[:, None]
        return self.text_projection(jnp.where(last[..., None], words, 0).sum(1))

    def _text_block(
        self,
        block: FlaxCLIPEncoderLayer,
        hidden: Float[Array, "p t w"],
        before: KeyValue | None = None,
    ) -> tuple[Float[Array, "p t w"], KeyValue]:
        """One block, and its keys and values; `before` are those of a shared prefix."""
        query, key, value = block_heads(block, block.layer_norm1(hidden))
        seen = KeyValue(key, value)
        if before is not None:
            prompts = hidden.shape[0]
            seen = KeyValue(
                *(
                    jnp.concatenate([jnp.repeat(first, prompts, axis=0), own], 1)
                    for first, own in zip(before, seen, strict=True)
                )
            )
        hidden += block_attention(block, query, *seen, causal=True)
        return hidden + block_mlp(block, hidden), seen


def round_blocks(params: Mapping[str, Any], dtype: DTypeLike) -> dict[str, Any]:
    """The weights of attention and MLPs in the dtype of the computation.

    Their modules would round them so in every call: 0.3 billion numbers for a ViT-L,
    read and written again for each batch. Whatever is also read in float32 (norms,
    embeddings, the projections to the joint space) is left alone.

    Args:
        params: transformers' tree.
        dtype: of the computation.
    """

    def rounded(path: tuple[Any, ...], leaf: Array) -> Array:
        names = {entry.key for entry in path}
        return leaf.astype(dtype) if names & {"self_attn", "mlp"} else leaf

    return jax.tree_util.tree_map_with_path(rounded, params)


def make_config(**overrides: object) -> CLIPConfig:
    """A CLIP configuration from keywords, as `config.json` holds them."""
    return CLIPConfig(**overrides)
