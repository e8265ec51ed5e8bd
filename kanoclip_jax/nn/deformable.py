"""Deformable visual self-attention: few keys, at positions that the query tokens move.

After DAT (Xia et al., CVPR 2022; LeapLabTHU/DAT, Apache-2.0) with two changes. The
reference points are the centres of the offset network's own strided windows, so that
zero offsets give exactly strided attention at any grid size. Bilinear sampling is a
product with an interpolation matrix instead of gathers, so its gradient needs no
scatter and is deterministic on every device.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kanoclip_jax.ops import lowering
from kanoclip_jax.ops.attention import attend, merge_heads, split_heads


def interpolation_weights(
    positions: Float[Array, "*batch"], size: int
) -> Float[Array, "*batch {size}"]:
    """Linear interpolation weights of points on an axis of `size` cells.

    Args:
        positions: in cells, 0 the first centre and size - 1 the last; points outside
            are moved to the border.
        size: cells on the axis.
    """
    positions = jnp.clip(positions, 0.0, size - 1.0)
    left = jnp.floor(positions)
    fraction = (positions - left)[..., None]
    left = left.astype(jnp.int32)
    right = jnp.minimum(left + 1, size - 1)
    return (1 - fraction) * jax.nn.one_hot(left, size) + fraction * jax.nn.one_hot(
        right, size
    )


def sample_bilinear(
    grid: Float[Array, "b h w g c"], points: Float[Array, "b s g 2"]
) -> Float[Array, "b s g c"]:
    """Sample each channel group at its own points.

    Args:
        grid: values on a patch grid, channels split in groups.
        points: (row, column) in cells.
    """
    rows = interpolation_weights(points[..., 0], grid.shape[1])
    columns = interpolation_weights(points[..., 1], grid.shape[2])
    weights = jnp.einsum("bsgh,bsgw->bgshw", rows, columns)
    return jnp.einsum("bgshw,bhwgc->bsgc", weights, grid)


class StridedWindow(nn.Module):
    """A depthwise convolution with stride, as a sum of shifted slices.

    The same numbers as `flax.linen.Conv(feature_group_count=channels)`, whose gradient
    XLA computes about ten times slower on a CPU.

    Attributes:
        kernel: side of the window, odd; the border is padded with zeros.
        stride: cells between windows.
    """

    kernel: int
    stride: int

    @nn.compact
    def __call__(self, grid: Float[Array, "b h w c"]) -> Float[Array, "b i j c"]:
        """One output for each window."""
        channels, half = grid.shape[-1], self.kernel // 2
        shape = (self.kernel, self.kernel, 1, channels)
        weights = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        if lowering.target() == "onnx":
            return bias + jax.lax.conv_general_dilated(
                grid,
                weights,
                window_strides=(self.stride, self.stride),
                padding=[(half, half)] * 2,
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
                feature_group_count=channels,
            )
        rows, columns = (-(-side // self.stride) for side in grid.shape[1:3])
        padded = jnp.pad(grid, ((0, 0), (half, half), (half, half), (0, 0)))
        total = jnp.broadcast_to(bias, (grid.shape[0], rows, columns, channels))
        for y in range(self.kernel):
            for x in range(self.kernel):
                window = padded[:, y :: self.stride, x :: self.stride]
                total += window[:, :rows, :columns] * weights[y, x, 0]
        return total


class DeformableAttention(nn.Module):
    """Multi-head attention of every token over deformed, strided samples.

    Attributes:
        width: inner width of queries, keys and values.
        heads: attention heads.
        groups: offset groups, each with its own sampling points.
        stride: cells between reference points.
        kernel: side of the offset network's depthwise window.
        offset_range: the farthest that a point moves, in strides.
        output_init: initialiser of the output projection.
    """

    width: int = 256
    heads: int = 8
    groups: int = 4
    stride: int = 4
    kernel: int = 5
    offset_range: float = 1.0
    output_init: nn.initializers.Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, tokens: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
        """Attend over a square grid of tokens (row by row)."""
        batch, count, channels = tokens.shape
        side = round(count**0.5)
        query = nn.Dense(self.width, name="query")(tokens)
        points = self._points(query.reshape(batch, side, side, self.width))
        grid = tokens.reshape(batch, side, side, self.groups, -1)
        sampled = sample_bilinear(grid, points).reshape(batch, -1, channels)
        key = nn.Dense(self.width, name="key")(sampled)
        value = nn.Dense(self.width, name="value")(sampled)
        attended = attend(*(split_heads(x, self.heads) for x in (query, key, value)))
        output = nn.Dense(channels, kernel_init=self.output_init, name="output")
        return output(merge_heads(attended))

    def _points(self, query: Float[Array, "b h w d"]) -> Float[Array, "b s g 2"]:
        """Reference points plus bounded offsets, one set for each group."""
        batch, side = query.shape[:2]
        # The offset network is shared by the groups, as in DAT: fold them into b.
        folded = query.reshape(batch, side, side, self.groups, -1)
        folded = jnp.moveaxis(folded, 3, 1).reshape(batch * self.groups, side, side, -1)
        hidden = StridedWindow(self.kernel, self.stride, name="offset_window")(folded)
        hidden = nn.gelu(nn.LayerNorm(name="offset_norm")(hidden))
        offsets = nn.Dense(2, use_bias=False, name="offset")(hidden)
        rows = offsets.shape[1]
        reach = self.offset_range * self.stride
        offsets = jnp.tanh(offsets.reshape(batch, self.groups, rows * rows, 2)) * reach
        centres = jnp.arange(rows, dtype=jnp.float32) * self.stride
        reference = jnp.stack(jnp.meshgrid(centres, centres, indexing="ij"), -1)
        return jnp.moveaxis(reference.reshape(-1, 2) + offsets, 1, 2)
