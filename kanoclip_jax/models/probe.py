"""A yardstick without text: a linear probe of the frozen CLIP, on the same losses.

One normal and one abnormal vector for each tap of both paths and one pair for the image
feature; what is compared with them is what the trained heads read. With CLIP ViT-L/14
that is 8 · 2 · 1024 + 2 · 768 = 17,920 parameters (2,304 with the bundled CLIP): a
method of millions has to be clearly above it.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from kanoclip_jax import losses
from kanoclip_jax.backbones import Clip
from kanoclip_jax.backbones.taps import first_vv_block, tapped_blocks
from kanoclip_jax.backbones.towers import VisualTokens
from kanoclip_jax.models.base import (
    Detection,
    Method,
    Params,
    Terms,
    TrainBatch,
    WithoutText,
)
from kanoclip_jax.models.local import local_terms
from kanoclip_jax.models.settings import check_positive
from kanoclip_jax.nn import anomaly_map

_SPREAD = 0.02  # of the vectors' drawing, as CLIP draws its own embeddings


@dataclass(frozen=True, eq=False)
class Probe(WithoutText, Method):
    """The method; each keyword is a key of `config.model`.

    Attributes:
        clip: the frozen backbone.
        vv_start: first block of the V-V path, from 1; depth // 4 if 0.
        taps: blocks tapped on both paths, from 1; depth · {1, 2, 3, 4} // 4 if empty.
        temperature: τ of every softmax over states.
        sigma: of the maps' Gaussian, in pixels.
        focal_gamma: exponent of the focal loss.
    """

    title: ClassVar[str] = "linear probe"

    clip: Clip
    vv_start: int = 0
    taps: tuple[int, ...] = ()
    temperature: float = 0.07
    sigma: float = 4.0
    focal_gamma: float = 2.0

    def __post_init__(self) -> None:
        check_positive(self, "temperature")
        tapped_blocks(self.clip.depth, self.taps)

    @property
    def tapped(self) -> tuple[int, ...]:
        """Blocks after which tokens of either path are taken."""
        return tapped_blocks(self.clip.depth, self.taps)

    @property
    def first_vv_block(self) -> int:
        """First block of the V-V path."""
        return first_vv_block(self.clip.depth, self.vv_start)

    def visual_options(self) -> dict[str, object]:
        """The settings that `visual` depends on."""
        return {"vv_start": self.first_vv_block, "taps": self.tapped}

    def init(self, key: jax.Array, frozen: Params) -> Params:
        """Two vectors for each tap, and two for the image."""
        del frozen
        config = self.clip.module.config
        taps, cls = jax.random.split(key)
        shape = (2 * len(self.tapped), 2, config.vision_config.hidden_size)
        return {
            "taps": _SPREAD * jax.random.normal(taps, shape),
            "cls": _SPREAD * jax.random.normal(cls, (2, config.projection_dim)),
        }

    def visual(self, frozen: Params, images: UInt8[Array, "b h w 3"]) -> VisualTokens:
        """Image feature and patch tokens of both paths."""
        return self.clip.module.apply(
            {"params": frozen["clip"]},
            self.clip.normalise(images),
            vv_start=self.first_vv_block,
            taps=self.tapped,
            paths="both",
            method="encode_image",
        )

    def detect(
        self,
        frozen: Params,
        params: Params,
        visual: VisualTokens,
        text: Float[Array, "*b 0"],
    ) -> Detection:
        """Mean map of the taps, and half of the image's probability and its maximum."""
        del frozen, text
        states, abnormal = self._probabilities(params, visual)
        maps = anomaly_map.anomaly_map(states.mean(1), self.clip.image_size, self.sigma)
        return Detection(maps, anomaly_map.global_score(abnormal, maps))

    def objective(
        self,
        frozen: Params,
        params: Params,
        visual: VisualTokens,
        batch: TrainBatch,
        classes: Float[Array, "c 0"],
    ) -> tuple[Float[Array, ""], Terms]:
        """Focal and dice on each tap's map, averaged, and BCE of the image feature."""
        del frozen, classes
        states, abnormal = self._probabilities(params, visual)
        focal, dice = local_terms(states, batch, self.clip.image_size, self.focal_gamma)
        weights = batch.is_real.astype(jnp.float32)
        score = losses.weighted_mean(losses.global_loss(abnormal, batch.label), weights)
        total = score + focal + dice
        return total, {"loss": total, "global": score, "focal": focal, "dice": dice}

    def _probabilities(
        self, params: Params, visual: VisualTokens
    ) -> tuple[Float[Array, "b l 2 n"], Float[Array, " b"]]:
        """States of each patch at each tap, and how likely each image is abnormal."""
        tokens = visual.taps.astype(jnp.float32)
        # The channel mean is the same in every patch, and far from 0 in some CLIPs.
        tokens = tokens - tokens.mean(-1, keepdims=True)
        unit = anomaly_map.normalise
        cosine = jnp.einsum("blnd,lsd->blsn", unit(tokens), unit(params["taps"]))
        states = jax.nn.softmax(cosine / self.temperature, axis=2)
        cls = unit(visual.cls.astype(jnp.float32))
        image = jnp.einsum("bd,sd->bs", cls, unit(params["cls"]))
        return states, jax.nn.softmax(image / self.temperature, axis=1)[:, 1]
