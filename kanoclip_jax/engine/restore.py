"""A trained method back from its checkpoint, as `eval` and `predict` need it."""

import dataclasses
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict, FrozenConfigDict

from kanoclip_jax import documents
from kanoclip_jax.backbones.archive import read_nested_archive
from kanoclip_jax.engine import forks, shapes
from kanoclip_jax.engine.build import load_method
from kanoclip_jax.engine.checkpoint import (
    DamagedError,
    compare,
    describe,
    find_steps,
    none_whole,
    read_meta,
    read_params,
    say_if_older,
)
from kanoclip_jax.engine.prediction.tiles import NEVER
from kanoclip_jax.engine.pretrained import hub
from kanoclip_jax.engine.pretrained.folder import arrange, read_head, read_tensors
from kanoclip_jax.engine.provenance import backbone_files, refuse_other_weights
from kanoclip_jax.engine.settings import adopt, reading_of
from kanoclip_jax.engine.workdir import Workdir
from kanoclip_jax.errors import InputError
from kanoclip_jax.finite import check_finite
from kanoclip_jax.models import all_methods, method_class
from kanoclip_jax.models.base import Method, Params, Published

# What torch writes; Orbax checkpoints are folders.
_ARCHIVES = (".pth", ".pt")
# The tower that authors' files were trained with, where their method says no better.
_PUBLISHED_CLIP = {
    "name": "openai/clip-vit-large-patch14-336",
    "image_size": 518,
    "position_grid": "bilinear",
    "activation": "",
    "input_range": "clip",
    "dtype": "auto",
}


@dataclass(frozen=True, eq=False)
class Trained:
    """A method with its parameters.

    Attributes:
        config: the settings, those of the checkpoint adopted.
        method, params: what runs.
        checkpoint: the step's folder, or the file of its parameters; None where the
            method learns nothing.
        meta: what the checkpoint says of its training, empty where there is none.
    """

    config: FrozenConfigDict
    method: Method
    params: Params
    checkpoint: Path | None
    meta: Mapping[str, Any]

    def __post_init__(self) -> None:
        """Refuse what computes nothing.

        Raises:
            InputError: a parameter is NaN or infinite.
        """
        whose = str(self.checkpoint or self.config.method)
        check_finite(self.params, whose, "give another step, or train again")

    @property
    def beside(self) -> Path | None:
        """Where thresholds of it are written: beside it, but not in the hub's cache."""
        folder = self.checkpoint.parent if self.checkpoint else None
        return None if folder and hub.is_cached(folder) else folder

    def identity(self, tiles: str = NEVER) -> dict[str, Any]:
        """All that scores depend on besides the picture and its class name.

        Args:
            tiles: how pictures are cut into windows. Where they are not, nothing is
                said of it, as before there were any.
        """
        digest = hashlib.sha256()
        for path, leaf in jax.tree_util.tree_leaves_with_path(self.params):
            digest.update(jax.tree_util.keystr(path).encode())
            digest.update(np.ascontiguousarray(leaf))
        # The method's own, since a checkpoint may lack settings that came later.
        settings = {
            field.name: getattr(self.method, field.name)
            for field in dataclasses.fields(self.method)
            if field.name not in self.method.backbones
        }
        backbones = self.method.backbone_identity()
        return {
            "parameters": digest.hexdigest(),
            **{
                f"{name}.fingerprint": b["fingerprint"] for name, b in backbones.items()
            },
            "clip.image_size": self.method.image_size,
            "clip.position_grid": self.config.clip.position_grid,
            "clip.activation": self.method.clip.activation,
            "clip.input_range": self.config.clip.get("input_range", "clip"),
            "clip.dtype": np.dtype(self.method.clip.module.dtype).name,
            **reading_of(self.config).identity(),
            **backbone_files(self.method),
            "method": self.config.method,
            **{
                f"model.{key}": list(value) if isinstance(value, tuple) else value
                for key, value in settings.items()
            },
            **({} if tiles == NEVER else {"predict.tiles": tiles}),
        }


def saved_settings(checkpoint: str | os.PathLike) -> ConfigDict:
    """What a checkpoint alone says of how it is to run.

    Args:
        checkpoint: an Orbax checkpoint directory (newest whole step), one step of it,
            an authors' file, or a head: its folder, or an id of the hub.

    Raises:
        InputError: there is none.
    """
    if os.fspath(checkpoint).endswith(_ARCHIVES):
        place = os.fspath(checkpoint)
        saved = {"method": "", "model": {}, "clip": _PUBLISHED_CLIP}
    elif folder := hub.find(os.fspath(checkpoint)):
        place = str(folder)
        head = read_head(folder)
        saved, reading = head.meta["config"], head.pictures
        documents.check(saved, shapes.READING_OF_CLIP, place, "save it anew")
        predict = {"tiles": reading.pop("tiles")}
        saved = {**saved, "data": reading, "predict": predict}
    else:
        place = str(Path(checkpoint).expanduser().absolute())
        saved = _settings_of(Path(place))
        documents.check(saved, shapes.READING_OF_CLIP, place, "give another step")
    # Older checkpoints know no second backbone.
    return ConfigDict({"guide": {"name": ""}} | saved | {"checkpoint": place})


