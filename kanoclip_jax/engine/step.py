"""Everything that is compiled: the frozen pass, the training step, detection."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
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


def make_detect(
    method: Method,
) -> Callable[[Params, Visual, Array, Array], tuple[Array, Array]]:
    """Maps [b, h, w] and scores [b] from features and every class's text."""

    def detect(
        params: Params, visual: Visual, text: Array, class_index: Array
    ) -> tuple[Array, Array]:
        found = method.detect(params, visual, text[class_index])
        return found.anomaly_map, found.score

    return jax.jit(detect)


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
