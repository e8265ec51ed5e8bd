"""Frozen features on disk: each image passes the tower once, whatever trains on it.

A shard is one safetensors file, written beside its final name and renamed, that lists
its images' keys and a digest of all that it holds, which is checked before a run reads
it. A killed fill loses at most the shard it was writing; several processes may fill one
folder, since shards have unique names and equal content.
"""

import functools
import hashlib
import json
import shutil
import uuid
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from data_pipelines.pictures import DEFAULT_READING, Reading
from data_pipelines.pipeline import eval_stream
from data_pipelines.sources import Source
from kanoclip_jax.engine.bars import progress
from kanoclip_jax.engine.remarks import Remarks
from kanoclip_jax.engine.sharding import (
    Devices,
    barrier,
    fetch,
    first_alone,
    gather,
    is_first,
)
from kanoclip_jax.engine.step import FEATURE_DTYPE, Tower, ahead
from kanoclip_jax.errors import InputError
from kanoclip_jax.files import reason, remove_remains, replacing, write_atomically
from kanoclip_jax.finite import check_finite
from kanoclip_jax.models.base import Method, Params, Visual

_VERSION = 1
_OVERFLOW = (
    "the frozen pass over a training picture",
    "compute in single precision with --config.clip.dtype=float32",
)
_REMOVE = "remove the folder to compute it again"
_SHARD_BYTES = 256 * 2**20
# `auto` leaves this share of the free disk alone.
_SPARE = 0.5
# Each holds a tensor of a shard; hashing leaves the interpreter to others.
_CHECKERS = 2


class FeatureCache:
    """Features of images by key, for one set of visual settings.

    Args:
        folder: the cache's root; a sub-folder for each settings is made.
        method: whose `visual` is cached. Methods with equal settings share it.
        reading: what the numbers of images mean.
    """

    def __init__(
        self, folder: Path, method: Method, reading: Reading = DEFAULT_READING
    ) -> None:
        settings = {
            "version": _VERSION,
            "dtype": np.dtype(FEATURE_DTYPE).name,
            **method.visual_settings(),
            # At their defaults older caches keep their place.
            **reading.changed(),
        }
        self._method = method
        name = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
        self.folder = folder / name[:24]
        self._settings = settings
        self._rows: dict[str, tuple[Path, int]] = {}
        self._open: dict[Path, safe_open] = {}
        self.refresh()

    def __contains__(self, key: str) -> bool:
        return key in self._rows

    def refresh(self) -> None:
        """Read the key lists of all shards there are."""
        self._rows = {}
        for path in sorted(self.folder.glob("*.safetensors")):
            try:
                with safe_open(path, framework="np") as shard:
                    keys = json.loads(shard.metadata()["keys"])
                rows = {str(key): (path, row) for row, key in enumerate(keys)}
            except (OSError, SafetensorError, ValueError, TypeError, LookupError):
                # Not one of ours, or damaged: what it held is computed again.
                _say_unreadable(path)
                continue
            self._rows |= rows

    @functools.cached_property
    def _like(self) -> Visual:
        """Shapes of one image's features."""
        size = self._method.image_size
        image = jax.ShapeDtypeStruct((1, size, size, 3), np.uint8)
        return jax.eval_shape(self._method.visual, self._method.frozen, image)

    @property
    def bytes_per_image(self) -> int:
        """What one image takes."""
        return _bytes(self._like)

    def read(self, keys: Sequence[str]) -> Visual:
        """Features of images as a batch of numpy arrays."""
        names, structure = _names(self._like), jax.tree.structure(self._like)
        rows = []
        for key in keys:
            path, row = self._rows[key]
            shard = self._open.get(path)
            if shard is None:
                shard = self._open[path] = safe_open(path, framework="np").__enter__()
            rows.append([shard.get_slice(name)[row] for name in names])
        leaves = [np.stack(column) for column in zip(*rows, strict=True)]
        check_finite(leaves, f"the feature cache {self.folder}", _REMOVE)
        return structure.unflatten(leaves)

    def fill(
        self,
        source: Source,
        visual: Tower,
        frozen: Params,
        devices: Devices,
        *,
        batch_size: int,
        workers: int,
    ) -> None:
        """Compute what is missing of a source, with a progress bar.

        Several processes share the work, and must share the folder.
        """
        keys = [source.key(i) for i in range(len(source))]
        first_alone(
            "checked", lambda: self._check(keys) if is_first() else self.refresh()
        )
        missing = list({k: i for i, k in enumerate(keys) if k not in self}.values())
        # Another process may look at the folder a little later, and see more.
        missing = gather(missing)[0]
        if not missing:
            return
        first_alone("cache", self._describe)
        stream = eval_stream(
            source,
            image_size=self._method.image_size,
            batch_size=batch_size,
            workers=workers,
            indices=missing,
            part=devices.part,
        )
        shard: list[tuple[str, list[np.ndarray]]] = []
        with progress("features", len(missing), compiles=True) as bar:
            remarked = Remarks(source.dataset).of(stream, source)
            batches = ((b["image"], b["index"], b["is_real"]) for b in remarked)
            # What belongs to the images stays beside them on the host.
            beside = ahead(batches, lambda batch: (devices.put(batch[0]), *batch[1:]))
            try:
                for image, index, is_real in beside:
                    leaves = jax.tree.leaves(visual(frozen, image))
                    features = [fetch(x) for x in leaves]
                    check_finite(features, *_OVERFLOW)
                    shard += [
                        (keys[index[row]], [leaf[row] for leaf in features])
                        for row in np.flatnonzero(is_real)
                    ]
                    bar.update(min(batch_size, len(missing) - bar.n))
                    if shard and len(shard) * _bytes(shard[0][1]) >= _SHARD_BYTES:
                        full, shard = shard, []
                        self._write(full)
            except KeyboardInterrupt:
                # What is computed need not be computed again.
                if shard:
                    self._write(shard)
                raise
        if shard:
            self._write(shard)
        barrier("filled")
        self.refresh()
        if any(key not in self for key in keys):
            raise InputError(
                f"the feature cache {self.folder} lacks what other processes computed; "
                "give one folder that all share with "
                "--config.train.cache_features=FOLDER, or never"
            )

    def _check(self, keys: Iterable[str]) -> None:
        """Remove what is damaged of the shards that hold these images, aloud."""
        paths = sorted({self._rows[key][0] for key in keys if key in self})
        if not paths:
            return
        found = []
        bar = progress("checking features", len(paths), unit="shard", in_logs=False)
        with bar, ThreadPoolExecutor(_CHECKERS) as pool:
            for fault in pool.map(self._fault, paths):
                found.append(fault)
                bar.update()
        for path, fault in zip(paths, found, strict=True):
            if fault:
                print(f"{path} is damaged ({fault}); what it held is computed again")
                path.unlink(missing_ok=True)
        unchecked = found.count(None)
        if unchecked:
            print(
                f"{unchecked} shards of {self.folder} are of a version that kept no "
                "digests, so damage to them would not be noticed; remove the folder to "
                "have them computed again"
            )
        if any(found):
            self.refresh()

    def _fault(self, path: Path) -> str | None:
        """What is wrong with a shard: nothing, or, where it has no digest, None."""
        like = dict(zip(_names(self._like), jax.tree.leaves(self._like), strict=True))
        try:
            with safe_open(path, framework="np") as shard:
                told = shard.metadata()
                keys = json.loads(told["keys"])
                arrays = {name: shard.get_tensor(name) for name in shard.keys()}  # noqa: SIM118
        except (OSError, SafetensorError, ValueError, TypeError, LookupError) as error:
            return f"it cannot be read: {str(error).splitlines()[0][:80]}"
        wanted = {name: (len(keys), *leaf.shape[1:]) for name, leaf in like.items()}
        if {name: array.shape for name, array in arrays.items()} != wanted:
            return "its arrays have other shapes"
        if "digest" not in told:
            return None
        return "" if _digest(keys, arrays) == told["digest"] else "its digest differs"

    def _write(self, shard: list[tuple[str, list[np.ndarray]]]) -> None:
        path = self.folder / f"{uuid.uuid4().hex}.safetensors"
        keys = [key for key, _ in shard]
        columns = map(np.stack, zip(*(leaves for _, leaves in shard), strict=True))
        stacked = dict(zip(_names(self._like), columns, strict=True))
        told = {"keys": json.dumps(keys), "digest": _digest(keys, stacked)}
        try:
            with replacing(path) as temporary:
                save_file(stacked, temporary, told)
        except (OSError, SafetensorError) as error:
            raise InputError(
                f"the feature cache {self.folder} cannot be written "
                f"({reason(error)}); name another folder with "
                "--config.train.cache_features=FOLDER, or never"
            ) from None
        self._rows |= {key: (path, row) for row, key in enumerate(keys)}

    def _describe(self) -> None:
        try:
            text = json.dumps(self._settings, indent=2, default=str)
            write_atomically(self.folder / "settings.json", text.encode())
            remove_remains(self.folder)
        except OSError as error:
            raise InputError(
                f"the feature cache {self.folder} cannot be made ({error.strerror}); "
                "name another folder with --config.train.cache_features=FOLDER"
            ) from None


