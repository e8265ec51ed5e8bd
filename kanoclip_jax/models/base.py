"""The contract of a method: what the engine asks of it, and nothing that is one's own."""

import abc
import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

from kanoclip_jax.backbones import Clip

Params = Mapping[str, Any]
# Any tree of arrays: with a leading axis of images, of classes, or with none.
Visual = Any
Text = Any
Classes = Any
Terms = dict[str, Float[Array, ""]]


class Detection(NamedTuple):
    """What a method says of images.

    Attributes:
        anomaly_map: how anomalous each pixel is, in [0, 1], at the input size.
        score: how anomalous the image is, in [0, 1].
    """

    anomaly_map: Float[Array, "b h w"]
    score: Float[Array, " b"]


class Published(NamedTuple):
    """What an authors' checkpoint holds.

    Attributes:
        params: the trainable tree.
        settings: of the method, as the file's shapes have them.
        embeddings: what its CLIP embeds tokens as, by id; none where it does not say.
    """

    params: Params
    settings: Mapping[str, Any]
    embeddings: Mapping[int, np.ndarray] = {}


class TrainBatch(NamedTuple):
    """Labels of a batch; padded rows have `is_real` False."""

    mask: UInt8[Array, "b h w"]
    label: Int[Array, " b"]
    class_index: Int[Array, " b"]
    is_real: Bool[Array, " b"]


class Method(abc.ABC):
    """A method of anomaly detection; its subclasses are frozen dataclasses.

    A dataclass's fields are its settings, the keys of `config.model`, besides one field
    for each of its frozen backbones. `frozen` is the backbones' parameters: an argument
    of every function that is compiled, never differentiated, never saved. `params` is
    the trainable tree, empty for a method that learns nothing: such a one needs no
    training dataset.

    Attributes:
        title: its name in reports, as tables of papers have it.
        published_tower: `clip` settings that its authors' weights belong to.
        whole_patches: whether an input size that is no multiple of the patch is refused.
        backbones: names of the fields that hold frozen backbones.
        clip: the CLIP that all methods have.
    """

    title: ClassVar[str]
    published_tower: ClassVar[Mapping[str, Any]] = {}
    whole_patches: ClassVar[bool] = True
    backbones: ClassVar[tuple[str, ...]] = ("clip",)
    clip: Clip

    @property
    def frozen(self) -> Params:
        """The backbones' parameters by their fields' names."""
        return {name: getattr(self, name).params for name in self.backbones}

    @property
    def needs_knowledge(self) -> bool:
        """Whether its objective learns from knowledge sentences; see `learning_from`."""
        return False

    @property
    def image_size(self) -> int:
        """Side of the square that images are squashed to, in pixels."""
        return self.clip.image_size

    def backbone_identity(self) -> dict[str, dict[str, str]]:
        """Of each backbone its name as it was asked for, and its weights' digest."""
        return {
            field: {"name": found.name, "fingerprint": found.fingerprint}
            for field, found in ((name, getattr(self, name)) for name in self.backbones)
        }

    def visual_settings(self) -> dict[str, object]:
        """All that `visual` depends on besides images: equal ones mean equal features.

        Methods that have one `visual` between them share its results.
        """
        visual = type(self).visual
        return {
            "visual": f"{visual.__module__}.{visual.__qualname__}",
            **{name: getattr(self, name).reading() for name in self.backbones},
            **self.visual_options(),
        }

    def visual_options(self) -> dict[str, object]:
        """The settings that `visual` depends on: all, where a method says no better."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in self.backbones
        }

    @functools.cached_property
    def abstract_params(self) -> Params:
        """Shapes of `init`."""
        # The key is drawn where it is traced: outside, it would be compiled and run.
        return jax.eval_shape(
            lambda frozen: self.init(jax.random.key(0), frozen), self.frozen
        )

    @property
    def learns(self) -> bool:
        """Whether there is anything to train."""
        return bool(jax.tree.leaves(self.abstract_params))

    @property
    def called(self) -> str:
        """Its title, with a word before it where it could learn and is set not to."""
        could = type(self).init is not Method.init
        return f"untrained {self.title}" if could and not self.learns else self.title

    @classmethod
    def from_archive(cls, tensors: Mapping[str, Any]) -> Published | None:
        """What an authors' file of nested tensors holds; None for another's file."""
        del tensors
        return None

    @abc.abstractmethod
    def prompts(self, frozen: Params, class_names: Sequence[str]) -> Classes:
        """What a list of classes is to `text` and `objective`; outside any program.

        Texts are tokenised here, and encoded where they never learn.
        """

    def learning_from(
        self, classes: Classes, knowledge: Float[np.ndarray, "c joint"]
    ) -> Classes:
        """Training classes with their knowledge means; shapes stay what they were."""
        raise NotImplementedError(f"{type(self).__name__} learns from no knowledge")

    def init(self, key: jax.Array, frozen: Params) -> Params:
        """Fresh trainable parameters, none where a method says nothing.

        Learning rates go by the names of its parts.
        """
        del key, frozen
        return {}

    @abc.abstractmethod
    def visual(self, frozen: Params, images: UInt8[Array, "b h w 3"]) -> Visual:
        """What is frozen of the pass: features of images, in the tower's dtype."""

    @abc.abstractmethod
    def text(self, frozen: Params, params: Params, classes: Classes) -> Text:
        """Features of each class, once for a list of classes."""

    def join(self, rows: Sequence[Text]) -> Text:
        """Rows of text, each encoded by itself, as one tree; on the host."""
        return jax.tree.map(lambda *leaves: np.stack(leaves), *rows)

    @abc.abstractmethod
    def detect(
        self, frozen: Params, params: Params, visual: Visual, text: Text
    ) -> Detection:
        """Maps and scores of images, from a row of text for each."""

    def objective(
        self,
        frozen: Params,
        params: Params,
        visual: Visual,
        batch: TrainBatch,
        classes: Classes,
    ) -> tuple[Float[Array, ""], Terms]:
        """The training loss, and its terms by name for the log."""
        raise NotImplementedError(f"{type(self).__name__} has nothing to minimise")


class WithoutText:
    """What a method that reads no text says where others encode prompts."""

    def prompts(
        self, frozen: Params, class_names: Sequence[str]
    ) -> Float[np.ndarray, "c 0"]:
        """Nothing: an empty row for each class."""
        del frozen
        return np.zeros((len(class_names), 0), np.float32)

    def text(
        self, frozen: Params, params: Params, classes: Float[Array, "c 0"]
    ) -> Float[Array, "c 0"]:
        """Nothing, for each class."""
        del frozen, params
        return jnp.asarray(classes)
