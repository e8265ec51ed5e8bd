"""AdaCLIP (Cao et al., ECCV 2024): prompts in both towers, in part made from the image.

Ported from caoyunkang/AdaCLIP (MIT). With CLIP ViT-L/14 10,665,472 parameters: static
prompts 4 · 5 · (768 + 1024), the makers of dynamic ones 5 · (768 + 1) · (768 + 1024), a
linear layer for each of four stages 4 · (1024 + 1) · 768, and one for the image feature
(768 + 1) · 768.

What learns sits inside of the towers, so the cached frozen pass ends before block 1, and
beside it is the plain image feature that dynamic prompts are made from. Everything else
runs anew for each image, 48 sentences too.

| | here | published code |
|---|---|---|
| k-means of `hsf` | deterministic (`ops/clusters.py`); `hsf=False` leaves it out | scikit-learn's, without a seed |
| order of the most abnormal patches | by logits | by probabilities, which are equal where they are 1 |
| batch | of any size; 1 in this method's row | 1, others raise |
| dice | over the pixels of an image | over each of its rows, for a batch of 1 loses an axis |
| training data | `train.dataset`; both with `mvtec,colondb` and `visa,clinicdb` | two: ColonDB beside MVTec AD, ClinicDB beside VisA |
| mosaic of four images, 1 in 5 on MVTec AD | off; `train.mosaic=0.2` | on; the image's label stays that of the one that made place, with either |
| weights that are evaluated | the last epoch's | those of the epoch with the best pixel F1 on another dataset |
| first prompt of the text tower, which nothing reads | decays with the others | stays as it was drawn |
| half precision | none in float32; the tower's own where it has it | autocast on a GPU, and prompts rounded to float16 |
| activation of the tower, position grid | `clip.activation=gelu`, `clip.position_grid=bicubic` (set by the row) | exact GELU, by an oversight of its loader; bicubic without antialias |
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
from kanoclip_jax.backbones.prompted import plain_image, prompted_image, prompted_text
from kanoclip_jax.backbones.taps import tapped_blocks
from kanoclip_jax.errors import InputError
from kanoclip_jax.models import ensembles, stages
from kanoclip_jax.models.adaclip_files import read_archive
from kanoclip_jax.models.base import (
    Detection,
    Method,
    Params,
    Published,
    Terms,
    TrainBatch,
)
from kanoclip_jax.models.settings import check_positive, check_range
from kanoclip_jax.nn import anomaly_map
from kanoclip_jax.ops.clusters import k_means, mean_of_centres

# Positions are padded to a multiple of this, so that few programs serve all classes.
_POSITIONS = 8
_STATIC_DEVIATION = 0.02


class Sentences(NamedTuple):
    """Tokens of every class's sentences, the normal ones first."""

    ids: Int[Array, "c s t"]
    end: Int[Array, "c s"]


class Visual(NamedTuple):
    """The plain pass's image feature, and tokens as block 1 reads them."""

    cls: Float[Array, "b joint"]
    tokens: Float[Array, "b n d"]


class Features(NamedTuple):
    """Unit features of the prompted passes in the joint space.

    Attributes:
        text: of the normal and the abnormal sentences, as the image has them.
        cls: of the image.
        patches: of each stage.
    """

    text: Float[Array, "b 2 joint"]
    cls: Float[Array, "b joint"]
    patches: Float[Array, "b l n joint"]


