"""Crane+ (Salehi et al., arXiv 2504.11055): Crane, and patches that DINOv2 finds alike.

Ported from AlirezaSalehy/Crane (MIT). With CLIP ViT-L/14: 43,008 parameters, Crane's. The
second frozen backbone is a DINOv2 ViT-B/14 with registers (Apache-2.0). What differs from
the published code beside Crane's own differences:

| | here | published code |
|---|---|---|
| centring of D-Attn | over the image, so that none depends on others | over a device's batch |
| a patch that the guide finds like none | keeps its own value | makes the batch NaN |
| aggregation | logits; `soft` for DAGM and medical sets | the same, by script |
| the guide's pixels | the image's | CLIP's, un-normalised and clamped: equal |
| shipped `epoch_5.pth`, `epoch_1.pth` | as named | saved as epochs 12 and 4 |
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Literal

import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from kanoclip_jax.backbones import Dino, DualPathCLIP, eattn
from kanoclip_jax.errors import InputError
from kanoclip_jax.models.base import Params, Terms, TrainBatch
from kanoclip_jax.models.crane import Classes, Crane, Visual
from kanoclip_jax.models.settings import check_positive
from kanoclip_jax.nn import anomaly_map


@dataclass(frozen=True, eq=False)
class CranePlus(Crane):
    """Crane with a second tap, of patches that a guide finds alike; see `Crane`.

    Attributes:
        guide: a frozen DINOv2, which reads the same pixels.
        beta: how far above their mean cosines must be,
        gamma: and how sharply they are weighed.
        centring: over what the mean is taken: the image, or a batch as published code
            does. There a feature depends on its neighbours and on padding, so it can be
            evaluated but not trained with.
    """

    title: ClassVar[str] = "Crane+"
    backbones: ClassVar[tuple[str, ...]] = ("clip", "guide")

    guide: Dino = dataclasses.field(kw_only=True)
    aggregation: Literal["soft", "logit"] = "logit"
    local_weight: float = 2.0
    beta: float = 1.2
    gamma: float = 3.0
    centring: eattn.Centring = "image"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "beta", "gamma")

    def visual_settings(self) -> dict[str, object]:
        """See `Method`.

        Raises:
            InputError: features that depend on their neighbours are nobody's to keep.
        """
        self._refuse_neighbours()
        return super().visual_settings()

    def visual_options(self) -> dict[str, object]:
        """The settings that `visual` depends on."""
        own = {name: getattr(self, name) for name in ("beta", "gamma", "centring")}
        return super().visual_options() | own

    def visual(self, frozen: Params, images: UInt8[Array, "b h w 3"]) -> Visual:
        """Crane's, with D-Attn's patches before E-Attn's, both on the guide's grid."""
        seen = self.guide.encode(frozen["guide"], images)
        weights = eattn.guided_attention(seen, self.beta, self.gamma, self.centring)

        def walk(module: DualPathCLIP, pixels: Array) -> Visual:
            found = eattn.walk(
                module,
                pixels,
                first=self.first_block,
                products=self.attention,
                with_values=True,
            )
            values = resize_tokens(found.values, self.guide.grid)
            guided = eattn.spread(module, values, weights)
            own = resize_tokens(found.patches, self.guide.grid)
            return Visual(found.cls, module.leave(jnp.stack([guided, own], axis=1)))

        return self.clip.module.apply(
            {"params": frozen["clip"]}, self.clip.normalise(images), method=walk
        )

    def objective(
        self,
        frozen: Params,
        params: Params,
        visual: Visual,
        batch: TrainBatch,
        classes: Classes,
    ) -> tuple[Float[Array, ""], Terms]:
        """As Crane's, of both taps.

        Raises:
            InputError: features that depend on their neighbours.
        """
        self._refuse_neighbours()
        return super().objective(frozen, params, visual, batch, classes)

    def _refuse_neighbours(self) -> None:
        if self.centring == "batch":
            raise InputError(
                "model.centring is 'batch', which makes an image's features depend on "
                "its neighbours and on padding; train with "
                "--config.model.centring=image"
            )


def resize_tokens(
    tokens: Float[Array, "b n d"], grid: int
) -> Float[Array, "b {grid**2} d"]:
    """Tokens of a square of patches on another one, bilinear with half-pixel centres."""
    if tokens.shape[1] == grid**2:
        return tokens
    maps = anomaly_map.render(tokens.swapaxes(1, 2), grid)
    return maps.reshape(*maps.shape[:2], -1).swapaxes(1, 2).astype(tokens.dtype)