def choose_cache(
    setting: str, prepared: Path, method: Method, source: Source
) -> FeatureCache | None:
    """Decide by setting and free disk whether features are kept, and say so.

    Args:
        setting: `train.cache_features`: auto, never or a folder.
        prepared: where `auto` keeps them.
        method: whose `visual` would be cached,
        source: for these images.
    """
    if setting == "never":
        return None
    folder = prepared / "features" if setting == "auto" else Path(setting).expanduser()
    cache = FeatureCache(folder, method, source.reading)
    keys = {source.key(i) for i in range(len(source))}
    missing = sum(key not in cache for key in keys)
    needed = missing * cache.bytes_per_image
    free = shutil.disk_usage(_existing(folder)).free
    size = f"{needed / 1e9:.1f} GB for {missing} images, {free / 1e9:.0f} GB free"
    if setting == "auto" and needed > _SPARE * free:
        print(f"features are not cached: {size}; the tower runs in every epoch")
        return None
    said = size if missing else f"all {len(keys)} images are there"
    print(f"features are cached in {cache.folder} ({said})")
    return cache


@functools.cache
def _say_unreadable(path: Path) -> None:
    print(f"{path} cannot be read, and what it held is computed again")


def _existing(folder: Path) -> Path:
    folder = folder.absolute()
    return next(parent for parent in (folder, *folder.parents) if parent.exists())


def _digest(keys: Sequence[str], arrays: Mapping[str, np.ndarray]) -> str:
    """sha256 of a shard's content, whatever its layout."""
    found = hashlib.sha256(json.dumps(list(keys)).encode())
    for name in sorted(arrays):
        array = arrays[name]
        found.update(f"{name}{array.dtype}{array.shape}".encode())
        found.update(np.ascontiguousarray(array))
    return found.hexdigest()


def _bytes(features: Visual) -> int:
    return sum(
        int(np.prod(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(features)
    )


def _names(features: Visual) -> list[str]:
    """The leaves' names in a shard."""
    paths = jax.tree_util.tree_leaves_with_path(features)
    return [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in paths]
