"""BiCA, the block of Bi-CMCI: text and vision each attend to themselves, then each other."""

import functools

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from kanoclip_jax.nn.deformable import DeformableAttention
from kanoclip_jax.ops.attention import split_heads


class Affine(nn.Module):
    """The parameters of a `Dense`, for products in another order.

    Attributes:
        features: output width.
        use_bias: whether there is one.
        kernel_init: initialiser of the kernel.
    """

    features: int
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, width: int) -> tuple[Array, Array]:
        """Kernel [width, features], and the bias [features] or zero."""
        kernel = self.param("kernel", self.kernel_init, (width, self.features))
        if not self.use_bias:
            return kernel, jnp.zeros(())
        return kernel, self.param("bias", nn.initializers.zeros, (self.features,))


class CrossAttention(nn.Module):
    """Multi-head attention of `queries` over `context`, through an inner width.

    One side is a handful of text features, the other a thousand patches. Products of
    matrices associate, so each projection is multiplied onto the short side: a patch
    meets `heads · short` vectors instead of two `d × width` matrices, and nothing of
    size `patches × width` is kept. Keys have no bias, which the softmax would cancel.

    Attributes:
        width: inner width of queries, keys and values.
        heads: attention heads.
        output_init: initialiser of the output projection.
    """

    width: int = 256
    heads: int = 8
    output_init: nn.initializers.Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(
        self, queries: Float[Array, "b n d"], context: Float[Array, "b m e"]
    ) -> Float[Array, "b n d"]:
        """Attend; the output has the queries' shape."""
        channels, read = queries.shape[-1], context.shape[-1]
        size = self.width // self.heads
        by_head = (-1, self.heads, size)
        query, query_bias = Affine(self.width, name="query")(channels)
        key, _ = Affine(self.width, use_bias=False, name="key")(read)
        value, value_bias = Affine(self.width, name="value")(read)
        output, output_bias = Affine(
            channels, kernel_init=self.output_init, name="output"
        )(self.width)
        key, value = key.reshape(by_head), value.reshape(by_head)
        output = output.reshape(self.heads, size, channels)
        value_bias = value_bias.reshape(by_head[1:])
        if queries.shape[1] < context.shape[1]:
            asked = split_heads(queries @ query + query_bias, self.heads)
            asked = jnp.einsum("bnhk,ehk->bnhe", asked, key)
            logits = jnp.einsum("bnhe,bme->bnhm", asked, context)
            weights = nn.softmax(logits / size**0.5)
            found = jnp.einsum("bnhm,bme->bnhe", weights, context)
            found = jnp.einsum("bnhe,ehk->bnhk", found, value) + value_bias
            return jnp.einsum("bnhk,hkd->bnd", found, output) + output_bias
        query = query.reshape(by_head)
        keys = jnp.einsum("bme,ehk->bmhk", context, key)
        constant = jnp.einsum("hk,bmhk->bhm", query_bias.reshape(by_head[1:]), keys)
        asked = jnp.einsum("dhk,bmhk->bhmd", query, keys)
        logits = jnp.einsum("bnd,bhmd->bnhm", queries, asked) + constant[:, None]
        weights = nn.softmax(logits / size**0.5)
        told = jnp.einsum("bme,ehk->bmhk", context, value) + value_bias
        told = jnp.einsum("bmhk,hkd->bhmd", told, output)
        return jnp.einsum("bnhm,bhmd->bnd", weights, told) + output_bias


class FeedForward(nn.Module):
    """Pre-normalised two-layer perceptron.

    Attributes:
        expansion: inner width over outer width.
        output_init: initialiser of the output projection.
    """

    expansion: int = 4
    output_init: nn.initializers.Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, tokens: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
        """The residual branch alone."""
        width = tokens.shape[-1]
        hidden = nn.Dense(self.expansion * width)(nn.LayerNorm()(tokens))
        return nn.Dense(width, kernel_init=self.output_init)(nn.gelu(hidden))


class LayerScale(nn.Module):
    """A learned factor for each channel of a residual branch (Touvron et al., 2021)."""

    initial: float

    @nn.compact
    def __call__(self, branch: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
        """Scale the branch."""
        init = nn.initializers.constant(self.initial)
        return branch * self.param("scale", init, (branch.shape[-1],))


class BiCA(nn.Module):
    """Bi-directional cross-modal attention at one tap (section 2.4 of the paper).

    Text self-attention; deformable visual self-attention; then text-to-visual and
    visual-to-text cross-attention from the same inputs. All branches are residual.
    Their output projections start at zero, so that the block starts as the identity.

    Attributes:
        width: inner width of the attentions.
        heads: attention heads.
        groups: offset groups of the deformable attention.
        stride: cells between its reference points.
        kernel: side of its offset window.
        layer_scale: 0 for zero-initialised outputs, or LayerScale's initial factor
            (GroundingDINO: 1e-4), with ordinary outputs.
        feed_forward: add a feed-forward branch on either side.
    """

    width: int = 256
    heads: int = 8
    groups: int = 4
    stride: int = 4
    kernel: int = 5
    layer_scale: float = 0.0
    feed_forward: bool = False

    @nn.compact
    def __call__(
        self, text: Float[Array, "b s d"], visual: Float[Array, "b n d"]
    ) -> tuple[Float[Array, "b s d"], Float[Array, "b n d"]]:
        """Refine both sides; shapes stay."""
        init = (
            nn.initializers.lecun_normal()
            if self.layer_scale
            else nn.initializers.zeros
        )
        attention = functools.partial(
            CrossAttention, self.width, self.heads, output_init=init
        )
        normed = nn.LayerNorm(name="text_norm")(text)
        text += self._scaled(attention(name="text_self")(normed, normed), "text_self")
        deformable = DeformableAttention(
            self.width,
            self.heads,
            self.groups,
            self.stride,
            self.kernel,
            output_init=init,
            name="visual_self",
        )
        normed = nn.LayerNorm(name="visual_norm")(visual)
        visual += self._scaled(deformable(normed), "visual_self")

        text_in = nn.LayerNorm(name="text_cross_norm")(text)
        visual_in = nn.LayerNorm(name="visual_cross_norm")(visual)
        text += self._scaled(
            attention(name="visual_to_text")(text_in, visual_in), "visual_to_text"
        )
        visual += self._scaled(
            attention(name="text_to_visual")(visual_in, text_in), "text_to_visual"
        )
        if self.feed_forward:
            text += self._scaled(
                FeedForward(output_init=init, name="text_feed_forward")(text), "text_ff"
            )
            visual += self._scaled(
                FeedForward(output_init=init, name="visual_feed_forward")(visual),
                "visual_ff",
            )
        return text, visual

    def _scaled(self, branch: Float[Array, "b n d"], name: str) -> Array:
        if not self.layer_scale:
            return branch
        return LayerScale(self.layer_scale, name=f"{name}_scale")(branch)


def expand_text(text: Array, batch: int) -> Float[Array, "b s d"]:
    """Text features for each image: `[s, d]` is shared, `[b, s, d]` is as it is."""
    if text.ndim == 2:
        return jnp.broadcast_to(text, (batch, *text.shape))
    return text
