"""AnomalyCLIP (Zhou et al., ICLR 2024): object-agnostic learned prompts on the V-V path.

Ported from zqhang/AnomalyCLIP (MIT). With CLIP ViT-L/14: 2 · 12 · 768 + 8 · 4 · 768 =
43,008 parameters (the authors' files hold 5.5 million more that are never used).

| | here | published code |
|---|---|---|
| taps | the last block's | the same since April 2025; before, four aliases of it |
| deep tokens | as they are | rounded to float16 on the way, 4e-4 of the gradient |
| batch at the end of an epoch | padded, padding without weight | smaller |
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from kanoclip_jax import losses
from kanoclip_jax.backbones import Clip, DualPathCLIP
from kanoclip_jax.backbones.taps import first_vv_block
from kanoclip_jax.models.base import (
    Detection,
    Method,
    Params,
    Published,
    Terms,
    TrainBatch,
)
from kanoclip_jax.models.learned_prompts import LearnedPrompts, read_published
from kanoclip_jax.models.local import local_terms
from kanoclip_jax.models.settings import check_positive, check_range
from kanoclip_jax.nn import anomaly_map

_SENTENCES = ("{}.", "damaged {}.")


class Classes(NamedTuple):
    """The two sentences, which are those of every class.

    Attributes:
        ids: of the normal and the abnormal one, padded.
        end: their last positions.
        rows: a zero for each class.
    """

    ids: Int[Array, "2 t"]
    end: Int[Array, " 2"]
    rows: Float[Array, " c"]


class Visual(NamedTuple):
    """Features of an image and of its patches in the joint space, not normalised."""

    cls: Float[Array, "b joint"]
    patches: Float[Array, "b n joint"]


@dataclass(frozen=True, eq=False)
class AnomalyClip(LearnedPrompts, Method):
    """The method; each keyword is a key of `config.model`.

    Attributes:
        clip: the frozen backbone.
        vv_start: first block of the V-V path, from 1; depth // 4 if 0.
        context_length: learned vectors before the words.
        deep_prompt_depth: text block up to which deep prompts act.
        deep_prompt_length: tokens that each of them overwrites.
        word: what stands for every class.
        temperature: τ of every softmax over states.
        sigma: of the maps' Gaussian, in pixels.
        local_weight: of focal and dice beside the image's cross-entropy.
        focal_gamma: exponent of the focal loss.
    """

    title: ClassVar[str] = "AnomalyCLIP"
    published_tower: ClassVar[Mapping[str, str]] = {
        "activation": "",
        "position_grid": "bilinear",
        "input_range": "clip",
    }

    clip: Clip
    vv_start: int = 0
    context_length: int = 12
    deep_prompt_depth: int = 9
    deep_prompt_length: int = 4
    word: str = "object"
    temperature: float = 0.07
    sigma: float = 4.0
    local_weight: float = 4.0
    focal_gamma: float = 2.0

    def __post_init__(self) -> None:
        check_positive(self, "context_length", "temperature", "deep_prompt_length")
        check_range(self, "deep_prompt_depth", 0)
        check_range(self, "vv_start", 0, self.clip.depth + 1)
        self.check_deep_prompts()

    @property
    def first_vv_block(self) -> int:
        """First block of the V-V path."""
        return first_vv_block(self.clip.depth, self.vv_start)

    def visual_options(self) -> dict[str, object]:
        """The settings that `visual` depends on."""
        return {"vv_start": self.first_vv_block}

    def prompts(self, frozen: Params, class_names: Sequence[str]) -> Classes:
        """Tokenise the two sentences; no class is named."""
        del frozen
        sentences = [pattern.format(self.word) for pattern in _SENTENCES]
        tokens = self.clip.tokenizer(sentences, self.context_length)
        rows = np.zeros(len(class_names), np.float32)
        return Classes(tokens.ids, tokens.end, rows)

    def init(self, key: jax.Array, frozen: Params) -> Params:
        """Contexts and deep prompts, drawn from N(0, 0.02²)."""
        del frozen
        return {"prompts": self.prompt_learner.init(key)["params"]}

    def visual(self, frozen: Params, images: UInt8[Array, "b h w 3"]) -> Visual:
        """The original path's CLS, and the V-V path's patches of the last block."""

        def walk(module: DualPathCLIP, pixels: Array) -> Visual:
            tokens = module.encode_image(
                pixels,
                vv_start=self.first_vv_block,
                taps=(self.clip.depth,),
                image_feature="plain",
            )
            return Visual(tokens.cls, module.leave(tokens.taps[:, 0]))

        return self.clip.module.apply(
            {"params": frozen["clip"]}, self.clip.normalise(images), method=walk
        )

    def text(
        self, frozen: Params, params: Params, classes: Classes
    ) -> Float[Array, "c 2 joint"]:
        """Unit features of the two prompts, the same for each class."""
        contexts = self.prompt_learner.apply({"params": params["prompts"]})
        features = [
            self.clip.module.apply(
                {"params": frozen["clip"]},
                classes.ids[state : state + 1],
                classes.end[state : state + 1],
                context=contexts.polarity[state],
                deep=contexts.deep,
                method="encode_text",
            )[0]
            for state in range(2)
        ]
        both = anomaly_map.normalise(jnp.stack(features).astype(jnp.float32))
        return both + classes.rows[:, None, None]

    def detect(
        self,
        frozen: Params,
        params: Params,
        visual: Visual,
        text: Float[Array, "b 2 joint"],
    ) -> Detection:
        """The image's probability alone, and the patches' blurred map."""
        del frozen, params
        states, image = self._probabilities(visual, text)
        maps = anomaly_map.anomaly_map(states, self.image_size, self.sigma)
        return Detection(maps, image[:, 1])

    def objective(
        self,
        frozen: Params,
        params: Params,
        visual: Visual,
        batch: TrainBatch,
        classes: Classes,
    ) -> tuple[Float[Array, ""], Terms]:
        """4 · (focal + dice of both states) + cross-entropy of the image."""
        text = self.text(frozen, params, classes)[batch.class_index]
        states, image = self._probabilities(visual, text)
        focal, dice = local_terms(
            states[:, None], batch, self.image_size, self.focal_gamma
        )
        judged = jnp.take_along_axis(image, batch.label[:, None], axis=1)[:, 0]
        weights = batch.is_real.astype(jnp.float32)
        cross_entropy = losses.weighted_mean(-jnp.log(judged), weights)
        total = self.local_weight * (focal + dice) + cross_entropy
        terms = {"global": cross_entropy, "focal": focal, "dice": dice}
        return total, {"loss": total} | terms

    def _probabilities(
        self, visual: Visual, text: Float[Array, "b 2 joint"]
    ) -> tuple[Float[Array, "b 2 n"], Float[Array, "b 2"]]:
        cls, patches = (leaf.astype(jnp.float32) for leaf in visual)
        tau = self.temperature
        states = anomaly_map.state_probabilities(patches, text, tau)
        image = anomaly_map.state_probabilities(cls[:, None], text, tau)
        return states, image[..., 0]

    @classmethod
    def from_archive(cls, tensors: Mapping[str, Any]) -> Published | None:
        """What the authors' `epoch_N.pth` holds; None where it is another's file.

        It is known by projections that are never used: without them, the same names
        are Crane's, whose prompts are for texts that look at the picture.
        """
        learner = tensors.get("prompt_learner")
        own = ("ctx_pos", "compound_prompt_projections.0.weight")
        if not isinstance(learner, Mapping) or not all(key in learner for key in own):
            return None
        return read_published(learner)
