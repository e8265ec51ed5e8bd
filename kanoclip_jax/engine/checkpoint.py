"""Orbax checkpoints: trainable state, optimiser and position; never the frozen CLIP."""

import contextlib
import functools
import hashlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from data_pipelines.digests import seal, unseal
from kanoclip_jax import documents
from kanoclip_jax.engine import shapes
from kanoclip_jax.engine.sharding import everywhere, first_alone
from kanoclip_jax.engine.step import TrainState
from kanoclip_jax.errors import InputError
from kanoclip_jax.models.base import Method, Params

_KEEP = 2
_OTHER_STEP = "give another step"
# What settings that came later were when there was no choice, by method: an older
# checkpoint does not say, and means this.
_FORMER = {"kanoclip": {"typical": 0.0, "spread": 0.0}}


class DamagedError(InputError):
    """A step that cannot be used, where an older one may be."""


class Checkpoints:
    """The checkpoints of one run.

    Each step holds `params`, `optimizer`, and `meta`: the step, the data position, the
    seed of the key that parameters were drawn with, the settings and the backbone, and
    digests of all of it, which whoever reads a step checks.

    Args:
        folder: the run's `checkpoints/`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._manager = ocp.CheckpointManager(
            self._folder,
            options=ocp.CheckpointManagerOptions(max_to_keep=_KEEP, create=True),
        )

    @property
    def latest(self) -> int | None:
        """The newest complete step."""
        return self._manager.latest_step()

    def save(self, state: TrainState, meta: Mapping[str, Any]) -> None:
        """Save in the background; a killed save leaves the previous step newest."""
        trees = {"params": state.params, "optimizer": state.optimizer}
        described = {
            **meta,
            "tree": describe(state.params),
            "digests": {name: digest_of(tree) for name, tree in trees.items()},
        }
        self._manager.save(
            int(state.step),
            args=ocp.args.Composite(
                params=ocp.args.StandardSave(state.params),
                optimizer=ocp.args.StandardSave(state.optimizer),
                meta=ocp.args.JsonSave(seal(described)),
            ),
        )

    def restore(self, state: TrainState) -> tuple[TrainState, dict[str, Any]]:
        """The newest whole state in the shape of `state`, and its meta.

        A newer one that is damaged is named and put aside, for steps are saved there
        again.

        Raises:
            InputError: no step is whole.
        """
        damaged: list[DamagedError] = []
        while self.latest is not None:
            step = self._folder / str(self.latest)
            try:
                found = self._restore(step, state)
            except DamagedError as error:
                damaged.append(error)
                first_alone(f"aside {step.name}", functools.partial(_put_aside, step))
                self._manager.reload()
            else:
                say_if_older(damaged, step)
                return found
        raise none_whole(self._folder, damaged)

    def _restore(
        self, step: Path, state: TrainState
    ) -> tuple[TrainState, dict[str, Any]]:
        meta = read_meta(step)
        if meta.get("data", {}).get("next_index", self.latest) != self.latest:
            raise DamagedError(
                f"{step} holds step {meta['data']['next_index']}, not what its name says"
            )
        compare(meta["tree"], describe(state.params), step)
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
        with _naming_damage(step):
            restored = self._manager.restore(
                self.latest,
                args=ocp.args.Composite(
                    params=ocp.args.StandardRestore(abstract.params),
                    optimizer=ocp.args.StandardRestore(abstract.optimizer),
                ),
            )
        check_digest(step, meta, "params", restored.params)
        check_digest(step, meta, "optimizer", restored.optimizer)
        # Where the step was: on another sharding, the training step compiles again.
        number = jax.device_put(
            np.asarray(self.latest, state.step.dtype), state.step.sharding
        )
        return TrainState(restored.params, restored.optimizer, number), meta

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


def digest_of(tree: Any) -> str:
    """sha256 of a tree's values, with their names, types and shapes."""
    found = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        # Of a scalar, this would be a row.
        value = np.asarray(leaf)
        found.update(f"{jax.tree_util.keystr(path)}{value.dtype}{value.shape}".encode())
        found.update(np.ascontiguousarray(value))
    return found.hexdigest()