def load_trained(
    config: FrozenConfigDict,
    workdir: Workdir | None,
    overrides: frozenset[str] = frozenset(),
) -> Trained:
    """Load `checkpoint`, or the working directory's newest where there is one.

    The checkpoint's own method and backbone settings hold, except those that the
    command line overrides.

    Raises:
        InputError: no checkpoint, or one of another backbone or architecture.
    """
    forks.refuse()
    if config.checkpoint.endswith(_ARCHIVES):
        return _published(config, Path(config.checkpoint).expanduser(), overrides)
    if config.checkpoint and (head := hub.find(config.checkpoint)):
        return _handed_on(config, head, overrides)
    own = workdir.checkpoints if workdir and workdir.checkpoints.is_dir() else None
    if not config.checkpoint and own is None:
        return _untrained(config, workdir)
    place = Path(config.checkpoint) if config.checkpoint else own
    damaged: list[DamagedError] = []
    for step in find_steps(place):
        try:
            trained = _load(config, step, overrides)
        except DamagedError as error:
            damaged.append(error)
        else:
            say_if_older(damaged, step)
            return trained
    raise none_whole(place, damaged)


def _load(config: FrozenConfigDict, step: Path, overrides: frozenset[str]) -> Trained:
    meta = read_meta(step)
    config = adopt(config, meta["config"], overrides)
    method = load_method(config)
    refuse_other_weights(step, meta, method)
    params = read_params(step, meta, method)
    return Trained(config, method, params, step, meta)


def _handed_on(
    config: FrozenConfigDict, folder: Path, overrides: frozenset[str]
) -> Trained:
    """A head that was saved to be handed on; see `pretrained`."""
    head = read_head(folder)
    # Before a large backbone is read for nothing.
    tensors = read_tensors(head)
    config = adopt(config, head.meta["config"], overrides)
    method = load_method(config)
    refuse_other_weights(folder, head.meta, method)
    params = arrange(head, tensors, method)
    return Trained(config, method, params, head.weights, head.meta)


def _settings_of(place: Path) -> dict[str, Any]:
    """Those of the newest step that says them; all of a run say the same."""
    damaged: list[DamagedError] = []
    for step in find_steps(place):
        try:
            return read_meta(step)["config"]
        except DamagedError as error:
            damaged.append(error)
    raise none_whole(place, damaged)


def _published(
    config: FrozenConfigDict, file: Path, overrides: frozenset[str]
) -> Trained:
    """An authors' file: it brings its method, and the reading of the tower it was for.

    Where several methods save alike, it is the configured one's.

    Raises:
        InputError: it is no known method's, not that of the method that the command
            line names, or of another backbone.
    """
    tensors = read_nested_archive(file)
    asked = {config.method: method_class(config.method)} if config.method else {}
    for name, kind in (asked | dict(all_methods())).items():
        try:
            found = kind.from_archive(tensors)
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise InputError(
                f"{file} looks like published weights of {kind.title}, and lacks or "
                f"bends a part of them ({error}); fetch it again"
            ) from None
        if found is not None:
            break
    else:
        known = [
            kind.title
            for _, kind in all_methods()
            if kind.from_archive.__func__ is not Method.from_archive.__func__
        ]
        raise InputError(
            f"{file} holds {', '.join(sorted(tensors)[:3])}, which is the layout of no "
            f"published checkpoint that is known here; known: {', '.join(known)}"
        )
    if "method" in overrides and name != config.method:
        raise InputError(
            f"{file} holds weights of {kind.title}, and --config.method={config.method} "
            f"names another; leave that out, or give {name}"
        )
    own = {"model": dict(found.settings), "clip": dict(kind.published_tower)}
    config = adopt(config, {"method": name, **own}, overrides)
    method = load_method(config)
    compare(describe(found.params), describe(method.abstract_params), file)
    print(f"{file}: published weights of {kind.title}")
    _say_if_another_clip(found, method, file)
    return Trained(config, method, found.params, file, {})


def _say_if_another_clip(found: Published, method: Method, file: Path) -> None:
    """A file may repeat how its CLIP embeds words, which is like no other CLIP's."""
    table = method.clip.params["text_model"]["embeddings"]["token_embedding"]
    table = np.asarray(table["embedding"], np.float32)
    for token, row in sorted(found.embeddings.items()):
        # As far as half precision tells.
        same = token < len(table) and np.allclose(table[token], row, 2e-3, 1e-5)
        if not same:
            print(
                f"{file} was trained with another CLIP than {method.clip.name!r} (token "
                f"{token} is embedded otherwise), so what it finds with this one is no "
                "figure of its authors'"
            )
            return


def _untrained(config: FrozenConfigDict, workdir: Workdir | None) -> Trained:
    method = load_method(config)
    if method.learns:
        place = f"{workdir.path} holds no" if workdir else "config.checkpoint names no"
        raise InputError(
            f"{place} checkpoints; train first, or name one with "
            "--config.checkpoint=DIR"
        )
    return Trained(config, method, {}, None, {})
