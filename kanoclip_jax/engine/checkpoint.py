"""Orbax checkpoints: trainable state, optimiser and position; never the frozen CLIP."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from kanoclip_jax import documents
from kanoclip_jax.engine import shapes
from kanoclip_jax.engine.sharding import everywhere
from kanoclip_jax.engine.step import TrainState
from kanoclip_jax.errors import InputError
from kanoclip_jax.models.base import Method, Params

_KEEP = 2
# What settings that came later were when there was no choice, by method: an older
# checkpoint does not say, and means this.
_FORMER = {"kanoclip": {"typical": 0.0, "spread": 0.0}}


class Checkpoints:
    """The checkpoints of one run.

    Each step holds `params`, `optimizer`, and `meta`: the step, the data position, the
    seed of the key that parameters were drawn with, the settings and the backbone.

    Args:
        folder: the run's `checkpoints/`.
    """

    def __init__(self, folder: Path) -> None:
        self._manager = ocp.CheckpointManager(
            folder.absolute(),
            options=ocp.CheckpointManagerOptions(max_to_keep=_KEEP, create=True),
        )

    @property
    def latest(self) -> int | None:
        """The newest complete step."""
        return self._manager.latest_step()

    def save(self, state: TrainState, meta: Mapping[str, Any]) -> None:
        """Save in the background; a killed save leaves the previous step newest."""
        self._manager.save(
            int(state.step),
            args=ocp.args.Composite(
                params=ocp.args.StandardSave(state.params),
                optimizer=ocp.args.StandardSave(state.optimizer),
                meta=ocp.args.JsonSave({**meta, "tree": describe(state.params)}),
            ),
        )

    def restore(self, state: TrainState) -> tuple[TrainState, dict[str, Any]]:
        """The newest state in the shape of `state`, and its meta."""
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
        restored = self._manager.restore(
            self.latest,
            args=ocp.args.Composite(
                params=ocp.args.StandardRestore(abstract.params),
                optimizer=ocp.args.StandardRestore(abstract.optimizer),
                meta=ocp.args.JsonRestore(),
            ),
        )
        # Where the step was: on another sharding, the training step compiles again.
        step = jax.device_put(
            np.asarray(self.latest, state.step.dtype), state.step.sharding
        )
        return TrainState(restored.params, restored.optimizer, step), restored.meta

    def check(self) -> None:
        """Raise what went wrong in the background, if anything has."""
        self._manager.check_for_errors()

    def close(self) -> None:
        """Wait for the last save."""
        self._manager.wait_until_finished()
        self._manager.close()


def describe(params: Params) -> dict[str, list[int]]:
    """Shapes by path."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): list(leaf.shape)
        for path, leaf in leaves
    }


def locate_step(path: Path) -> Path:
    """The folder of one step: `path` itself, or the newest step in it.

    Raises:
        InputError: neither a checkpoint directory nor a step of one.
    """
    path = path.expanduser().absolute()
    if (path / "params").is_dir() and (path / "meta").is_dir():
        return path
    steps = [
        child
        for child in (path.iterdir() if path.is_dir() else ())
        if child.name.isdigit() and (child / "params").is_dir()
    ]
    if not steps:
        raise InputError(
            f"{path} is no checkpoint: an Orbax checkpoint directory holds numbered "
            "steps with params/ and meta/ in each; give WORKDIR/checkpoints of a "
            "training run with --config.checkpoint=DIR"
        )
    return max(steps, key=lambda step: int(step.name))


def read_meta(step: Path) -> dict[str, Any]:
    """What a checkpoint says of itself, and what it held before that was a setting.

    Raises:
        InputError: its meta cannot be read.
    """
    # Orbax promises no exception types, and a traceback helps nobody here.
    try:
        with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as reader:
            # As orbax lays it out; read before orbax, it is small and not deep.
            file = step / "meta" / "metadata"
            if file.is_file():
                documents.read(file, dict, "give another step")
            meta = reader.restore(step / "meta")
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001
        reason = f"{error}".partition("\n")[0][:120] or type(error).__name__
        raise InputError(
            f"{step} cannot be read as a checkpoint ({reason}); give another step"
        ) from None
    documents.check(meta, shapes.CHECKPOINT, f"{step}/meta", "give another step")
    config = meta["config"]
    config["model"] = _FORMER.get(config["method"], {}) | config["model"]
    return meta


def read_params(step: Path, meta: Mapping[str, Any], method: Method) -> Params:
    """Trainable parameters of a checkpoint, for a method.

    Raises:
        InputError: they are another architecture's, or cannot be read.
    """
    abstract = method.abstract_params
    compare(meta["tree"], describe(abstract), step)
    try:
        with ocp.StandardCheckpointer() as reader:
            whole = everywhere()
            target = jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct(
                    leaf.shape, leaf.dtype, sharding=whole
                ),
                abstract,
            )
            return reader.restore(step / "params", target)
    except Exception as error:  # noqa: BLE001
        reason = str(error).splitlines()[0][:120]
        raise InputError(
            f"{step} cannot be read ({reason}); give another step"
        ) from None


def compare(saved: Mapping[str, Any], model: Mapping[str, Any], step: Path) -> None:
    """Refuse a checkpoint whose tree differs, saying where.

    Raises:
        InputError: names what is only in either, and which shapes differ.
    """
    only_saved = sorted(saved.keys() - model.keys())
    only_model = sorted(model.keys() - saved.keys())
    shapes = [
        f"{name} {tuple(saved[name])} against {tuple(model[name])}"
        for name in sorted(saved.keys() & model.keys())
        if tuple(saved[name]) != tuple(model[name])
    ]
    found = [
        f"{title}: {', '.join(names[:3])}{', …' if len(names) > 3 else ''}"
        for title, names in (
            ("only in the checkpoint", only_saved),
            ("only in the model", only_model),
            ("shapes differ (checkpoint against model)", shapes),
        )
        if names
    ]
    if found:
        raise InputError(
            f"{step} is of another architecture ({'; '.join(found)}); use the model "
            "settings that it was trained with (leave out --config.model flags)"
        )