def check_digest(step: Path, meta: Mapping[str, Any], name: str, tree: Any) -> None:
    """Refuse what is not what was saved, said once where nobody can tell.

    Raises:
        DamagedError: it is not.
    """
    digests = meta.get("digests")
    if digests is None:
        _say_unchecked(step)
    elif digest_of(tree) != digests.get(name):
        what = {"params": "parameters are", "optimizer": "optimiser state is"}[name]
        raise DamagedError(
            f"{step} is damaged (its {what} not what was saved); give another step"
        )


@functools.cache
def _say_unchecked(step: Path) -> None:
    print(
        f"{step} was saved by a version that kept no digests, so damage to it would not "
        "be noticed"
    )


def find_steps(path: Path) -> list[Path]:
    """The folders of steps, the newest first: `path` itself, or those in it.

    Raises:
        InputError: neither a checkpoint directory nor a step of one.
    """
    path = path.expanduser().absolute()
    if (path / "params").is_dir() and (path / "meta").is_dir():
        return [path]
    # Also what lacks a part: it was a step, and must be missed aloud.
    steps = [
        child
        for child in (path.iterdir() if path.is_dir() else ())
        if child.name.isdecimal() and child.is_dir()
    ]
    if not steps:
        raise InputError(
            f"{path} is no checkpoint: an Orbax checkpoint directory holds numbered "
            "steps with params/ and meta/ in each; give WORKDIR/checkpoints of a "
            "training run with --config.checkpoint=DIR, or a head's folder of "
            "--mode=save"
        )
    return sorted(steps, key=lambda step: int(step.name), reverse=True)


def say_if_older(damaged: list[DamagedError], step: Path) -> None:
    """Name the newer steps that were passed over for this one."""
    for error in damaged:
        print(error)
    if damaged:
        print(f"the older step {step.name} is used instead: {step}")


def none_whole(folder: Path, damaged: list[DamagedError]) -> InputError:
    """What to raise where all steps are damaged."""
    if len(damaged) == 1:
        return damaged[0]
    return InputError(
        f"no step of {folder} is whole ({'; '.join(map(str, damaged))}); restore a copy "
        "of the folder, or train again with another --workdir"
    )


def _put_aside(step: Path) -> None:
    """Rename a damaged step; of an earlier one of this name nothing is left."""
    aside = step.with_name(f"{step.name}.damaged")
    shutil.rmtree(aside, ignore_errors=True)
    if step.is_dir():
        step.rename(aside)


@contextlib.contextmanager
def _naming_damage(step: Path) -> Iterator[None]:
    """Orbax promises no exception types, and a traceback helps nobody here."""
    try:
        yield
    except MemoryError:
        raise
    except InputError as error:
        raise DamagedError(error) from None
    except Exception as error:
        # What the device lacks is no fault of the step.
        if "RESOURCE_EXHAUSTED" in str(error):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise DamagedError(
            f"{step} cannot be read as a checkpoint ({reason}); give another step"
        ) from None


def read_meta(step: Path) -> dict[str, Any]:
    """What a checkpoint says of itself, and what it held before that was a setting.

    Raises:
        DamagedError: its meta cannot be read, or is not what was saved.
    """
    with (
        _naming_damage(step),
        ocp.Checkpointer(ocp.JsonCheckpointHandler()) as reader,
    ):
        # As orbax lays it out; it must be small and not deep before orbax reads it.
        file = step / "meta" / "metadata"
        if file.is_file():
            documents.read(file, dict, _OTHER_STEP)
        meta = unseal(reader.restore(step / "meta"))
        documents.check(meta, shapes.CHECKPOINT, f"{step}/meta", _OTHER_STEP)
        config = meta["config"]
        config["model"] = _FORMER.get(config["method"], {}) | config["model"]
    return meta


def read_params(step: Path, meta: Mapping[str, Any], method: Method) -> Params:
    """Trainable parameters of a checkpoint, for a method.

    Raises:
        DamagedError: they cannot be read, or are not what was saved.
        InputError: they are another architecture's.
    """
    abstract = method.abstract_params
    compare(meta["tree"], describe(abstract), step)
    whole = everywhere()
    target = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=whole),
        abstract,
    )
    with _naming_damage(step), ocp.StandardCheckpointer() as reader:
        params = reader.restore(step / "params", target)
    check_digest(step, meta, "params", params)
    return params


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
