"""The contract of a method: three pure functions over pytrees, and an objective."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

Params = Mapping[str, Any]


class Visual(NamedTuple):
    """An image's frozen features: all that is read of it.

    Attributes:
        cls: image feature in the joint space, not normalised.
        taps: patch tokens at each tap.
    """

    cls: Float[Array, "b joint"]
    taps: Float[Array, "b l n d"]


class PromptTokens(NamedTuple):
    """Tokenised prompts of one polarity: for each class its state words."""

    ids: Int[Array, "c k t"]
    end: Int[Array, "c k"]


class ClassPrompts(NamedTuple):
    """Tokenised prompts of a list of classes."""

    normal: PromptTokens
    abnormal: PromptTokens


class Detection(NamedTuple):
    """What a method says of images.

    Attributes:
        anomaly_map: eq. 10, smoothed, in [0, 1], at the input size.
        score: how anomalous the image is, in [0, 1].
        states: probability of {normal, abnormal} for each tap and patch.
    """

    anomaly_map: Float[Array, "b h w"]
    score: Float[Array, " b"]
    states: Float[Array, "b l 2 n"]


class TrainBatch(NamedTuple):
    """Labels of a batch; padded rows have `is_real` False."""

    mask: UInt8[Array, "b h w"]
    label: Int[Array, " b"]
    class_index: Int[Array, " b"]
    is_real: Bool[Array, " b"]


@runtime_checkable
class Method(Protocol):
    """Visual, text, detect; and for a method that learns, init and objective.

    `frozen` is CLIP's parameter tree: a jit argument, never differentiated, never
    saved. `params` is the trainable tree, empty for a method that learns nothing: such
    a one needs no training dataset.

    Attributes:
        needs_knowledge: whether its objective reads `knowledge`; else it gets zeros.
    """

    needs_knowledge: bool

    def prompts(self, class_names: Sequence[str]) -> ClassPrompts:
        """Tokenise the prompts of classes, on the host."""

    def init(self, key: jax.Array) -> Params:
        """Fresh trainable parameters."""

    def visual(self, frozen: Params, images: UInt8[Array, "b h w 3"]) -> Visual:
        """Frozen features of images, in the tower's dtype."""

    def text(
        self,
        frozen: Params,
        params: Params,
        classes: ClassPrompts,
        visual: Visual | None = None,
    ) -> Float[Array, "*c 2 joint"]:
        """Features of the normal and abnormal prompts of each class.

        Methods whose prompts depend on the image read `visual` and return a row for
        each image.
        """

    def detect(
        self, params: Params, visual: Visual, text: Float[Array, "*b 2 joint"]
    ) -> Detection:
        """Maps and scores; `text` is one class's, or one row for each image."""

    def objective(
        self,
        frozen: Params,
        params: Params,
        visual: Visual,
        batch: TrainBatch,
        classes: ClassPrompts,
        knowledge: Float[Array, "c joint"],
    ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        """The training loss, and its terms by name for the log."""

    def visual_settings(self) -> dict[str, object]:
        """Everything that `visual` depends on besides weights and images."""


class WithoutText:
    """What a method that reads no text says where others encode prompts."""

    needs_knowledge: ClassVar[bool] = False

    def prompts(self, class_names: Sequence[str]) -> ClassPrompts:
        """Nothing: an empty row for each class."""
        count = len(class_names)
        none = PromptTokens(
            np.zeros((count, 0, 0), np.int32), np.zeros((count, 0), np.int32)
        )
        return ClassPrompts(none, none)

    def text(
        self,
        frozen: Params,
        params: Params,
        classes: ClassPrompts,
        visual: Visual | None = None,
    ) -> Float[Array, "c 0"]:
        """Nothing, for each class."""
        del frozen, params, visual
        return jnp.zeros((classes.normal.ids.shape[0], 0), jnp.float32)
