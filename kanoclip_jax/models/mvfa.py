"""MVFA (Huang et al., CVPR 2024): adapters at four depths inside the image tower.

«Adapting Visual-Language Models for Generalizable Anomaly Detection in Medical Images»,
its zero-shot half, written anew after MediaBrain-SJTU/MVFA-AD (MIT). With CLIP ViT-L/14:
4 stages · 2 adapters · 2 · 1024 · 768 = 12,582,912 parameters, of which the 1,572,864
behind the last stage are read by nothing: their files hold them, and so do ours.

Only the blocks before the first adapters are frozen whatever is learned, and cached
(290 · 1024 halves, 0.6 MB an image at 240 px). All others run in every step, and their
insides are computed again on the way back. Of an image at 518 px (1370 tokens) that
leaves, by count, 18 blocks' entrances in bfloat16, 50 MB, the adapters' insides in
float32, 0.2 GB, one block's insides, 0.1 GB (0.4 GB where attention is not fused), and
maps, 0.03 GB: a batch of 8 needs 3 to 6 GB beside 1.1 GB of weights, and 24 GB hold it
in one piece. XLA for CPUs computes them again before it must, which takes 0.2 GB a block
and image in float32: there, `train.accumulate` cuts the batch.

| | here | published code |
|---|---|---|
| activation of the tower | `clip.activation=gelu` (set by this method's row, as all of the tower) | exact GELU, by an oversight of its loader |
| position grid, size | `clip.position_grid=bicubic_antialias`, `clip.image_size=240`: 17 × 17 patches, and two pixels on the right and below are not seen | the same |
| pixels | `clip.input_range=unit`, in [0, 1]; `clip` is CLIP's own range | in [0, 1] |
| map and score | means over the four stages, in [0, 1] | sums; maps from min to max of a test set |
| trained on | MVTec AD or VisA, as all methods here: masks for every picture | the other five sets of BMAD, some of them without masks, which teach no map |
| kept | the last epoch | the best of some five checks an epoch, on the target's own test set |
| batch | 8, a mean over its pictures | 1 |
| optimisers | one Adam: of equal rates, it is two of disjoint parameters | two |
| names of classes | the datasets' display names | «Brain», «Liver», «retinal OCT», … |
| masks | resized bilinear, cut at one half | nearest |
| half precision | the tower's own (`clip.dtype`), adapters in float32 | autocast on a GPU |
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, UInt8

from kanoclip_jax import losses
from kanoclip_jax.backbones import Clip
from kanoclip_jax.backbones.taps import tapped_blocks
from kanoclip_jax.backbones.walks import enter_to, through
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

# Of the adapters' LeakyReLU, and what each of them gives to the residual stream.
_SLOPE = 0.01
_SHARE = 0.1
# The adapters of maps and of scores, by our names and by theirs.
_ADAPTERS = {"seg": "seg_adapters", "det": "det_adapters"}


class Visual(NamedTuple):
    """The residual stream after the first tapped block, CLS first."""

    tokens: Float[Array, "b n d"]


class Stages(NamedTuple):
    """Patches as the adapters see them: of each stage, of any length."""

    seg: Float[Array, "b l n joint"]
    det: Float[Array, "b l n joint"]


@dataclass(frozen=True, eq=False)
class Mvfa(FixedText, Method):
    """The method; each keyword is a key of `config.model`.

    Attributes:
        clip: the frozen backbone.
        taps: blocks followed by adapters, from 1; depth · {1, 2, 3, 4} // 4 if empty.
        temperature: τ of every softmax over states.
        sigma: of the maps' Gaussian, in pixels; the method has none.
        focal_gamma: exponent of the focal loss.
    """

    title: ClassVar[str] = "MVFA"
    ensemble: ClassVar[ensembles.Ensemble] = ensembles.APRIL_GAN
    whole_patches: ClassVar[bool] = False
    published_tower: ClassVar[Mapping[str, Any]] = {
        "activation": "gelu",
        "position_grid": "bicubic_antialias",
        "input_range": "unit",
        "image_size": 240,
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
        """Blocks followed by adapters."""
        return tapped_blocks(self.clip.depth, self.taps)

    def visual_options(self) -> dict[str, object]:
        """The settings that `visual` depends on."""
        return {"last": self.tapped[0]}

    def init(self, key: jax.Array, frozen: Params) -> Params:
        """Weights from U(±1/√inputs), as torch's Linear; no biases."""
        del frozen
        config = self.clip.module.config
        width, joint = config.vision_config.hidden_size, config.projection_dim
        count = len(self.tapped)
        shapes = {"down": (count, width, joint), "up": (count, joint, width)}
        return {
            part: {
                name: jax.random.uniform(
                    own, shape, minval=-(shape[1] ** -0.5), maxval=shape[1] ** -0.5
                )
                for own, (name, shape) in zip(
                    jax.random.split(part_key), shapes.items(), strict=True
                )
            }
            for part, part_key in zip(_ADAPTERS, jax.random.split(key), strict=True)
        }

    def visual(self, frozen: Params, images: UInt8[Array, "b h w 3"]) -> Visual:
        """The blocks that no adapter reaches."""
        tokens = self.clip.module.apply(
            {"params": frozen["clip"]},
            self.clip.normalise(images),
            self.tapped[0],
            method=enter_to,
        )
        return Visual(tokens)

    def detect(
        self,
        frozen: Params,
        params: Params,
        visual: Visual,
        text: Float[Array, "b 2 joint"],
    ) -> Detection:
        """Means over stages, and of the score over patches, of what is abnormal."""
        found = self._stages(frozen, params, visual)
        maps, scores = self._abnormal(found, text, self.sigma)
        return Detection(maps.mean(1), scores.mean(1))

    def objective(
        self,
        frozen: Params,
        params: Params,
        visual: Visual,
        batch: TrainBatch,
        classes: Float[Array, "c 2 joint"],
    ) -> tuple[Float[Array, ""], Terms]:
        """Cross-entropy of each stage's score, focal and dice of its map, summed.

        The cross-entropy takes logits and is given the score, a probability: it stays
        above log(1 + 1/e) for the anomalous and log 2 for the normal, as published.
        """
        text = self.text(frozen, params, classes)[batch.class_index]
        found = self._stages(frozen, params, visual, jax.checkpoint)
        maps, scores = self._abnormal(found, text)
        focal, dice = stages.summed_terms(maps, batch, self.focal_gamma)
        label = batch.label.astype(jnp.float32)[:, None]
        entropy = optax.sigmoid_binary_cross_entropy(scores, label).sum(1)
        score = losses.weighted_mean(entropy, batch.is_real.astype(jnp.float32))
        total = score + focal + dice
        return total, {"loss": total, "global": score, "focal": focal, "dice": dice}

    def _stages(
        self,
        frozen: Params,
        params: Params,
        visual: Visual,
        wrap: Callable[[Callable], Callable] = lambda block: block,
    ) -> Stages:
        """The rest of the walk; `wrap` is what becomes of each block's function."""

        def run(frozen: Params, hidden: Array, last: int) -> Array:
            # Bound anew for each block: Flax's modules cannot cross JAX's transforms.
            variables = {"params": frozen["clip"]}
            return self.clip.module.apply(
                variables, hidden, last - 1, last, method=through
            )

        hidden = visual.tokens.astype(self.clip.module.dtype)
        patches: dict[str, list[Array]] = {part: [] for part in _ADAPTERS}
        before = self.tapped[0]
        for stage, tap in enumerate(self.tapped):
            for block in range(before + 1, tap + 1):
                hidden = wrap(functools.partial(run, last=block))(frozen, hidden)
            before = tap
            tokens = hidden.astype(jnp.float32)
            mixed = (1 - len(_ADAPTERS) * _SHARE) * tokens
            for part, found in patches.items():
                down, up = (params[part][name][stage] for name in ("down", "up"))
                middle = jax.nn.leaky_relu(tokens @ down, _SLOPE)
                found.append(middle[:, 1:])
                mixed += _SHARE * jax.nn.leaky_relu(middle @ up, _SLOPE)
            hidden = mixed.astype(hidden.dtype)
        return Stages(*(jnp.stack(found, axis=1) for found in patches.values()))

    def _abnormal(
        self, found: Stages, text: Float[Array, "b 2 joint"], sigma: float = 0.0
    ) -> tuple[Float[Array, "b l h w"], Float[Array, "b l"]]:
        """Each stage's map and score: one adapter's patches each, against the text."""
        seg, det = (
            stages.abnormal_logits(tokens, text, self.temperature) for tokens in found
        )
        maps = stages.stage_maps(seg, self.image_size, sigma)
        return maps, jax.nn.sigmoid(det).mean(-1)

    @classmethod
    def from_archive(cls, tensors: Mapping[str, Any]) -> Published | None:
        """What the authors' file of a target holds; None for another's file."""
        if not all(isinstance(tensors.get(key), Mapping) for key in _ADAPTERS.values()):
            return None

        def stacked(theirs: Mapping[str, Any], layer: str) -> np.ndarray:
            count = sum(key.endswith(f".{layer}.0.weight") for key in theirs)
            weights = [theirs[f"{stage}.{layer}.0.weight"].T for stage in range(count)]
            return np.stack(weights).astype(np.float32)

        params = {
            part: {
                "down": stacked(tensors[key], "fc1"),
                "up": stacked(tensors[key], "fc2"),
            }
            for part, key in _ADAPTERS.items()
        }
        return Published(params, {})
