"""APRIL-GAN (Chen et al., VAND challenge 2023): a linear layer for each of four stages.

Ported from ByChelsea/VAND-APRIL-GAN (MIT), its zero-shot half. With CLIP ViT-L/14:
4 · (1024 · 768 + 768) = 3,148,800 parameters.

| | here | published code |
|---|---|---|
| activation of the tower | the checkpoint's, or `clip.activation=gelu`, which the published weights belong to (and this method's row sets) | exact GELU, by an oversight of its loader |
| position grid | `clip.position_grid=bicubic_antialias` (set by the row) | the same |
| map | mean of the four stages, in [0, 1] | their sum |
| mosaic of four images, 1 in 5 on MVTec AD | off; `train.mosaic=0.2` | on |
| epochs on VisA | 3, as on MVTec AD; `train.epochs=15` | 15 |
| half precision | none | autocast on a GPU |
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from kanoclip_jax.backbones import Clip
from kanoclip_jax.backbones.taps import tapped_blocks
from kanoclip_jax.backbones.towers import VisualTokens
from kanoclip_jax.backbones.walks import plain_taps
from kanoclip_jax.models import ensembles, stages
from kanoclip_jax.models.base import (
    Detection,
    Method,
    Params,
    Published,
    Terms,
    TrainBatch,
)
from kanoclip_jax.models.fixed_text import FixedText
from kanoclip_jax.models.settings import check_positive
from kanoclip_jax.nn import anomaly_map


@dataclass(frozen=True, eq=False)
class AprilGan(FixedText, Method):
    """The method; each keyword is a key of `config.model`.

    Attributes:
        clip: the frozen backbone.
        taps: tapped blocks, from 1; depth · {1, 2, 3, 4} // 4 if empty.
        temperature: τ of every softmax over states.
        sigma: of the maps' Gaussian, in pixels; the method has none.
        focal_gamma: exponent of the focal loss.
    """

    title: ClassVar[str] = "APRIL-GAN"
    ensemble: ClassVar[ensembles.Ensemble] = ensembles.APRIL_GAN
    published_tower: ClassVar[Mapping[str, str]] = {
        "activation": "gelu",
        "position_grid": "bicubic_antialias",
        "input_range": "clip",
    }

    clip: Clip
    taps: tuple[int, ...] = ()
    temperature: float = 0.01
    sigma: float = 0.0
    focal_gamma: float = 2.0

    def __post_init__(self) -> None:
        check_positive(self, "temperature")
        tapped_blocks(self.clip.depth, self.taps)

    @property
    def tapped(self) -> tuple[int, ...]:
        """Blocks after which tokens are taken."""
        return tapped_blocks(self.clip.depth, self.taps)

    def visual_options(self) -> dict[str, object]:
        """The settings that `visual` depends on."""
        return {"taps": self.tapped}

    def init(self, key: jax.Array, frozen: Params) -> Params:
        """Weights and biases of the stages from U(±1/√d), as torch's Linear."""
        del frozen
        config = self.clip.module.config
        width, joint = config.vision_config.hidden_size, config.projection_dim
        count = (len(self.tapped),)
        return {"heads": stages.linear_layers(key, count, width, joint)}

    def visual(self, frozen: Params, images: UInt8[Array, "b h w 3"]) -> VisualTokens:
        """CLIP's own pass, with the residual stream taken on the way."""
        return self.clip.module.apply(
            {"params": frozen["clip"]},
            self.clip.normalise(images),
            self.tapped,
            method=plain_taps,
        )

    def detect(
        self,
        frozen: Params,
        params: Params,
        visual: VisualTokens,
        text: Float[Array, "b 2 joint"],
    ) -> Detection:
        """The mean of the stages' maps; the image feature's probability."""
        del frozen
        cls = visual.cls.astype(jnp.float32)
        image = anomaly_map.state_probabilities(cls[:, None], text, self.temperature)
        maps = self._abnormal(params, visual, text, self.sigma).mean(1)
        return Detection(maps, image[:, 1, 0])

    def objective(
        self,
        frozen: Params,
        params: Params,
        visual: VisualTokens,
        batch: TrainBatch,
        classes: Float[Array, "c 2 joint"],
    ) -> tuple[Float[Array, ""], Terms]:
        """Focal, and dice of the abnormal map, summed over stages; none of the image."""
        text = self.text(frozen, params, classes)[batch.class_index]
        abnormal = self._abnormal(params, visual, text)
        focal, dice = stages.summed_terms(abnormal, batch, self.focal_gamma)
        total = focal + dice
        return total, {"loss": total, "focal": focal, "dice": dice}

    def _abnormal(
        self,
        params: Params,
        visual: VisualTokens,
        text: Float[Array, "b 2 joint"],
        sigma: float = 0.0,
    ) -> Float[Array, "b l h w"]:
        """Each stage's map of what its layer makes of the patches."""
        tokens = stages.project(params["heads"], visual.taps.astype(jnp.float32))
        logits = stages.abnormal_logits(tokens, text, self.temperature)
        return stages.stage_maps(logits, self.image_size, sigma)

    @classmethod
    def from_archive(cls, tensors: Mapping[str, Any]) -> Published | None:
        """What the authors' `*_pretrained.pth` holds; None for another's file."""
        layers = tensors.get("trainable_linearlayer")
        if not isinstance(layers, Mapping) or "fc.0.weight" not in layers:
            return None
        count = range(sum(key.endswith(".weight") for key in layers))
        kernel = np.stack([layers[f"fc.{stage}.weight"].T for stage in count])
        bias = np.stack([layers[f"fc.{stage}.bias"] for stage in count])
        heads = {
            "kernel": kernel.astype(np.float32),
            "bias": bias.astype(np.float32),
        }
        return Published({"heads": heads}, {})
