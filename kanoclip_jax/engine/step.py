"""Everything that is compiled: the frozen pass, the training step, detection."""

import functools
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from data_pipelines.pipeline import Batch
from kanoclip_jax.engine import compiled
from kanoclip_jax.engine.sharding import Devices, Rows, local_shards
from kanoclip_jax.errors import InputError
from kanoclip_jax.finite import check_finite
from kanoclip_jax.models.base import (
    Classes,
    Method,
    Params,
    Terms,
    Text,
    TrainBatch,
    Visual,
)
from kanoclip_jax.verdict import no_number

T = TypeVar("T")
_NO_RESULT = (
    "which is no result: the computation overflows; make it in single precision with "
    "--config.clip.dtype=float32, or give another checkpoint"
)

# Training reads features in this dtype whether or not they are cached, so that a cache
# changes no result; beyond its range they saturate. Inference does not round: it would
# turn the last bits, which depend on a batch's shape, into larger steps.
FEATURE_DTYPE = jnp.float16


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


TrainStep = Callable[
    [Params, TrainState, Visual, TrainBatch, Classes], tuple[TrainState, Terms]
]
Tower = Callable[[Params, Array], Visual]


def make_visual(method: Method, devices: Devices, parts: int = 1) -> Tower:
    """The frozen pass, each device on its own rows.

    Args:
        method: whose `visual` it is.
        devices: share the batch.
        parts: how many pieces of it pass one after another, to need less memory.
    """

    def visual(frozen: Params, images: Array) -> Visual:
        if parts == 1:
            return method.visual(frozen, images)
        pieces = images.reshape(parts, -1, *images.shape[1:])
        found = jax.lax.map(lambda piece: method.visual(frozen, piece), pieces)
        return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), found)

    return devices.each(visual, copied=[0])


def make_features(method: Method, devices: Devices, parts: int = 1) -> Tower:
    """The frozen pass for training: `make_visual`, rounded to `FEATURE_DTYPE`."""
    visual = make_visual(method, devices, parts)
    return lambda frozen, images: round_features(visual(frozen, images))


@jax.jit
def round_features(visual: Visual) -> Visual:
    """Features as training reads them.

    A program of its own, so that training and inference share the tower's.
    """
    limit = float(jnp.finfo(FEATURE_DTYPE).max)

    def rounded(leaf: Array) -> Array:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        return jnp.clip(leaf, -limit, limit).astype(FEATURE_DTYPE)

    return jax.tree.map(rounded, visual)


def make_train_step(
    method: Method,
    optimizer: optax.GradientTransformation,
    devices: Devices,
    parts: int = 1,
    schedule: optax.Schedule | None = None,
) -> TrainStep:
    """One step on frozen features. `frozen` is an argument and gets no gradient.

    Args:
        method: whose objective is minimised,
        optimizer: by this rule.
        devices: share the batch; parameters stay equal on all.
        parts: pieces of the batch whose gradients are summed one after another; each
            encodes the prompts again.
        schedule: what updates are multiplied by, of the steps taken; 1 if None.
    """

    def train_step(
        frozen: Params,
        state: TrainState,
        visual: Visual,
        batch: TrainBatch,
        classes: Classes,
    ) -> tuple[TrainState, Terms]:
        def gradient(visual: Visual, batch: TrainBatch) -> tuple[Params, Terms]:
            def objective(params: Params) -> tuple[Array, Terms]:
                return method.objective(frozen, params, visual, batch, classes)

            return jax.grad(objective, has_aux=True)(state.params)

        gradients, terms = _accumulate(gradient, visual, batch, parts)
        updates, optimizer_state = optimizer.update(
            gradients, state.optimizer, state.params
        )
        if schedule is not None:
            factor = schedule(state.step)
            updates = jax.tree.map(lambda update: factor * update, updates)
        params = optax.apply_updates(state.params, updates)
        return TrainState(params, optimizer_state, state.step + 1), terms

    return jax.jit(train_step, donate_argnums=1, out_shardings=devices.whole)


