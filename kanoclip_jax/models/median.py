"""A yardstick without text and without training: how unlike the rest of its own picture.

The patch tokens of the frozen CLIP, and the distance of each from the picture's own
median patch. It learns nothing (0 parameters), needs no prompt and knows no class: what
a trained method is worth is what it adds to this.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from kanoclip_jax.backbones import Clip
from kanoclip_jax.backbones.taps import tapped_blocks
from kanoclip_jax.models.base import Detection, Method, Params, WithoutText
from kanoclip_jax.nn import anomaly_map


class Visual(NamedTuple):
    """Patch tokens of an image at each tap, normed."""

    taps: Float[Array, "b l n d"]


@dataclass(frozen=True, eq=False)
class Median(WithoutText, Method):
    """The method; each keyword is a key of `config.model`.

    Attributes:
        clip: the frozen backbone.
        taps: tapped blocks, from 1; depth · {1, 2, 3, 4} // 4 if empty.
        sigma: of the maps' Gaussian, in pixels.
    """

    title: ClassVar[str] = "patch median"

    clip: Clip
    taps: tuple[int, ...] = ()
    sigma: float = 4.0

    def __post_init__(self) -> None:
        tapped_blocks(self.clip.depth, self.taps)

    @property
    def tapped(self) -> tuple[int, ...]:
        """Blocks after which tokens are taken."""
        return tapped_blocks(self.clip.depth, self.taps)

    def visual_options(self) -> dict[str, object]:
        """The settings that `visual` depends on."""
        return {"taps": self.tapped}

    def visual(self, frozen: Params, images: UInt8[Array, "b h w 3"]) -> Visual:
        """Patch tokens of plain CLIP through its own last norm.

        Without that norm a few channels of large activations decide the distance.
        """
        tokens = self.clip.module.apply(
            {"params": frozen["clip"]},
            self.clip.normalise(images),
            vv_start=self.clip.depth + 1,
            taps=self.tapped,
            method="encode_image",
        )
        normed = self.clip.module.apply(
            {"params": frozen["clip"]},
            tokens.taps,
            method=lambda module, taps: module.vision_model.post_layernorm(taps),
        )
        return Visual(normed)

    def detect(
        self,
        frozen: Params,
        params: Params,
        visual: Visual,
        text: Float[Array, "*b 0"],
    ) -> Detection:
        """Half the chord between unit vectors, mean over taps; the map's maximum.

        ½ ‖u − m‖ of a patch and the channel-wise median patch: 0 where they point
        alike, 1 where they are opposed. It ranks as 1 − cosine does, and spreads what
        is nearly alike.
        """
        del frozen, params, text
        tokens = visual.taps.astype(jnp.float32)
        middle = jnp.median(tokens, axis=2, keepdims=True)
        apart = anomaly_map.normalise(tokens) - anomaly_map.normalise(middle)
        chord = jnp.minimum(jnp.linalg.norm(apart, axis=-1) / 2, 1.0)
        maps = anomaly_map.render(chord.mean(1), self.clip.image_size, self.sigma)
        return Detection(maps, maps.max((1, 2)))
