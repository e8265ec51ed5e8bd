"""DINOv2 as a second frozen backbone: a guide that tells which patches are alike.

Meta's ViT with or without registers (Oquab et al., arXiv 2304.07193; Darcet et al.,
arXiv 2309.16588; code and weights Apache-2.0). Written anew, for transformers' Flax
port knows no registers.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, UInt8

from kanoclip_jax.backbones.dino_files import Shape, read_dino
from kanoclip_jax.backbones.locate import locate_guide
from kanoclip_jax.backbones.tensors import digest
from kanoclip_jax.backbones.weights import resize_position_grid
from kanoclip_jax.errors import InputError
from kanoclip_jax.finite import check_finite
from kanoclip_jax.ops.attention import attend, merge_heads, split_heads

# ImageNet's, as all of its models were trained.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Block(nn.Module):
    """`x + γ₁ attention(LN x)`, then `x + γ₂ MLP(LN x)`.

    Attributes:
        heads: of the attention.
        inner: width of the MLP.
        epsilon: of the norms.
        dtype: of the computation.
    """

    heads: int
    inner: int
    epsilon: float
    dtype: DTypeLike

    @nn.compact
    def __call__(self, hidden: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
        """Tokens after the block."""
        width = hidden.shape[-1]

        def dense(name: str, size: int = width) -> nn.Dense:
            return nn.Dense(size, dtype=self.dtype, name=name)

        def scaled(name: str, added: Array) -> Array:
            return self.param(name, nn.initializers.ones, (width,)) * added

        normed = layer_norm(self.epsilon, "norm1")(hidden)
        query, key, value = (
            split_heads(dense(name)(normed), self.heads)
            for name in ("query", "key", "value")
        )
        attended = dense("out")(merge_heads(attend(query, key, value)))
        hidden = hidden + scaled("scale1", attended)
        normed = layer_norm(self.epsilon, "norm2")(hidden)
        inner = nn.gelu(dense("fc1", self.inner)(normed), approximate=False)
        return hidden + scaled("scale2", dense("fc2")(inner))


class Tower(nn.Module):
    """The whole model; the residual stream and the norms are float32.

    Attributes:
        shape: of it.
        width: of the tokens.
        inner: of the blocks' MLPs.
        grid: patches along one side of what it reads.
        dtype: of the computation in blocks.
    """

    shape: Shape
    width: int
    inner: int
    grid: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, pixels: Float[Array, "b height width 3"]
    ) -> Float[Array, "b n d"]:
        """Tokens of the patches, row by row, after the final norm."""
        zeros, (batch, *_) = nn.initializers.zeros, pixels.shape
        patch = (self.shape.patch, self.shape.patch)
        patches = nn.Conv(
            self.width, patch, patch, padding="VALID", dtype=self.dtype, name="patch"
        )(pixels).reshape(batch, -1, self.width)

        def learned(name: str, count: int) -> Array:
            return self.param(name, zeros, (count, self.width))

        positions = learned("positions", self.grid**2 + 1)
        # Registers stand behind the CLS token and have no position.
        first = learned("cls", 1) + positions[:1]
        if self.shape.registers:
            registers = learned("registers", self.shape.registers)
            first = jnp.concatenate([first, registers])
        first = jnp.broadcast_to(first, (batch, *first.shape))
        hidden = jnp.concatenate([first, patches + positions[1:]], axis=1)
        for index in range(self.shape.depth):
            hidden = Block(
                self.shape.heads,
                self.inner,
                self.shape.epsilon,
                self.dtype,
                name=f"blocks_{index}",
            )(hidden)
        return layer_norm(self.shape.epsilon, "norm")(hidden[:, first.shape[1] :])


def layer_norm(epsilon: float, name: str) -> nn.LayerNorm:
    """A norm whose variance is that of the centred tokens."""
    return nn.LayerNorm(epsilon, use_fast_variance=False, name=name)


@dataclass(frozen=True, eq=False)
class Dino:
    """A frozen DINOv2, ready to run.

    Attributes:
        name: as it was asked for.
        module: the tower; holds no parameters.
        params: float32, but for the blocks' kernels, which are in the dtype of the
            computation.
        image_size: of its input, in pixels.
        fingerprint: sha256 of the weights as published, whatever the file's format.
    """

    name: str
    module: Tower
    params: dict[str, Any]
    image_size: int
    fingerprint: str

    @property
    def grid(self) -> int:
        """Patches along one side."""
        return self.module.grid

    @property
    def description(self) -> str:
        """sha256 of what the weights do not say themselves."""
        return hashlib.sha256(str(tuple(self.module.shape)).encode()).hexdigest()

    def reading(self) -> dict[str, object]:
        """All that a pass over an image depends on."""
        positions = np.ascontiguousarray(self.params["positions"])
        return {
            "guide": self.fingerprint,
            "shape": list(self.module.shape),
            "positions": hashlib.sha256(positions).hexdigest(),
            "image_size": self.image_size,
            "compute": jnp.dtype(self.module.dtype).name,
        }

    def encode(
        self, params: dict[str, Any], images: UInt8[Array, "b h w 3"]
    ) -> Float[Array, "b n d"]:
        """Tokens of the patches of images, row by row.

        Args:
            params: its own.
            images: pixels as CLIP gets them.
        """
        scaled = images.astype(jnp.float32) / 255.0
        pixels = (scaled - jnp.asarray(MEAN)) / jnp.asarray(STD)
        return self.module.apply({"params": params}, pixels)


def load_dino(name: str, image_size: int, *, dtype: DTypeLike = jnp.float32) -> Dino:
    """Load a DINOv2 for images of one size.

    Positions are resized as its code does: bicubic, with antialias where there are
    registers; by the size asked for, without the offset of 0.1 that older code has.

    Args:
        name: a local directory, the authors' `.pth` or a Hugging Face id.
        image_size: in pixels, a multiple of its patch.
        dtype: of the computation.

    Raises:
        InputError: no such model, files that do not fit together, or a size that does
            not suit the patch.
    """
    path = locate_guide(name)
    shape, flat = read_dino(path)
    if image_size % shape.patch:
        below = max(image_size // shape.patch, 1) * shape.patch
        raise InputError(
            f"clip.image_size {image_size} is not a multiple of the guide's patch, "
            f"{shape.patch} px; the nearest are {below} and {below + shape.patch}"
        )
    check_finite(flat, str(path), "fetch the file again")
    fingerprint = digest(flat)
    grid = image_size // shape.patch
    flat["positions",] = resize_position_grid(
        flat["positions",], grid, "bicubic_antialias" if shape.registers else "bicubic"
    )
    inner = flat.get(("blocks_0", "fc1", "bias"), np.zeros(0)).size
    width = flat["cls",].shape[-1]
    tower = Tower(shape, width, inner, grid, dtype)
    _check(path, flat, tower, image_size)
    return Dino(
        name=name,
        module=tower,
        params=jax.device_put(_round(flax.traverse_util.unflatten_dict(flat), dtype)),
        image_size=image_size,
        fingerprint=fingerprint,
    )


def _check(
    path: Any, flat: dict[tuple[str, ...], np.ndarray], tower: Tower, size: int
) -> None:
    """Every weight is there, in its shape, and no other.

    Raises:
        InputError: names the first that is not.
    """
    tree = jax.eval_shape(
        lambda: tower.init(jax.random.key(0), jnp.zeros((1, size, size, 3)))["params"]
    )
    wanted = {
        key: leaf.shape for key, leaf in flax.traverse_util.flatten_dict(tree).items()
    }
    for key in sorted(wanted.keys() | flat.keys()):
        found = flat[key].shape if key in flat else None
        if found != wanted.get(key):
            raise InputError(
                f"{path} is no DINOv2 that is known here: {'.'.join(key)} has the shape "
                f"{found}, {wanted.get(key)} is expected; fetch, for one, "
                "facebook/dinov2-with-registers-base"
            )


def _round(params: dict[str, Any], dtype: DTypeLike) -> dict[str, Any]:
    """The blocks' kernels in the dtype of the computation, once instead of per call."""

    def rounded(path: tuple[Any, ...], leaf: np.ndarray) -> Array:
        own = path[0].key.startswith("blocks_") and path[-1].key == "kernel"
        return jnp.asarray(leaf, dtype if own else jnp.float32)

    return jax.tree_util.tree_map_with_path(rounded, params)