def fresh_state(
    method: Method,
    optimizer: optax.GradientTransformation,
    devices: Devices,
    seed: int = 0,
) -> TrainState:
    """The state before the first step, on every device."""
    make = jax.jit(_state_maker(method, optimizer), out_shardings=devices.whole)
    return make(jax.random.key(seed), method.frozen)


def abstract_state(
    method: Method, optimizer: optax.GradientTransformation, devices: Devices
) -> TrainState:
    """Shapes and places of `fresh_state`, without its values."""
    shapes = jax.eval_shape(
        functools.partial(_state_of, optimizer), method.abstract_params
    )
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(
            leaf.shape, leaf.dtype, sharding=devices.whole
        ),
        shapes,
    )


def _state_maker(
    method: Method, optimizer: optax.GradientTransformation
) -> Callable[[Array, Params], TrainState]:
    def make(key: Array, frozen: Params) -> TrainState:
        return _state_of(optimizer, method.init(key, frozen))

    return make


def _state_of(optimizer: optax.GradientTransformation, params: Params) -> TrainState:
    return TrainState(params, optimizer.init(params), jnp.zeros((), jnp.int32))


def _accumulate(
    gradient: Callable[[Visual, TrainBatch], tuple[Params, Terms]],
    visual: Visual,
    batch: TrainBatch,
    parts: int,
) -> tuple[Params, Terms]:
    """Gradients and terms of a batch, summed over pieces by their share of images."""
    if parts == 1:
        return gradient(visual, batch)

    def pieces(leaf: Array) -> Array:
        # Strided, so that every piece has rows of every device.
        return leaf.reshape(-1, parts, *leaf.shape[1:]).swapaxes(0, 1)

    count = jnp.maximum(batch.is_real.sum(), 1)
    split = jax.tree.map(pieces, (visual, batch))
    like = jax.eval_shape(gradient, *jax.tree.map(lambda leaf: leaf[0], split))

    def add(total: Any, piece: tuple[Visual, TrainBatch]) -> tuple[Any, None]:
        share = piece[1].is_real.sum() / count
        own = gradient(*piece)
        return jax.tree.map(lambda t, leaf: t + share * leaf, total, own), None

    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)
    return jax.lax.scan(add, zeros, split)[0]


class Found(NamedTuple):
    """What this process found in its rows of a batch.

    Attributes:
        maps: of each image, on the devices; no pixel leaves them unless it is asked
            for, as an array of numpy.
        score: of each image, on the host.
        lowest: of each map, on the host; NaN where one of its pixels is.
        highest: likewise.
    """

    maps: Rows
    score: Float[np.ndarray, " b"]
    lowest: Float[np.ndarray, " b"]
    highest: Float[np.ndarray, " b"]

    def why_none(self, row: int) -> str:
        """Why a row's result is no number; empty where it is one.

        Weights and texts are numbers, or nothing would have run: it is the picture's.
        """
        values = self.score[row], self.lowest[row], self.highest[row]
        reason = no_number(*map(float, values))
        return f"{reason}, {_NO_RESULT}" if reason else ""

    def check(self, rows: Int[np.ndarray, " m"], name: Callable[[int], str]) -> None:
        """Refuse rows whose result is no number.

        Args:
            rows: which are meant.
            name: of a row's picture, for the message.

        Raises:
            InputError: names the first.
        """
        for row in rows:
            if reason := self.why_none(row):
                raise InputError(f"{name(row)}: {reason}")


def make_detect(
    method: Method, devices: Devices
) -> Callable[[Params, Params, Visual, Text], tuple[Array, Array]]:
    """Maps [b, h, w], and of each its image's score and its extremes, [b, 3].

    From a row of text for each.
    """

    def detect(
        frozen: Params, params: Params, visual: Visual, text: Text
    ) -> tuple[Array, Array]:
        maps, score = method.detect(frozen, params, visual, text)
        return maps, jnp.stack([score, maps.min((1, 2)), maps.max((1, 2))], axis=-1)

    return devices.each(detect, copied=[0, 1])


