"""WinCLIP (Jeong et al., CVPR 2023): windows of the image through CLIP, zero-shot.

Ported from the public re-implementations (zqhang/Accurate-WinCLIP-pytorch; anomalib,
Apache-2.0), which agree; the authors published no code, and no public code reaches the
paper's figures (best 90.4 / 82.3 on MVTec AD for its 91.8 / 85.1). It learns nothing
(0 parameters).

| | here | elsewhere |
|---|---|---|
| backbone | any CLIP; the published one is open_clip's ViT-B-16-plus-240 | laion400m weights at 240 px |
| tables of all methods | the tower of the others, so that Δ is not of its published one | its own, at 240 px |
| sums over windows | float32 | float64 in zqhang's code, 6e-8 apart |
"""

import functools
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from kanoclip_jax.backbones import Clip, DualPathCLIP
from kanoclip_jax.backbones.walks import encode_windows, plain_taps, window_patches
from kanoclip_jax.errors import InputError
from kanoclip_jax.models import ensembles
from kanoclip_jax.models.base import Detection, Method, Params
from kanoclip_jax.models.fixed_text import FixedText
from kanoclip_jax.models.settings import check_positive
from kanoclip_jax.nn import anomaly_map


class Visual(NamedTuple):
    """Features in the joint space, not normalised: of the image, and of its windows."""

    cls: Float[Array, "b joint"]
    windows: Float[Array, "b w joint"]


@dataclass(frozen=True, eq=False)
class WinClip(FixedText, Method):
    """The method; each keyword is a key of `config.model`.

    Attributes:
        clip: the frozen backbone.
        temperature: τ of every softmax over states.
        windows: sides of the windows, in patches.
        sigma: of the maps' Gaussian, in pixels; the method has none.
    """

    title: ClassVar[str] = "WinCLIP"
    ensemble: ClassVar[ensembles.Ensemble] = ensembles.WINCLIP
    unit_sentences: ClassVar[bool] = False

    clip: Clip
    temperature: float = 0.07
    windows: tuple[int, ...] = (2, 3)
    sigma: float = 0.0

    def __post_init__(self) -> None:
        check_positive(self, "temperature")
        if not self.windows:
            raise InputError(
                "model.windows is empty; sides in patches are expected, as in "
                "--config.model.windows=2,3"
            )
        for side in self.windows:
            window_patches(self.clip.grid, side)

    def visual_options(self) -> dict[str, object]:
        """The settings that `visual` depends on."""
        return {"windows": self.windows}

    def visual(self, frozen: Params, images: UInt8[Array, "b h w 3"]) -> Visual:
        """CLIP's feature of the image, and of every window by itself."""

        def walk(module: DualPathCLIP, pixels: Array) -> Visual:
            depth = module.config.vision_config.num_hidden_layers
            cls, _ = plain_taps(module, pixels, (depth,))
            windows = encode_windows(module, pixels, self.windows)
            return Visual(cls, jnp.concatenate(windows, axis=1))

        return self.clip.module.apply(
            {"params": frozen["clip"]}, self.clip.normalise(images), method=walk
        )

    def detect(
        self,
        frozen: Params,
        params: Params,
        visual: Visual,
        text: Float[Array, "b 2 joint"],
    ) -> Detection:
        """A patch's value is the harmonic mean over its windows, then over the scales.

        The image itself is the last scale.
        """
        del frozen, params
        cls, windows = (leaf.astype(jnp.float32) for leaf in visual)
        tau = self.temperature
        score = anomaly_map.state_probabilities(cls[:, None], text, tau)[:, 1, 0]
        abnormal = anomaly_map.state_probabilities(windows, text, tau)[:, 1]
        inverse = 1 / score[:, None]
        start = 0
        for side in self.windows:
            members = _membership(self.clip.grid, side)
            own = abnormal[:, start : start + members.shape[1]]
            start += members.shape[1]
            inverse += (1 / own) @ (members / members.sum(1, keepdims=True)).T
        grid = (1 + len(self.windows)) / inverse
        maps = anomaly_map.render(grid, self.image_size, self.sigma)
        return Detection(maps, score)


@functools.cache
def _membership(grid: int, side: int) -> Float[np.ndarray, "n w"]:
    """Which patch is in which window."""
    patches = window_patches(grid, side)
    members = np.zeros((grid**2, len(patches)), np.float32)
    members[patches.T, np.arange(len(patches))] = 1
    return members
