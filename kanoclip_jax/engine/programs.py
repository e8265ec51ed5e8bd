"""The two large programs of a training, compiled while other things are read."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import jax
import numpy as np
import optax

from kanoclip_jax.engine.memory import compile_to_fit
from kanoclip_jax.engine.sharding import Devices
from kanoclip_jax.engine.step import (
    FEATURE_DTYPE,
    TrainState,
    make_train_step,
    make_visual,
    round_features,
)
from kanoclip_jax.models.base import (
    Classes,
    Method,
    Params,
    Terms,
    TrainBatch,
    Visual,
)


class Programs:
    """The frozen pass and the training step, compiled in the background.

    Whatever was compiled to see whether it fits the device is what runs. XLA leaves
    Python's lock, so the two take the time of the longer one, less what passes until
    they are called.

    Args:
        method: what is trained,
        optimizer: by this rule,
        devices: on these, sharing each batch.
        schedule: of the rates, see `make_train_step`.
        batch_size: images of a batch.
        pieces: numbers of pieces to choose from, ascending; see `compile_to_fit`.
        state: shapes of what the step changes,
        classes: and of the training classes.

    Attributes:
        features: shapes of a batch of the frozen pass, as training reads it.
    """

    def __init__(
        self,
        method: Method,
        optimizer: optax.GradientTransformation,
        devices: Devices,
        *,
        schedule: optax.Schedule,
        batch_size: int,
        pieces: Sequence[int],
        state: TrainState,
        classes: Classes,
    ) -> None:
        def shape(*sizes: int, dtype: type = np.int32) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(
                (batch_size, *sizes), dtype, sharding=devices.split
            )

        def copied(leaf: jax.Array) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=devices.whole)

        size = method.image_size

        @cache
        def visual(parts: int) -> jax.stages.Wrapped:
            return make_visual(method, devices, parts)

        def lower_visual(parts: int) -> jax.stages.Lowered:
            return visual(parts).lower(frozen, images)

        def lower_step(parts: int) -> jax.stages.Lowered:
            step = make_train_step(method, optimizer, devices, parts, schedule)
            return step.lower(frozen, state, self.features, labels, classes)

        images = shape(size, size, 3, dtype=np.uint8)
        labels = TrainBatch(
            mask=shape(size, size, dtype=np.uint8),
            label=shape(),
            class_index=shape(),
            is_real=shape(dtype=bool),
        )
        frozen, state, classes = jax.tree.map(copied, (method.frozen, state, classes))
        # Traced here, for the step depends on it; lowering finds the trace again.
        self.features: Visual = jax.tree.map(
            lambda leaf: shape(*leaf.shape[1:], dtype=FEATURE_DTYPE),
            jax.eval_shape(visual(pieces[0]), frozen, images),
        )
        # Several processes compile in one order, before anything else.
        together = jax.process_count() > 1
        pool = ThreadPoolExecutor(1 if together else 2, "compile")
        self._visual = pool.submit(
            compile_to_fit, "the frozen pass", pieces, lower_visual
        )
        self._step = pool.submit(
            compile_to_fit, "the training step", pieces, lower_step
        )
        pool.shutdown(wait=together)

    def visual(self, frozen: Params, images: jax.Array) -> Visual:
        """Frozen features of a batch, rounded; see `make_features`."""
        return round_features(self._visual.result()(frozen, images))

    def step(
        self,
        frozen: Params,
        state: TrainState,
        visual: Visual,
        batch: TrainBatch,
        classes: Classes,
    ) -> tuple[TrainState, Terms]:
        """One training step; see `make_train_step`."""
        return self._step.result()(frozen, state, visual, batch, classes)
