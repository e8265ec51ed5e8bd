"""A block of either tower in pieces: a method's walk puts them together its own way."""

from jaxtyping import Array, Float
from transformers.models.clip.modeling_flax_clip import FlaxCLIPEncoderLayer

from kanoclip_jax.ops.attention import attend, merge_heads, split_heads


def block_heads(
    block: FlaxCLIPEncoderLayer,
    normed: Float[Array, "b n d"],
    projections: str = "qkv",
) -> tuple[Float[Array, "b n heads size"], ...]:
    """What a block's attention reads, split into heads.

    Args:
        block: of a bound tower.
        normed: tokens after the block's `layer_norm1`.
        projections: which of queries, keys and values, in the order of the letters.
    """
    attention, heads = block.self_attn, block.config.num_attention_heads
    own = {"q": attention.q_proj, "k": attention.k_proj, "v": attention.v_proj}
    return tuple(split_heads(own[letter](normed), heads) for letter in projections)


def block_attention(
    block: FlaxCLIPEncoderLayer,
    query: Float[Array, "b t heads size"],
    key: Float[Array, "b s heads size"],
    value: Float[Array, "b s heads size"],
    *,
    causal: bool = False,
) -> Float[Array, "b t d"]:
    """What a block's attention adds to the tokens that ask; see `attend`."""
    attended = attend(query, key, value, causal=causal)
    return block.self_attn.out_proj(merge_heads(attended))


def block_mlp(
    block: FlaxCLIPEncoderLayer, hidden: Float[Array, "b n d"]
) -> Float[Array, "b n d"]:
    """What a block's MLP adds to the tokens after attention."""
    return block.mlp(block.layer_norm2(hidden))


def block_plain(
    block: FlaxCLIPEncoderLayer, hidden: Float[Array, "b n d"], *, causal: bool = False
) -> Float[Array, "b n d"]:
    """Tokens after a block as CLIP's image tower has it, its text tower if `causal`."""
    normed = block.layer_norm1(hidden)
    hidden += block_attention(block, *block_heads(block, normed), causal=causal)
    return hidden + block_mlp(block, hidden)