@dataclass(frozen=True, eq=False)
class AdaClip(Method):
    """The method; each keyword is a key of `config.model`.

    Attributes:
        clip: the frozen backbone.
        prompt_length: prompts in each block.
        prompt_depth: blocks of both towers that prompts enter, from the first.
        taps: tapped blocks, from 1; depth · {1, 2, 3, 4} // 4 if empty.
        hsf: mix the image feature with the centre of its most abnormal patches.
        clusters: of those patches, which are five times as many.
        hsf_weight: of their centre.
        temperature: τ of every softmax over states.
        sigma: of the maps' Gaussian, in pixels.
        focal_gamma: exponent of the focal loss, of pixels and of images.
    """

    title: ClassVar[str] = "AdaCLIP"
    ensemble: ClassVar[ensembles.Ensemble] = ensembles.ADACLIP
    published_tower: ClassVar[Mapping[str, str]] = {
        "activation": "gelu",
        "position_grid": "bicubic",
        "input_range": "clip",
    }

    clip: Clip
    prompt_length: int = 5
    prompt_depth: int = 4
    taps: tuple[int, ...] = ()
    hsf: bool = True
    clusters: int = 20
    hsf_weight: float = 0.2
    temperature: float = 0.01
    sigma: float = 4.0
    focal_gamma: float = 2.0

    def __post_init__(self) -> None:
        check_positive(self, "prompt_length", "prompt_depth", "clusters", "temperature")
        check_range(self, "hsf_weight", 0, 1)
        tapped_blocks(self.clip.depth, self.taps)

    @property
    def tapped(self) -> tuple[int, ...]:
        """Blocks after which tokens are taken: the stages."""
        return tapped_blocks(self.clip.depth, self.taps)

    def visual_options(self) -> dict[str, object]:
        """Nothing: the frozen pass ends where the settings begin."""
        return {}

    def prompts(self, frozen: Params, class_names: Sequence[str]) -> Sentences:
        """Tokenise each class's sentences.

        Raises:
            InputError: a sentence that the prompts would overwrite to its end.
        """
        del frozen
        words = self.ensemble
        texts = [
            text
            for name in (name or "object" for name in class_names)
            for states in (words.normal, words.abnormal)
            for text in ensembles.sentences(states, words.templates, name)
        ]
        ids, end = self.clip.tokenizer(texts)
        if end.min() <= self.prompt_length:
            raise InputError(
                f"model.prompt_length is {self.prompt_length}, which leaves nothing of "
                f"{texts[end.argmin()]!r}; at most {end.min() - 1} fit"
            )
        length = -(-ids.shape[1] // _POSITIONS) * _POSITIONS
        length = min(length, self.clip.tokenizer.length)
        count = len(class_names)
        return Sentences(
            _lengthened(ids.reshape(count, -1, ids.shape[1]), length),
            end.reshape(count, -1),
        )

    def init(self, key: jax.Array, frozen: Params) -> Params:
        """Prompts from N(0, 0.02²); layers from U(±1/√inputs), as torch's Linear."""
        del frozen
        config = self.clip.module.config
        width, joint = config.vision_config.hidden_size, config.projection_dim
        widths = {"text": config.text_config.hidden_size, "visual": width}
        keys = iter(jax.random.split(key, 6))
        shape = (self.prompt_depth, self.prompt_length)
        return {
            "prompts": {
                tower: _STATIC_DEVIATION * jax.random.normal(next(keys), (*shape, size))
                for tower, size in widths.items()
            },
            "dynamic": {
                tower: stages.linear_layers(
                    next(keys), (self.prompt_length,), joint, size
                )
                for tower, size in widths.items()
            },
            "heads": {
                "patches": stages.linear_layers(
                    next(keys), (len(self.tapped),), width, joint
                ),
                "cls": stages.linear_layers(next(keys), (), joint, joint),
            },
        }

    def visual(self, frozen: Params, images: UInt8[Array, "b h w 3"]) -> Visual:
        """CLIP's image feature, and what enters its first block."""
        pixels = self.clip.normalise(images)
        found = self.clip.module.apply(
            {"params": frozen["clip"]}, pixels, method=plain_image
        )
        return Visual(*found)

    def text(self, frozen: Params, params: Params, classes: Sentences) -> Sentences:
        """The sentences as they are: they are encoded for each image."""
        del frozen, params
        return jax.tree.map(jnp.asarray, classes)

    def join(self, rows: Sequence[Sentences]) -> Sentences:
        """Sentences of several classes, of equal length."""
        length = max(row.ids.shape[-1] for row in rows)
        return Sentences(
            np.stack([_lengthened(np.asarray(row.ids), length) for row in rows]),
            np.stack([row.end for row in rows]),
        )

    def image_prompts(
        self, params: Params, cls: Float[Array, "b joint"]
    ) -> dict[str, Float[Array, "b j k _"]]:
        """Of each tower, the static prompts with what an image adds to them."""
        cls = cls.astype(jnp.float32)
        return {
            tower: params["prompts"][tower]
            + (jnp.einsum("bj,kjd->bkd", cls, layers["kernel"]) + layers["bias"])[
                :, None
            ]
            for tower, layers in params["dynamic"].items()
        }

    def features(
        self,
        frozen: Params,
        params: Params,
        visual: Visual,
        text: Sentences,
        *,
        again: bool = False,
    ) -> Features:
        """The prompted passes of both towers, and the layers behind them.

        Args:
            frozen: the backbone's parameters.
            params: the trainable ones.
            visual: of images,
            text: with the sentences of each one's class.
            again: compute blocks again where a gradient comes back.
        """
        prompts = self.image_prompts(params, visual.cls)

        def walk(module: DualPathCLIP) -> tuple[Array, Array, Array]:
            image = (visual.tokens, prompts["visual"], self.tapped)
            words = prompted_text(module, *text, prompts["text"], again=again)
            return *prompted_image(module, *image, again=again), words

        cls, taps, words = (
            leaf.astype(jnp.float32)
            for leaf in self.clip.module.apply({"params": frozen["clip"]}, method=walk)
        )
        unit, heads = anomaly_map.normalise, params["heads"]
        normal = len(self.ensemble.normal) * len(self.ensemble.templates)
        words = unit(words)
        states = [words[:, :normal].mean(1), words[:, normal:].mean(1)]
        patches = stages.project(heads["patches"], taps)
        cls = cls @ heads["cls"]["kernel"] + heads["cls"]["bias"]
        return Features(unit(jnp.stack(states, 1)), unit(cls), unit(patches))

    def odds(self, found: Features) -> Float[Array, "b l n"]:
        """Each stage's logit of «abnormal» less that of «normal», for each patch."""
        difference = found.text[:, 1] - found.text[:, 0]
        return jnp.einsum("blnj,bj->bln", found.patches, difference) / self.temperature

    def abnormal_patches(
        self, found: Features, odds: Float[Array, "b n"]
    ) -> Float[Array, "b m l joint"]:
        """The patches with the largest odds, the most abnormal one first."""
        count = min(5 * self.clusters, odds.shape[-1])
        _, index = jax.lax.top_k(odds, count)
        chosen = jnp.take_along_axis(found.patches, index[:, None, :, None], axis=2)
        return jnp.moveaxis(chosen, 1, 2)

    def centre(
        self,
        patches: Float[Array, "b m l joint"],
        labels: Int[Array, "b m"] | None = None,
    ) -> Float[Array, "b joint"]:
        """The unit mean of the patches' clusters, over all stages.

        Args:
            patches: of each image.
            labels: their clusters, where they are known; else k-means finds them.
        """
        if labels is None:
            points = patches.reshape(*patches.shape[:2], -1)
            labels = k_means(jax.lax.stop_gradient(points), self.clusters)
        return anomaly_map.normalise(mean_of_centres(patches.mean(2), labels))

    def score(
        self,
        found: Features,
        odds: Float[Array, "b n"],
        labels: Int[Array, "b m"] | None = None,
    ) -> Float[Array, " b"]:
        """The probability of «abnormal» of the image feature, mixed where `hsf` is on.

        Args:
            found: features.
            odds: of each patch, the mean over stages.
            labels: as `centre` takes them.
        """
        cls = found.cls
        if self.hsf:
            centre = self.centre(self.abnormal_patches(found, odds), labels)
            cls = self.hsf_weight * centre + (1 - self.hsf_weight) * cls
            cls = anomaly_map.normalise(cls)
        difference = found.text[:, 1] - found.text[:, 0]
        return jax.nn.sigmoid(jnp.sum(cls * difference, -1) / self.temperature)

    def detect(
        self, frozen: Params, params: Params, visual: Visual, text: Sentences
    ) -> Detection:
        """The stages' mean logits as a map; the image's own probability."""
        found = self.features(frozen, params, visual, text)
        odds = self.odds(found).mean(1)
        # Of two states only the difference counts, and it commutes with up-sampling.
        maps = stages.stage_maps(odds, self.image_size)
        if self.sigma:
            maps = jnp.minimum(anomaly_map.smooth(maps, self.sigma), 1)
        return Detection(maps, self.score(found, odds))

    def objective(
        self,
        frozen: Params,
        params: Params,
        visual: Visual,
        batch: TrainBatch,
        classes: Sentences,
    ) -> tuple[Float[Array, ""], Terms]:
        """Focal of the image, and of each stage focal and both dice, summed."""
        text = jax.tree.map(
            lambda leaf: leaf[batch.class_index], self.text(frozen, params, classes)
        )
        found = self.features(frozen, params, visual, text, again=True)
        odds = self.odds(found)
        states = self.maps_for_the_loss(odds)
        weights = batch.is_real.astype(jnp.float32)
        focal, dice = 0.0, 0.0
        for stage in range(odds.shape[1]):
            own = losses.local_loss(states[:, stage], batch.mask, self.focal_gamma)
            focal += losses.weighted_mean(own[0], weights)
            dice += losses.weighted_mean(own[1], weights)
        image = losses.weighted_mean(
            self.image_loss(self.score(found, odds.mean(1)), batch.label), weights
        )
        total = image + focal + dice
        terms = {"global": image, "focal": focal, "dice": dice}
        return total, {"loss": total} | terms

    def maps_for_the_loss(
        self, odds: Float[Array, "b l n"]
    ) -> Float[Array, "b l 2 h w"]:
        """Each stage's probabilities of {normal, abnormal} at full size, unblurred."""
        abnormal = stages.stage_maps(odds, self.image_size)
        return jnp.stack([1 - abnormal, abnormal], axis=2)

    def image_loss(
        self, score: Float[Array, " b"], label: Int[Array, " b"]
    ) -> Float[Array, " b"]:
        """Focal loss of images: they are masks of one pixel."""
        states = jnp.stack([1 - score, score], axis=1)[..., None, None]
        return losses.focal_loss(states, label[:, None, None], self.focal_gamma)

    @classmethod
    def from_archive(cls, tensors: Mapping[str, Any]) -> Published | None:
        """What the authors' `.pth` holds; None for another's file."""
        return read_archive(tensors)


def _lengthened(
    ids: Int[np.ndarray, "*c s t"], length: int
) -> Int[np.ndarray, "*c s {length}"]:
    """Sentences with more of what stands behind their ends."""
    room = [(0, 0)] * (ids.ndim - 1) + [(0, length - ids.shape[-1])]
    return np.pad(ids, room, mode="edge")
