"""Crane (Salehi et al., arXiv 2504.11055): prompts that look at the image.

Ported from AlirezaSalehy/Crane (MIT). With CLIP ViT-L/14: 2 · 12 · 768 + 8 · 4 · 768 =
43,008 parameters.

| | here | published code |
|---|---|---|
| taps | the last block's, weighted by 8 | four aliases of it, by 2 each |
| gradient of deep tokens | exact | rounded to float16 image by image |
| local losses | counted by patch, exact | of every pixel |
| dice of a batch of one | as of any other | over the rows of its mask |
| batch at the end of an epoch | padded, padding without weight | smaller |
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from kanoclip_jax import losses
from kanoclip_jax.backbones import Clip, DualPathCLIP, Tokens, eattn
from kanoclip_jax.backbones.taps import first_vv_block
from kanoclip_jax.errors import InputError
from kanoclip_jax.models.base import (
    Detection,
    Method,
    Params,
    Published,
    Terms,
    TrainBatch,
)
from kanoclip_jax.models.learned_prompts import LearnedPrompts, read_published
from kanoclip_jax.models.local import nearest_terms
from kanoclip_jax.models.settings import check_choices, check_positive, check_range
from kanoclip_jax.nn import anomaly_map
from kanoclip_jax.nn.anomaly_map import normalise

_SENTENCES = ("{}.", "damaged {}.")
# The image's own feature and the pooled one weigh alike.
_OWN = 0.5


class Classes(NamedTuple):
    """The two sentences, which are those of every class.

    Attributes:
        plain: behind the context.
        looking: with a position for the image's token before the words.
        rows: a zero for each class.
    """

    plain: Tokens
    looking: Tokens
    rows: Float[Array, " c"]


class Sentences(NamedTuple):
    """The sentences once more for each class, for texts that wait for their image."""

    ids: Int[Array, "c 2 t"]
    end: Int[Array, "c 2"]


class Visual(NamedTuple):
    """Features of an image and of its patches in the joint space, not normalised."""

    cls: Float[Array, "b joint"]
    taps: Float[Array, "b l n joint"]


class Found(NamedTuple):
    """What patches and image say against the text.

    Attributes:
        logits: of each tap's patches, cosine over temperature.
        image: the pooled feature, fused with the image's own, of unit length.
    """

    logits: Float[Array, "b l 2 n"]
    image: Float[Array, "b joint"]


@dataclass(frozen=True, eq=False)
class Crane(LearnedPrompts, Method):
    """The method; each keyword is a key of `config.model`.

    Attributes:
        clip: the frozen backbone.
        eattn_start: first block of the E-Attn path, from 1; depth // 4 if 0, which is
            block 6 of a ViT-L.
        attention: products that E-Attn sums.
        context_length: learned vectors before the words.
        deep_prompt_depth: text block up to which deep prompts act.
        deep_prompt_length: tokens that each of them overwrites.
        round_deep: deep prompts pass through float16, as in published code: 2e-4 of a
            feature, to which its weights were trained. Their gradient does not.
        word: what stands for every class.
        context_in_training: texts read the image's own feature, a token before the
            words. For that the joint space is as wide as the text tower.
        context_at_test: likewise for what is detected: two texts for each image. All
            published figures are without.
        aggregation: of taps: `soft` averages probabilities and up-samples them, `logit`
            averages and up-samples logits.
        temperature: τ of every softmax over states, but
        loss_temperature: of the cross-entropy.
        sigma: of the maps' Gaussian, in pixels.
        local_weight: of each tap's focal and dice.
        global_weight: of the image's cross-entropy.
        focal_gamma: exponent of the focal loss.
    """

    title: ClassVar[str] = "Crane"
    published_tower: ClassVar[Mapping[str, str]] = {
        "activation": "",
        "position_grid": "bilinear",
        "input_range": "clip",
    }

    clip: Clip
    eattn_start: int = 0
    attention: eattn.Products = "qq+kk+vv"
    context_length: int = 12
    deep_prompt_depth: int = 9
    deep_prompt_length: int = 4
    round_deep: bool = True
    word: str = "object"
    context_in_training: bool = True
    context_at_test: bool = False
    aggregation: Literal["soft", "logit"] = "soft"
    temperature: float = 0.07
    loss_temperature: float = 0.01
    sigma: float = 4.0
    local_weight: float = 8.0
    global_weight: float = 0.2
    focal_gamma: float = 2.0

    def __post_init__(self) -> None:
        check_choices(self)
        check_positive(
            self,
            "context_length",
            "temperature",
            "loss_temperature",
            "deep_prompt_length",
        )
        check_range(self, "deep_prompt_depth", 0)
        check_range(self, "eattn_start", 0, self.clip.depth + 1)
        self.check_deep_prompts()
        config = self.clip.module.config
        joint, words = config.projection_dim, config.text_config.hidden_size
        if (self.context_in_training or self.context_at_test) and joint != words:
            raise InputError(
                f"the image's feature, {joint} wide, is no token of this CLIP's text "
                f"tower, {words} wide; leave it out with "
                "--config.model.context_in_training=False and "
                "--config.model.context_at_test=False"
            )

    @property
    def first_block(self) -> int:
        """First block of the E-Attn path."""
        return first_vv_block(self.clip.depth, self.eattn_start)

    def visual_options(self) -> dict[str, object]:
        """The settings that `visual` depends on."""
        return {"eattn_start": self.first_block, "attention": self.attention}

    def prompts(self, frozen: Params, class_names: Sequence[str]) -> Classes:
        """Tokenise the two sentences; no class is named."""
        del frozen
        sentences = [pattern.format(self.word) for pattern in _SENTENCES]
        plain, looking = (
            self.clip.tokenizer(sentences, self.context_length + more)
            for more in (0, 1)
        )
        return Classes(plain, looking, np.zeros(len(class_names), np.float32))

    def init(self, key: jax.Array, frozen: Params) -> Params:
        """Contexts and deep prompts, drawn from N(0, 0.02²)."""
        del frozen
        return {"prompts": self.prompt_learner.init(key)["params"]}

    def visual(self, frozen: Params, images: UInt8[Array, "b h w 3"]) -> Visual:
        """The original path's CLS, and the E-Attn path's patches of the last block."""

        def walk(module: DualPathCLIP, pixels: Array) -> Visual:
            found = eattn.walk(
                module, pixels, first=self.first_block, products=self.attention
            )
            return Visual(found.cls, module.leave(found.patches)[:, None])

        return self.clip.module.apply(
            {"params": frozen["clip"]}, self.clip.normalise(images), method=walk
        )

    def text(
        self, frozen: Params, params: Params, classes: Classes
    ) -> Float[Array, "c 2 joint"] | Sentences:
        """Unit features of the two prompts, the same for each class.

        The sentences as they are, where their features wait for the image.
        """
        if self.context_at_test:
            rows = classes.rows.astype(jnp.int32)
            ids, end = map(jnp.asarray, classes.looking)
            return Sentences(ids + rows[:, None, None], end + rows[:, None])
        ids, end = classes.plain
        features = self._encode(frozen, params, ids[None], end[None])
        return features + classes.rows[:, None, None]

    def _encode(
        self,
        frozen: Params,
        params: Params,
        ids: Int[Array, "b 2 t"],
        end: Int[Array, "b 2"],
        tokens: Float[Array, "b w"] | None = None,
    ) -> Float[Array, "b 2 joint"]:
        """Unit features of prompts, of each polarity with its own context.

        Args:
            frozen: the backbones' parameters.
            params: the learned ones.
            ids: of the sentences,
            end: and where they end.
            tokens: images' features, to be read before the words.
        """
        contexts = self.prompt_learner.apply({"params": params["prompts"]})
        deep = contexts.deep
        if self.round_deep and deep is not None:
            deep = as_half(deep)
        features = [
            self.clip.module.apply(
                {"params": frozen["clip"]},
                ids[:, state],
                end[:, state],
                context=contexts.polarity[state],
                deep=deep,
                inserted=tokens,
                method="encode_text",
            )
            for state in range(2)
        ]
        return normalise(jnp.stack(features, axis=1).astype(jnp.float32))

    def _look(
        self, frozen: Params, params: Params, visual: Visual, text: Sentences
    ) -> Float[Array, "b 2 joint"]:
        """Each image's own texts."""
        tokens = normalise(visual.cls.astype(jnp.float32))
        return self._encode(frozen, params, text.ids, text.end, tokens)

    def detect(
        self,
        frozen: Params,
        params: Params,
        visual: Visual,
        text: Float[Array, "b 2 joint"] | Sentences,
    ) -> Detection:
        """The fused feature's probability, and the patches' blurred map."""
        if self.context_at_test:
            text = self._look(frozen, params, visual, text)
        logits, image = self._compare(visual, text)
        states = anomaly_map.state_probabilities(image[:, None], text, self.temperature)
        score = states[:, 1, 0]
        size = self.image_size
        if self.aggregation == "soft":
            abnormal = jax.nn.softmax(logits, axis=2)[:, :, 1].mean(1)
            return Detection(anomaly_map.render(abnormal, size, self.sigma), score)
        # Of two states, the softmax is the logistic of their difference.
        odds = (logits[:, :, 1] - logits[:, :, 0]).mean(1)
        maps = jax.nn.sigmoid(anomaly_map.render(odds, size))
        return Detection(anomaly_map.smooth(maps, self.sigma), score)

    def _compare(self, visual: Visual, text: Float[Array, "b 2 joint"]) -> Found:
        """Patches against the text, and the image as the abnormal ones have it.

        Patches are pooled by their probability of being abnormal, of the taps' mean
        logits, whatever `aggregation` is.
        """
        cls, taps = (normalise(leaf.astype(jnp.float32)) for leaf in visual)
        logits = jnp.einsum("blnd,bsd->blsn", taps, text) / self.temperature
        weights = jax.nn.softmax(logits.mean(1), axis=1)[:, 1]
        pooled = normalise(jnp.einsum("bn,bnd->bd", weights, taps.mean(1)))
        return Found(logits, normalise(_OWN * pooled + (1 - _OWN) * cls))

    def objective(
        self,
        frozen: Params,
        params: Params,
        visual: Visual,
        batch: TrainBatch,
        classes: Classes,
    ) -> tuple[Float[Array, ""], Terms]:
        """8 · (focal + dice) of the one tap, or 2 · of each, + 0.2 · cross-entropy."""
        count = visual.cls.shape[0]
        if self.context_in_training:
            looking = (
                jnp.broadcast_to(part, (count, *part.shape)) for part in classes.looking
            )
            text = self._look(frozen, params, visual, Sentences(*looking))
        else:
            ids, end = classes.plain
            text = self._encode(frozen, params, ids[None], end[None])
            text = jnp.broadcast_to(text, (count, *text.shape[1:]))
        logits, image = self._compare(visual, text)
        focal, dice = nearest_terms(
            jax.nn.softmax(logits, axis=2), batch, self.image_size, self.focal_gamma
        )
        cosine = jnp.einsum("bd,bsd->bs", image, text)
        judged = jax.nn.log_softmax(cosine / self.loss_temperature, axis=1)
        own = jnp.take_along_axis(judged, batch.label[:, None], axis=1)[:, 0]
        weights = batch.is_real.astype(jnp.float32)
        terms = {
            "global": losses.weighted_mean(-own, weights),
            "focal": focal.sum(),
            "dice": dice.sum(),
        }
        local = self.local_weight * (terms["focal"] + terms["dice"])
        total = local + self.global_weight * terms["global"]
        return total, {"loss": total} | terms

    @classmethod
    def from_archive(cls, tensors: Mapping[str, Any]) -> Published | None:
        """What the authors' `epoch_N.pth` holds; None where it is another's file.

        AnomalyCLIP's has the same names and projections besides. Crane's and Crane+'s
        do not tell each other apart.
        """
        learner = tensors.get("prompt_learner")
        own = ("ctx_pos", "compound_prompts_text.0")
        if not isinstance(learner, Mapping) or not all(key in learner for key in own):
            return None
        if any(key.startswith("compound_prompt_projections.") for key in learner):
            return None
        found = read_published(learner)
        context = found.settings["context_length"]
        return found._replace(embeddings=_embeddings(learner, context))


def as_half(values: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Values rounded to float16; the gradient passes as if they were not."""
    # Without the barrier a compiler may take the two casts for none.
    rounded = jax.lax.optimization_barrier(values.astype(jnp.float16))
    return values + jax.lax.stop_gradient(rounded.astype(values.dtype) - values)


def _embeddings(
    learner: Mapping[str, np.ndarray], context: int
) -> dict[int, np.ndarray]:
    """Rows of the token embedding that a published file repeats, by token."""
    rows: dict[int, np.ndarray] = {}
    for state in ("pos", "neg"):
        ids, first, behind = (
            np.squeeze(learner[f"{name}_{state}"])
            for name in ("tokenized_prompts", "token_prefix", "token_suffix")
        )
        named = zip(ids[1 + context :].tolist(), behind, strict=True)
        rows |= {int(ids[0]): first} | dict(named)
    return rows