class Inference:
    """A method ready to run: parameters on the devices, programs that compile once.

    Any number of threads may use it.

    Args:
        method: what runs,
        devices: on these, sharing each batch,
        params: with these trained parameters.
        say: is told where it compiles for more than a moment.
    """

    def __init__(
        self,
        method: Method,
        devices: Devices,
        params: Params,
        say: Callable[[str], None] = compiled.to_log,
    ) -> None:
        self._method, self._devices = method, devices
        self._frozen, self._params = devices.copy((method.frozen, params))
        self._text = jax.jit(method.text, out_shardings=devices.whole)
        self._visual = make_visual(method, devices)
        self._detect = make_detect(method, devices)
        self._known: dict[str, Text] = {}
        self._encoding = threading.Lock()
        self._waiting = compiled.Waiting(say)

    def text(self, class_name: str) -> Text:
        """What the method makes of a class, once: a row of its text, on the host.

        Each class by itself, so that its scores do not depend on what other classes
        there are.
        """
        with self._encoding:
            if class_name not in self._known:
                classes = self._method.prompts(self._frozen, [class_name])
                with self._waiting.first("text"):
                    found = self._text(self._frozen, self._params, classes)
                check_finite(
                    found,
                    f"the text of {class_name!r}",
                    "compute in single precision with --config.clip.dtype=float32",
                )
                self._known[class_name] = jax.tree.map(
                    lambda leaf: np.asarray(leaf)[0], found
                )
            return self._known[class_name]

    def detections(
        self,
        class_names: Sequence[str],
        batches: Iterable[Batch],
    ) -> Iterator[tuple[Batch, Found]]:
        """Run over a stream of images.

        Images go to the devices ahead of use, and a batch is waited for only when the
        next one has been handed over. All that the host must know of a batch comes to
        it in one piece, which is on its way as soon as it is there.

        Args:
            class_names: names in prompts.
            batches: this process's rows, with `image`, and `class_index` into
                `class_names` where there are several.

        Yields:
            Each batch as it came, and what was found in it.
        """
        text = self._method.join([self.text(name) for name in class_names])
        waiting: list[Batch] = []

        def inputs() -> Iterator[tuple[np.ndarray, Text]]:
            for batch in batches:
                waiting.append(batch)
                only = np.zeros(len(batch["image"]), np.int32)
                index = batch.get("class_index", only)
                yield batch["image"], jax.tree.map(lambda leaf: leaf[index], text)  # noqa: B023

        def finish(maps: Array, values: list[Array]) -> tuple[Batch, Found]:
            fetched = np.concatenate([np.asarray(part) for part in values])
            return waiting.pop(0), Found(Rows(maps), *fetched.T)

        running: list[tuple[Array, list[Array]]] = []
        for image, rows in ahead(inputs(), self._devices.put):
            with self._waiting.first(image.shape):
                visual = self._visual(self._frozen, image)
                maps, values = self._detect(self._frozen, self._params, visual, rows)
            parts = local_shards(values)
            for part in parts:
                part.copy_to_host_async()
            running.append((maps, parts))
            if len(running) > 1:
                yield finish(*running.pop(0))
        for found in running:
            yield finish(*found)


def ahead(items: Iterable[T], put: Callable[[T], T], depth: int = 2) -> Iterator[T]:
    """Put batches on the devices while earlier ones are still being used.

    The first is handed on at once: devices work while more are read.
    """
    waiting: list[T] = []
    given = 0
    for item in items:
        waiting.append(put(item))
        if len(waiting) > min(depth, given):
            given += 1
            yield waiting.pop(0)
    yield from waiting


def count_parameters(params: Params) -> int:
    """Numbers in a tree."""
    return sum(jnp.size(leaf) for leaf in jax.tree.leaves(params))
