"""Everything that is compiled: the frozen pass, the training step, detection."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from kanoclip_jax.models.base import (
    ClassPrompts,
    Method,
    Params,
    TrainBatch,
    Visual,
)

T = TypeVar("T")


class TrainState(NamedTuple):
    """What a training step changes.

    Attributes:
        params: the trainable tree.
        optimizer: optax's state.
        step: steps taken.
    """

    params: Params
    optimizer: Any
    step: Array


Terms = Mapping[str, Float[Array, ""]]
TrainStep = Callable[
    [Params, TrainState, Visual, TrainBatch, ClassPrompts, Array],
    tuple[TrainState, Terms],
]


def make_train_step(
    method: Method, optimizer: optax.GradientTransformation
) -> TrainStep:
    """One step on frozen features. `frozen` is an argument and gets no gradient."""

    def train_step(
        frozen: Params,
        state: TrainState,
        visual: Visual,
        batch: TrainBatch,
        classes: ClassPrompts,
        knowledge: Array,
    ) -> tuple[TrainState, Terms]:
        def objective(params: Params) -> tuple[Array, Terms]:
            return method.objective(frozen, params, visual, batch, classes, knowledge)

        gradients, terms = jax.grad(objective, has_aux=True)(state.params)
        updates, optimizer_state = optimizer.update(
            gradients, state.optimizer, state.params
        )
        params = optax.apply_updates(state.params, updates)
        return TrainState(params, optimizer_state, state.step + 1), terms

    return jax.jit(train_step, donate_argnums=1)


class Found(NamedTuple):
    """What was found in a batch.

    Attributes:
        maps: on the device; no pixel leaves it unless it is asked for.
        score: of each image, on the host.
        lowest: of each map, on the host.
        highest: likewise.
    """

    maps: Float[Array, "b h w"]
    score: Float[np.ndarray, " b"]
    lowest: Float[np.ndarray, " b"]
    highest: Float[np.ndarray, " b"]


def make_detect(method: Method) -> Callable[[Params, Visual, Array, Array], Found]:
    """Maps and scores from features and every class's text."""

    def detect(
        params: Params, visual: Visual, text: Array, class_index: Array
    ) -> Found:
        maps, score, _ = method.detect(params, visual, text[class_index])
        return Found(maps, score, maps.min((1, 2)), maps.max((1, 2)))

    return jax.jit(detect)


def detections(
    method: Method,
    frozen: Params,
    params: Params,
    text: Array,
    batches: Iterable[Mapping[str, np.ndarray]],
) -> Iterator[tuple[Mapping[str, np.ndarray], Found]]:
    """Run a method over a stream of images.

    Images go to the device ahead of use, and a batch is waited for only when the next
    one has been handed to the device.

    Args:
        method: what runs,
        frozen: on these backbone parameters
        params: and these trained ones.
        text: every class's features, from `method.text`.
        batches: with `image`, and `class_index` into `text` if there are classes.

    Yields:
        Each batch as it came, and what was found in it.
    """
    visual, detect = jax.jit(method.visual), make_detect(method)
    waiting: list[Mapping[str, np.ndarray]] = []

    def inputs() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for batch in batches:
            waiting.append(batch)
            only = np.zeros(len(batch["image"]), np.int32)
            yield batch["image"], batch.get("class_index", only)

    def fetch(found: Found) -> tuple[Mapping[str, np.ndarray], Found]:
        return waiting.pop(0), Found(found.maps, *jax.device_get(found[1:]))

    running: list[Found] = []
    for image, class_index in ahead(inputs()):
        running.append(detect(params, visual(frozen, image), text, class_index))
        if len(running) > 1:
            yield fetch(running.pop(0))
    yield from map(fetch, running)


def ahead(items: Iterable[T], depth: int = 2) -> Iterator[T]:
    """Put arrays on the device while earlier ones are still being used."""
    waiting: list[T] = []
    for item in items:
        waiting.append(jax.device_put(item))
        if len(waiting) > depth:
            yield waiting.pop(0)
    yield from waiting


def count_parameters(params: Params) -> int:
    """Numbers in a tree."""
    return sum(jnp.size(leaf) for leaf in jax.tree.leaves(params))
