"""CLIP and CLIP-AC: two prompts, or two ensembles, against CLIP as it is.

The zero-shot baselines of AnomalyCLIP's tables (Zhou et al., ICLR 2024; CLIP: Radford et
al., ICML 2021, MIT). They learn nothing (0 parameters). No code of these two rows is
published; what is computed follows the author's answers and a user's run that gave the
table's image figures to a tenth of a point.

| | here | elsewhere |
|---|---|---|
| CLIP-AC's sentences | {normal, anomalous} in the 80 ImageNet templates | not published; `templates=subset` is the seven that CLIP's authors kept |
| map | last block's tokens, Gaussian of σ = 4 | not published |

Plain CLIP's patch tokens rank the wrong way round on many surfaces: pixel AUROCs below
50 are the method's, not an error.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

from jaxtyping import Array, Float, UInt8

from kanoclip_jax.backbones import Clip, DualPathCLIP
from kanoclip_jax.backbones.walks import plain_taps
from kanoclip_jax.models import ensembles
from kanoclip_jax.models.base import Detection, Method, Params
from kanoclip_jax.models.fixed_text import FixedText
from kanoclip_jax.models.settings import check_choices, check_positive
from kanoclip_jax.nn import anomaly_map


class Visual(NamedTuple):
    """Features of an image and of its patches in the joint space, not normalised."""

    cls: Float[Array, "b joint"]
    patches: Float[Array, "b n joint"]


@dataclass(frozen=True, eq=False)
class PlainClip(FixedText, Method):
    """The method; each keyword is a key of `config.model`.

    Attributes:
        clip: the frozen backbone.
        temperature: τ of every softmax over states.
        sigma: of the maps' Gaussian, in pixels.
    """

    title: ClassVar[str] = "CLIP"
    ensemble: ClassVar[ensembles.Ensemble] = ensembles.CLIP

    clip: Clip
    temperature: float = 0.07
    sigma: float = 4.0

    def __post_init__(self) -> None:
        check_choices(self)
        check_positive(self, "temperature")

    def visual_options(self) -> dict[str, object]:
        """None."""
        return {}

    def visual(self, frozen: Params, images: UInt8[Array, "b h w 3"]) -> Visual:
        """All tokens of the last block through `post_layernorm` and projection."""

        def walk(module: DualPathCLIP, pixels: Array) -> Visual:
            depth = module.config.vision_config.num_hidden_layers
            cls, taps = plain_taps(module, pixels, (depth,))
            return Visual(cls, module.leave(taps[:, 0]))

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
        """Softmax over the two states, of the image and of each patch."""
        del frozen, params
        cls, patches = (leaf.astype("float32") for leaf in visual)
        states = anomaly_map.state_probabilities(patches, text, self.temperature)
        image = anomaly_map.state_probabilities(cls[:, None], text, self.temperature)
        maps = anomaly_map.anomaly_map(states, self.image_size, self.sigma)
        return Detection(maps, image[:, 1, 0])


@dataclass(frozen=True, eq=False)
class ClipAC(PlainClip):
    """The same with an ensemble of sentences for each state.

    Attributes:
        templates: of the sentences: all 80 of CLIP's notebook, or its `subset` of 7.
    """

    title: ClassVar[str] = "CLIP-AC"

    templates: Literal["imagenet", "subset"] = "imagenet"

    @property
    def ensemble(self) -> ensembles.Ensemble:  # type: ignore[override]
        """Its words."""
        if self.templates == "imagenet":
            return ensembles.CLIP_AC
        return ensembles.CLIP_AC._replace(templates=ensembles.IMAGENET_SUBSET)
