"""KAnoCLIP (arXiv 2501.03786), composed of a frozen CLIP and four learnable parts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from kanoclip_jax import losses
from kanoclip_jax.backbones import Clip
from kanoclip_jax.backbones.taps import first_vv_block, tapped_blocks
from kanoclip_jax.backbones.towers import ImageFeature, Paths
from kanoclip_jax.errors import InputError
from kanoclip_jax.models.base import Detection, Method, Params, Terms, TrainBatch
from kanoclip_jax.models.learned_prompts import LearnedPrompts
from kanoclip_jax.models.local import local_terms
from kanoclip_jax.models.settings import (
    check_choices,
    check_divides,
    check_positive,
    check_range,
)
from kanoclip_jax.models.state_prompts import PromptTokens, encode, tokenise
from kanoclip_jax.nn import alignment, anomaly_map
from kanoclip_jax.nn.bica import BiCA, expand_text
from kanoclip_jax.nn.conv_adapter import ConvAdapter

GlobalLossOf = Literal["probability", "score"]


class ClassPrompts(NamedTuple):
    """What a list of classes is here.

    Attributes:
        normal, abnormal: tokenised prompts.
        knowledge: means of the classes' knowledge sentences, in training; else zeros.
    """

    normal: PromptTokens
    abnormal: PromptTokens
    knowledge: Float[Array, "c joint"]


class Visual(NamedTuple):
    """An image's frozen features: all that is read of it.

    Attributes:
        cls: image feature in the joint space, not normalised.
        taps: patch tokens at each tap.
    """

    cls: Float[Array, "b joint"]
    taps: Float[Array, "b l n d"]


@dataclass(frozen=True, eq=False)
class Kanoclip(LearnedPrompts, Method):
    """The method; each keyword is a key of `config.model`.

    Attributes:
        clip: the frozen backbone.
        knpl: learn prompts with the knowledge loss; else hand-written prompts.
        vv: take patch tokens from the value-value path; else from plain CLIP.
        cmci: four taps, trainable projections and BiCA; else the last tap through
            CLIP's own projection.
        adapter: adapt the image feature; else CLIP's own.
        vv_start: first block of the V-V path, from 1; depth // 4 if 0.
        paths: with `vv`, the paths whose tokens are tapped: the V-V path's, or both
            paths' (twice as many taps), which know different things of a patch.
        taps: tapped blocks, from 1; depth · {1, 2, 3, 4} // 4 if empty.
        image_feature: see `DualPathCLIP.encode_image`.
        temperature: τ of every softmax over states.
        typical, spread: of maps, see `anomaly_map.relate_to_picture`; where `typical` is
            0, taps stay as they come.
        combine: of taps into one (`Norm` of eq. 9), see `anomaly_map.combine_taps`.
        sigma: of the maps' Gaussian, in pixels.
        context_length: K of eq. 1.
        deep_prompt_depth, deep_prompt_length: AnomalyCLIP's deep prompts (9 and 4).
        normal_states, abnormal_states: state words of eq. 1.
        class_aware: name the class in prompts; else `object` for every class.
        template: hand-written prompt around «state class», where knpl is off.
        bica_width, bica_heads, bica_groups, bica_stride, bica_kernel: see `BiCA`.
        layer_scale, feed_forward: see `BiCA`.
        adapter_reduction, adapter_residual, adapter_spatial: see `ConvAdapter`.
        knowledge_weight, global_weight, local_weight: α, β, γ of eq. 13.
        margin, knowledge_scope: of the knowledge loss; see `losses.knowledge_loss`.
        focal_gamma: exponent of the focal loss.
        loss_per_tap: focal and dice on each tap's map, and then averaged: on the
            averaged map, a tap that says «normal» everywhere gets no gradient and stays
            silent.
        global_loss_of: the cross-entropy's (eq. 14) argument: `probability` is the
            image's own p; `score` the whole of eq. 12, whose gradient through max M
            pulls maps flat.
    """

    title: ClassVar[str] = "KAnoCLIP"

    clip: Clip
    knpl: bool = True
    vv: bool = True
    cmci: bool = True
    adapter: bool = True
    vv_start: int = 0
    paths: Paths = "vv"
    taps: tuple[int, ...] = ()
    image_feature: ImageFeature = "post_layernorm"
    temperature: float = 0.07
    typical: float = 0.03
    spread: float = 0.0
    combine: anomaly_map.Combine = "probability"
    sigma: float = 4.0
    context_length: int = 12
    deep_prompt_depth: int = 0
    deep_prompt_length: int = 4
    normal_states: tuple[str, ...] = ("normal", "perfect")
    abnormal_states: tuple[str, ...] = ("abnormal", "defective")
    class_aware: bool = True
    template: str = "a photo of a {}"
    bica_width: int = 256
    bica_heads: int = 8
    bica_groups: int = 4
    bica_stride: int = 4
    bica_kernel: int = 5
    layer_scale: float = 0.0
    feed_forward: bool = False
    adapter_reduction: int = 4
    adapter_residual: bool = True
    adapter_spatial: bool = False
    knowledge_weight: float = 1.0
    global_weight: float = 1.0
    local_weight: float = 1.0
    margin: float = 0.0
    knowledge_scope: losses.KnowledgeScope = "class"
    focal_gamma: float = 2.0
    loss_per_tap: bool = True
    global_loss_of: GlobalLossOf = "probability"

    def __post_init__(self) -> None:
        tapped_blocks(self.clip.depth, self.taps)
        check_choices(self)
        check_positive(self, "temperature", "context_length", "adapter_reduction")
        parts = ("width", "heads", "groups", "stride", "kernel")
        check_positive(self, *(f"bica_{part}" for part in parts))
        check_range(self, "typical", 0, 1)
        check_range(self, "spread", 0)
        if self.paths == "both" and not (self.vv and self.cmci):
            raise InputError(
                "model.paths is 'both', which needs the V-V path and the taps of "
                "Bi-CMCI; allowed here: vv, or --config.model.vv=True "
                "--config.model.cmci=True"
            )
        if not (self.normal_states and self.abnormal_states):
            raise InputError(
                "model.normal_states and model.abnormal_states need a word each"
            )
        self.check_deep_prompts()
        joint, width = f"the joint width {self.joint} of this CLIP", self.bica_width
        check_divides(self, "bica_groups", whole=self.joint, called=joint)
        for name in ("bica_heads", "bica_groups"):
            check_divides(self, name, whole=width, called=f"model.bica_width {width}")

    @property
    def needs_knowledge(self) -> bool:
        """Whether the knowledge loss pulls the prompts."""
        return self.knpl

    @property
    def joint(self) -> int:
        """Width of CLIP's joint space."""
        return self.clip.module.config.projection_dim

    @property
    def tapped(self) -> tuple[int, ...]:
        """Blocks after which tokens are taken."""
        depth = self.clip.depth
        return tapped_blocks(depth, self.taps) if self.cmci else (depth,)

    @property
    def tap_count(self) -> int:
        """Taps of all paths."""
        return len(self.tapped) * (2 if self.paths == "both" else 1)

    @property
    def first_vv_block(self) -> int:
        """First block with a V-V path; beyond the depth where there is none."""
        depth = self.clip.depth
        return first_vv_block(depth, self.vv_start) if self.vv else depth + 1

    def visual_options(self) -> dict[str, object]:
        """The settings that `visual` depends on."""
        return {
            "vv_start": self.first_vv_block,
            "taps": self.tapped,
            "paths": self.paths,
            "image_feature": self.image_feature,
            "projected": not self.cmci,
        }

    def prompts(self, frozen: Params, class_names: Sequence[str]) -> ClassPrompts:
        """Tokenise the prompts of classes by their names in prompts, on the host."""
        del frozen
        names = [
            name if self.class_aware and name else "object" for name in class_names
        ]
        pattern = "{}." if self.knpl else f"{self.template}."
        placeholders = self.context_length if self.knpl else 0
        normal, abnormal = (
            tokenise(self.clip, names, words, pattern, placeholders)
            for words in (self.normal_states, self.abnormal_states)
        )
        knowledge = np.zeros((len(names), self.joint), np.float32)
        return ClassPrompts(normal, abnormal, knowledge)

    def learning_from(
        self, classes: ClassPrompts, knowledge: Float[np.ndarray, "c joint"]
    ) -> ClassPrompts:
        """The classes with the means that the knowledge loss pulls to."""
        return classes._replace(knowledge=knowledge)

    def init(self, key: jax.Array, frozen: Params) -> Params:
        """Fresh trainable parameters; parts that are off have none."""
        keys = dict(
            zip(("prompts", "bica", "adapter"), jax.random.split(key, 3), strict=True)
        )
        params: dict[str, object] = {}
        if self.knpl:
            params["prompts"] = self.prompt_learner.init(keys["prompts"])["params"]
        text = jnp.zeros((1, 2, self.joint))
        tokens = jnp.zeros((1, self.clip.grid**2, self.joint))
        if self.cmci:
            params["alignment"] = alignment.from_clip(frozen["clip"], self.tap_count)
            # Stacked over taps, so that one block's drawing is compiled, not four.
            params["bica"] = jax.vmap(
                lambda tap_key: self._bica.init(tap_key, text, tokens)["params"]
            )(jax.random.split(keys["bica"], self.tap_count))
        if self.adapter:
            params["adapter"] = self._adapter.init(
                keys["adapter"], tokens[:, 0], tokens
            )["params"]
        return params

    def visual(self, frozen: Params, images: UInt8[Array, "b h w 3"]) -> Visual:
        """One pass of both paths (eq. 4-8)."""
        tokens = self.clip.module.apply(
            {"params": frozen["clip"]},
            self.clip.normalise(images),
            vv_start=self.first_vv_block,
            taps=self.tapped,
            image_feature=self.image_feature,
            paths=self.paths,
            method="encode_image",
        )
        taps = tokens.taps
        if not self.cmci:
            own = alignment.from_clip(frozen["clip"], taps.shape[1])
            projected = alignment.project(taps, **own, epsilon=self._epsilon)
            taps = jnp.stack(projected, axis=1)
        return Visual(tokens.cls, taps)

    def text(
        self, frozen: Params, params: Params, classes: ClassPrompts
    ) -> Float[Array, "c 2 joint"]:
        """Unit features of each class's normal and abnormal prompts (eq. 1)."""
        contexts, deep = (None, None), None
        if self.knpl:
            learned = self.prompt_learner.apply({"params": params["prompts"]})
            contexts, deep = learned.polarity, learned.deep
        features = [
            encode(self.clip, frozen, tokens, context, deep)
            for tokens, context in zip(
                (classes.normal, classes.abnormal), contexts, strict=True
            )
        ]
        return jnp.stack(features, axis=1)

    def detect(
        self,
        frozen: Params,
        params: Params,
        visual: Visual,
        text: Float[Array, "*b 2 joint"],
    ) -> Detection:
        """Maps (eq. 9-10) and score (eq. 11-12).

        The score takes the maximum before taps are related to their own picture: where
        a defect is shows against the rest of the picture, whether there is one does
        not.
        """
        del frozen
        states, abnormal = self._probabilities(params, visual, text)
        maps = absolute = self._maps(states)
        if self.typical:
            related = anomaly_map.relate_to_picture(states, self.typical, self.spread)
            maps = self._maps(related)
        return Detection(maps, anomaly_map.global_score(abnormal, absolute))

    def _maps(self, states: Float[Array, "b l 2 n"]) -> Float[Array, "b h w"]:
        combined = anomaly_map.combine_taps(states, self.combine)
        return anomaly_map.anomaly_map(combined, self.clip.image_size, self.sigma)

    def _probabilities(
        self, params: Params, visual: Visual, text: Float[Array, "*b 2 joint"]
    ) -> tuple[Float[Array, "b l 2 n"], Float[Array, " b"]]:
        """Of both states for each tap and patch; of «abnormal» for the image."""
        cls = visual.cls.astype(jnp.float32)
        text = expand_text(text, cls.shape[0])
        if self.cmci:
            taps = alignment.project(
                visual.taps, **params["alignment"], epsilon=self._epsilon
            )
        else:
            taps = (visual.taps[:, 0].astype(jnp.float32),)

        def tap_states(index: int) -> Float[Array, "b 2 n"]:
            refined, tokens = text, taps[index]
            if self.cmci:
                block = jax.tree.map(lambda leaf: leaf[index], params["bica"])
                refined, tokens = self._bica.apply({"params": block}, refined, tokens)
            return anomaly_map.state_probabilities(tokens, refined, self.temperature)

        # Unrolled: on a CPU a scan or a vmap over the taps is slower by 20 to 80 %.
        states = jnp.stack([tap_states(index) for index in range(len(taps))], 1)
        if self.adapter:
            last = taps[len(self.tapped) - 1]
            cls = self._adapter.apply({"params": params["adapter"]}, cls, last)
        image = anomaly_map.state_probabilities(cls[:, None], text, self.temperature)
        return states, image[:, 1, 0]

    def objective(
        self,
        frozen: Params,
        params: Params,
        visual: Visual,
        batch: TrainBatch,
        classes: ClassPrompts,
    ) -> tuple[Float[Array, ""], Terms]:
        """α · knowledge + β · global + γ · local (eq. 13), and the terms."""
        text = self.text(frozen, params, classes)
        states, judged = self._probabilities(params, visual, text[batch.class_index])
        if self.global_loss_of == "score":
            judged = anomaly_map.global_score(judged, self._maps(states))
        if not self.loss_per_tap:
            states = anomaly_map.combine_taps(states, self.combine)[:, None]
        focal, dice = local_terms(states, batch, self.clip.image_size, self.focal_gamma)
        weights = batch.is_real.astype(jnp.float32)
        image = losses.weighted_mean(losses.global_loss(judged, batch.label), weights)
        total = self.global_weight * image + self.local_weight * (focal + dice)
        terms = {"global": image, "focal": focal, "dice": dice}
        if self.knpl:
            known = losses.knowledge_loss(
                classes.knowledge, text, self.margin, self.knowledge_scope
            )
            total += self.knowledge_weight * known.loss
            terms |= {
                "knowledge": known.loss,
                "distance_abnormal": known.distance_abnormal,
                "distance_normal": known.distance_normal,
                "knowledge_active": known.active,
            }
        return total, {"loss": total} | terms

    @property
    def _epsilon(self) -> float:
        return self.clip.module.config.vision_config.layer_norm_eps

    @property
    def _bica(self) -> BiCA:
        return BiCA(
            width=self.bica_width,
            heads=self.bica_heads,
            groups=self.bica_groups,
            stride=self.bica_stride,
            kernel=self.bica_kernel,
            layer_scale=self.layer_scale,
            feed_forward=self.feed_forward,
        )

    @property
    def _adapter(self) -> ConvAdapter:
        return ConvAdapter(
            self.adapter_reduction, self.adapter_residual, self.adapter_spatial
        )
