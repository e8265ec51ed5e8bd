"""The detector: a trained method that takes any picture and says what is wrong with it."""

import dataclasses
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict, FrozenConfigDict

from data_pipelines.names import canonical
from data_pipelines.pictures import (
    AUTO_RANGE,
    MAX_PIXELS,
    Reading,
)
from data_pipelines.pipeline import Batch
from kanoclip_jax.engine import compiled, forks
from kanoclip_jax.engine.prediction.calibration import AUTO, find_calibrations
from kanoclip_jax.engine.prediction.detecting import (
    Detecting,
    Prediction,
    check_min_area,
)
from kanoclip_jax.engine.prediction.own import Own
from kanoclip_jax.engine.prediction.tiles import NEVER
from kanoclip_jax.engine.pretrained import hub
from kanoclip_jax.engine.pretrained.folder import read_head
from kanoclip_jax.engine.restore import Trained, load_trained, saved_settings
from kanoclip_jax.engine.settings import (
    cache_directory,
    check_choice,
    programs_in,
    read_tiles,
    reading_of,
    resolve,
)
from kanoclip_jax.engine.sharding import Devices
from kanoclip_jax.engine.step import Found, Inference
from kanoclip_jax.errors import InputError
from kanoclip_jax.verdict import Thresholds

__all__ = ["Detector", "Prediction"]
# What every picture shows.
_OBJECT = "object"


class Detector(Detecting):
    """Scores pictures; any number of threads may share one.

    `Detector.load` and `Detector.from_config` make it.

    Args:
        trained: the method with its parameters.
        batch_size: pictures that pass at once; fewer are padded, so that one program
            serves.
        calibration: `auto` takes the thresholds that lie beside the checkpoint, or in
            one of `folders`; `never` none; a path those of a file.
        min_area: regions of fewer pixels are left out.
        tiles: whether large and elongated pictures are scored in windows: `never`,
            `auto` or a number of pixels; see `prediction/tiles.py`. Thresholds belong
            to it.
        folders: further places of thresholds, which win over the checkpoint's.
        own: thresholds that are given, and win over both.
        silent: whether the first nearly black picture is no `UserWarning`.
        say: is told where the first picture waits for a compiler, as in `say=print`;
            the log of `kanoclip_jax` is, where left out, at the level INFO.

    Attributes:
        identity: all that scores depend on besides the picture and its class name.
        image_size: side of the square that pictures are squashed to.
        dtype: of the tower's computation.
        tiles: as it is kept.
        own: thresholds that are given.
        reading: what the numbers of pictures mean, and how large they may be.
    """

    def __init__(
        self,
        trained: Trained,
        *,
        batch_size: int = 1,
        calibration: str | os.PathLike = AUTO,
        min_area: int = 1,
        tiles: str | int = NEVER,
        folders: Sequence[Path] = (),
        own: Own | None = None,
        silent: bool = False,
        say: Callable[[str], None] = compiled.to_log,
    ) -> None:
        forks.refuse()
        if jax.process_count() > 1:
            raise InputError(
                "a detector runs in one process; give each a part of the pictures "
                "instead, as a list file"
            )
        self.tiles = read_tiles(tiles)
        self.identity = trained.identity(self.tiles)
        self.image_size = trained.method.image_size
        self.reading = reading_of(trained.config)
        self.dtype = np.dtype(trained.method.clip.module.dtype).name
        self.patch = trained.method.clip.patch
        self.batch_size, self.min_area = batch_size, check_min_area(min_area)
        self.own = own or Own()
        # A command counts pictures and says it once itself.
        self.silent = silent
        devices = Devices(batch_size, "batch_size")
        self._trained = trained
        self._inference = Inference(trained.method, devices, trained.params, say)
        beside = trained.checkpoint.parent if trained.checkpoint else None
        self._calibrations = {
            canonical(found.class_name): found
            for found in find_calibrations(
                os.fspath(calibration), (*folders, beside), self.identity
            )
        }

    @property
    def calibrated(self) -> tuple[str, ...]:
        """The class names that have thresholds."""
        return tuple(found.class_name for found in self._calibrations.values())

    def named(self, class_name: str | None) -> str:
        """Any name is a class's; without one, a picture shows an object."""
        return _OBJECT if class_name is None else class_name

    def limits(self, class_name: str) -> Thresholds | None:
        """The thresholds of a class: those that are given, else calibrated."""
        return self.own.over(self.calibrated_limits(class_name))

    def calibrated_limits(self, class_name: str) -> Thresholds | None:
        """The calibrated thresholds of a class."""
        found = self._calibrations.get(canonical(class_name))
        return found.thresholds if found else None

    def saturates(self, class_name: str) -> float | None:
        """Where a class's colours saturate, as its calibration says."""
        found = self._calibrations.get(canonical(class_name))
        return found.saturates if found else None

    @classmethod
    def load(
        cls,
        checkpoint: str | os.PathLike,
        *,
        clip: str = "",
        guide: str = "",
        image_size: int = 0,
        dtype: str = "",
        batch_size: int = 1,
        calibration: str | os.PathLike = AUTO,
        min_area: int = 1,
        value_range: str | tuple[float, float] = AUTO_RANGE,
        max_pixels: int = MAX_PIXELS,
        tiles: str | int = NEVER,
        orientation: str = "upright",
        compiled_in: str | os.PathLike = AUTO,
        say: Callable[[str], None] = compiled.to_log,
    ) -> "Detector":
        """The detector of a checkpoint, which brings its own settings.

        Args:
            checkpoint: an Orbax checkpoint directory (newest step), one step of it,
                an authors' `.pth`, or what `from_pretrained` takes.
            clip: where the backbone's weights lie now; as in training where empty.
            guide: likewise those of a second one.
            image_size: side of the square that pictures are squashed to; as in training
                where 0, and as its authors ran it for their file: 518, MVFA's 240.
            dtype: of the tower's computation: `float32`, `bfloat16` or `auto`; as in
                training where empty.
            batch_size: see `Detector`.
            calibration: likewise.
            min_area: likewise.
            tiles: likewise.
            value_range: which values are black and white in pictures that are not of 8
                bits: `auto` (what the file or the array's type says), a depth such as
                `12bit`, or `LOW,HIGH`. It is the same for all pictures, and thresholds
                belong to it.
            max_pixels: pictures of more are refused.
            orientation: `upright` turns pictures by their EXIF orientation, `stored`
                leaves them as they are.
            compiled_in: where compiled programs are kept, so that the next start is a
                matter of seconds: `auto` (where the commands keep theirs, in the user's
                cache directory), `never`, or a folder. It is JAX's own cache, one for
                the whole process; where JAX was told a place already, that holds.
            say: see `Detector`.

        Raises:
            DataError: a value range that is none.
            InputError: no such checkpoint, another backbone, or a wrong option.
        """
        given = {
            "clip.name": clip,
            "clip.image_size": image_size,
            "clip.dtype": dtype,
            "guide.name": guide,
        }
        given = {key: value for key, value in given.items() if value}
        if dtype:
            check_choice("clip.dtype", dtype)
        check_choice("data.orientation", orientation)
        compiled.keep_as_asked(compiled_in, programs_in(cache_directory()))
        config = saved_settings(checkpoint)
        config.update_from_flattened_dict(given)
        # Of the pictures, not of the training.
        reading = Reading(value_range, max_pixels, orientation)
        with config.unlocked():
            config.data = {**config.get("data", {}), **dataclasses.asdict(reading)}
        trained = load_trained(FrozenConfigDict(config), None, frozenset(given))
        return cls(
            trained,
            batch_size=batch_size,
            calibration=calibration,
            min_area=min_area,
            tiles=tiles,
            say=say,
        )

    @classmethod
    def from_config(
        cls,
        config: ConfigDict,
        *,
        compiled_in: str | os.PathLike = AUTO,
        **options: Any,
    ) -> "Detector":
        """The detector of a configuration: of its `checkpoint`, or of no training.

        Args:
            config: as `configs/base.py` lays it out.
            compiled_in: see `load`; `auto` is beside the configuration's prepared data.
            **options: see `Detector`; `tiles` is the configuration's where left out.

        Raises:
            InputError: a wrong setting, or a method that needs training and has none.
        """
        settings = resolve(config)
        compiled.keep_as_asked(compiled_in, programs_in(settings.data.prepared))
        options.setdefault("tiles", settings.predict.tiles)
        return cls(load_trained(settings, None), **options)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        **options: Any,
    ) -> "Detector":
        """The detector of a head that was saved, as it was when it was.

        By the conventions of huggingface_hub's `ModelHubMixin`.

        Args:
            pretrained_model_name_or_path: a folder of `save_pretrained`, or its id on
                the Hugging Face hub, `USER/NAME`.
            revision: a branch, a tag or a commit of the hub's.
            token: the hub's; the one that `hf auth login` keeps where None.
            cache_dir: where the hub's copies are kept.
            force_download: fetch again what is there.
            local_files_only: ask nobody.
            **options: see `load`; how pictures are read and cut is as it was where left
                out.

        Raises:
            InputError: no such head, a changed or missing file, another backbone, or
                one that a newer version saved.
        """
        given = os.fspath(pretrained_model_name_or_path)
        found = hub.local(given)
        if found is None:
            found = hub.fetch(
                given,
                revision,
                token=token,
                cache_dir=cache_dir,
                force_download=force_download,
                local_files_only=local_files_only,
            )
        return cls.load(found, **(read_head(found).pictures | options))

    def save_pretrained(
        self,
        save_directory: str | os.PathLike,
        *,
        license: str = "",
        repo_id: str | None = None,
        push_to_hub: bool = False,
        **push_to_hub_kwargs: Any,
    ) -> str | None:
        """Save the head with its settings, thresholds and a card, to hand on.

        The backbone is not in it: of that its name and digest are.

        Args:
            save_directory: a new folder, or one of a head, which is written over.
            license: in the card, an id of the hub's list such as `apache-2.0`; that of
                the pictures it was trained on where empty.
            repo_id: see `push_to_hub`; the folder's name where None.
            push_to_hub: push it, too.
            **push_to_hub_kwargs: of `push_to_hub`.

        Returns:
            The commit's address where it is pushed.

        Raises:
            InputError: the folder is of something else, or cannot be written to.
        """
        folder = Path(save_directory).expanduser()
        self._save(folder, license)
        if not push_to_hub:
            return None
        name = repo_id or folder.name
        return self.push_to_hub(name, license=license, **push_to_hub_kwargs)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        license: str = "",
        commit_message: str = "Push a head with kanoclip-jax.",
        private: bool | None = None,
        token: str | None = None,
        branch: str | None = None,
        create_pr: bool | None = None,
        allow_patterns: list[str] | str | None = None,
        ignore_patterns: list[str] | str | None = None,
        delete_patterns: list[str] | str | None = None,
    ) -> str:
        """Put the head on the Hugging Face hub; no folder of this machine is named.

        Args:
            repo_id: `USER/NAME`; made where it is missing.
            license: see `save_pretrained`.
            commit_message: of the one commit.
            private: whether a new repository is; None is the owner's habit.
            token: the hub's; the one that `hf auth login` keeps where None.
            branch: to push to; it must exist. `main` where None.
            create_pr: ask for it to be merged instead.
            allow_patterns: files to push alone.
            ignore_patterns: files to leave out.
            delete_patterns: files to remove there.

        Returns:
            The commit's address.

        Raises:
            InputError: the hub refuses it, or cannot be reached.
        """
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / repo_id.rpartition("/")[2]
            self._save(folder, license, published=True)
            return hub.push(
                folder,
                repo_id,
                commit_message=commit_message,
                private=private,
                token=token,
                branch=branch,
                create_pr=create_pr,
                allow_patterns=allow_patterns,
                ignore_patterns=ignore_patterns,
                delete_patterns=delete_patterns,
            )

    def _save(self, folder: Path, licence: str, *, published: bool = False) -> None:
        # What writes a card reads the catalogue and the reports' rooms.
        from kanoclip_jax.engine.pretrained.save import save_head

        save_head(
            self._trained,
            folder,
            calibrations=tuple(self._calibrations.values()),
            tiles=self.tiles,
            licence=licence,
            published=published,
        )

    def detections(
        self, class_name: str, batches: Iterable[Batch]
    ) -> Iterator[tuple[Batch, Found]]:
        """Run over batches of squared pictures of one class; see `Inference`.

        Raises:
            InputError: this process was forked from the one that made the detector.
        """
        forks.refuse()
        return self._inference.detections([canonical(class_name)], batches)
