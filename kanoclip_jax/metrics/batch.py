"""A batch of maps where they were computed, and the programs that count its pixels."""

import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Int64

from kanoclip_jax.metrics.codes import (
    BINS,
    COARSE_BINS,
    Window,
    coarse_bins,
    encode,
)

# Shares 1 / area are summed as integers in units of 2^-40: exact in any order. What a
# region weighs is off by at most area / 2^41: 1e-7 at 518 x 518 pixels, 6e-6 at 4000 x
# 3000. A class overflows at 2^23 regions.
REGION_UNIT = 2**40


class Piece(NamedTuple):
    """Rows of a batch that lie on one device.

    Attributes:
        maps: on the device.
        regions: beside them; None if no pixel of the rows is anomalous.
        rows: which of the piece's rows are meant, normal ones first, then the others.
        normal: how many of these are normal throughout.
        count: how many rows are meant; what follows them in `rows` is not.
    """

    maps: Float[Array, "b h w"]
    regions: Int[Array, "b h w"] | None
    rows: Int[np.ndarray, " b"]
    normal: int
    count: int


class MapBatch:
    """Maps on the devices that computed them, and what is true of their pixels.

    Regions are sent to a device once, when a state first asks for a row of it that has
    any, whatever the number of classes in the batch.

    Args:
        shards: maps in [0, 1]: consecutive rows of the batch, each shard on a device.
        regions: of all rows, 0 on normal pixels, k on the k-th 8-connected region.
        region_count: of each row; 0 for padding.
        lowest: score of each row's map,
        highest: likewise.
    """

    def __init__(
        self,
        shards: Sequence[Float[Array, "_ h w"]],
        regions: Int[np.ndarray, "b h w"],
        region_count: Int[np.ndarray, " b"],
        lowest: Float[np.ndarray, " b"],
        highest: Float[np.ndarray, " b"],
    ) -> None:
        shape = (sum(len(shard) for shard in shards), *shards[0].shape[1:])
        if shape != regions.shape:
            raise ValueError(
                f"maps of {shape} and regions of {regions.shape}; they must be alike"
            )
        self._shards, self._regions = shards, regions
        self._region_count = region_count
        self._lowest, self._highest = lowest, highest
        self._sent: dict[int, Array] = {}

    def span(self, rows: Int[np.ndarray, " m"]) -> tuple[float, float]:
        """The lowest and the highest score of some rows; NaN if one is."""
        return float(self._lowest[rows].min()), float(self._highest[rows].max())

    def pieces(self, rows: Int[np.ndarray, " m"]) -> Iterator[Piece]:
        """Some rows, device by device; devices without any are left out."""
        start = 0
        for number, shard in enumerate(self._shards):
            size = len(shard)
            own = rows[(rows >= start) & (rows < start + size)]
            if own.size:
                plain = self._region_count[own] == 0
                order = np.zeros(size, np.int32)
                order[: own.size] = np.concatenate([own[plain], own[~plain]]) - start
                regions = None if plain.all() else self._regions_of(number, start)
                yield Piece(shard, regions, order, int(plain.sum()), own.size)
            start += size

    def coarse_counts(self) -> Int[np.ndarray, "b 2 k"]:
        """Normal and anomalous pixels of each map by `COARSE_BINS`.

        All devices count before the first is waited for.
        """
        counted, start = [], 0
        with jax.enable_x64(True):
            for number, shard in enumerate(self._shards):
                plain = not self._region_count[start : start + len(shard)].any()
                regions = None if plain else self._regions_of(number, start)
                counted.append(count_coarsely(shard, regions))
                start += len(shard)
        return np.concatenate([np.asarray(counts) for counts in counted])

    def _regions_of(self, number: int, start: int) -> Array:
        if number not in self._sent:
            shard = self._shards[number]
            self._sent[number] = jax.device_put(
                self._regions[start : start + len(shard)], device_of(shard)
            )
        return self._sent[number]


def device_of(array: Array) -> jax.Device:
    """Where an array of one device lies."""
    (device,) = array.devices()
    return device


def add_piece(sums: Array, piece: Piece, window: Window) -> Array:
    """Add some rows of a piece to the sums of its device, in one dispatch.

    One program serves any choice of rows. On a CPU it takes them in turns, which is as
    fast, and leaves out what is not meant. Elsewhere the host would have to wait for
    the number of turns, and each has too few pixels.
    """
    on_cpu = device_of(sums).platform == "cpu"
    # One array of small numbers instead of five.
    plan = np.array([piece.normal, piece.count, *window, *piece.rows], np.int32)
    with jax.enable_x64(True):
        add = add_in_turns if on_cpu else add_together
        return add(sums, piece.maps, piece.regions, plan)


@functools.partial(jax.jit, donate_argnums=0)
def add_in_turns(
    sums: Int64[Array, "k 3"],
    maps: Float[Array, "b h w"],
    regions: Int[Array, "b h w"] | None,
    plan: Int[Array, " p"],
) -> Int64[Array, "k 3"]:
    """Add rows one after another; see `add_piece` for `plan`."""
    normal, count, window, rows = plan[0], plan[1], plan[2:4], plan[4:]

    def add_normal(turn: Array, sums: Array) -> Array:
        bins = _bins(maps[rows[turn]].reshape(-1), window)
        return sums.at[bins, 0].add(1, mode="drop")

    def add_anomalous(turn: Array, sums: Array) -> Array:
        labels = regions[rows[turn]]
        weights = _shares(labels).reshape(-1)
        anomalous = (labels > 0).reshape(-1).astype(sums.dtype)
        columns = jnp.stack([1 - anomalous, anomalous, weights], axis=-1)
        bins = _bins(maps[rows[turn]].reshape(-1), window)
        # One scatter of three columns costs a CPU half of two scatters.
        return sums.at[bins].add(columns, mode="drop")

    sums = jax.lax.fori_loop(0, normal, add_normal, sums)
    if regions is None:
        return sums
    return jax.lax.fori_loop(normal, count, add_anomalous, sums)


@functools.partial(jax.jit, donate_argnums=0)
def add_together(
    sums: Int64[Array, "k 3"],
    maps: Float[Array, "b h w"],
    regions: Int[Array, "b h w"] | None,
    plan: Int[Array, " p"],
) -> Int64[Array, "k 3"]:
    """Add rows at once; see `add_piece` for `plan`."""
    count, window, rows = plan[1], plan[2:4], plan[4:]
    turns = jnp.arange(rows.size)
    chosen = ((rows == turns[:, None]) & (turns < count)).any(axis=1)
    bins = jnp.where(chosen[:, None, None], _bins(maps, window), BINS)
    # In one axis: an index of two is written to memory and read again.
    flat, first = sums.reshape(-1), 3 * bins
    if regions is None:
        return flat.at[first].add(1, mode="drop").reshape(sums.shape)
    anomalous = regions > 0
    # An atomic addition for a pixel, two for an anomalous one, none for a column of 0.
    flat = flat.at[first + anomalous].add(1, mode="drop")
    third = jnp.where(anomalous, first + 2, flat.size)
    flat = flat.at[third].add(jax.vmap(_shares)(regions), mode="drop")
    return flat.reshape(sums.shape)


def _bins(scores: Float[Array, "*n"], window: Int[Array, " 2"]) -> Int[Array, "*n"]:
    return (encode(scores) >> window[0]).astype(jnp.int32) - window[1]


def _shares(regions: Int[Array, "h w"]) -> Int64[Array, "h w"]:
    """1 / area of each pixel's region, × `REGION_UNIT`; 0 on normal pixels."""
    height, width = regions.shape
    # Of 8-connected regions no more have room.
    most = ((height + 1) // 2) * ((width + 1) // 2)
    anomalous = regions > 0
    areas = jnp.zeros(most + 1, jnp.int32)
    # Normal pixels are dropped: all of them would wait for one counter.
    areas = areas.at[jnp.where(anomalous, regions, most + 1)].add(1, mode="drop")
    areas = areas.astype(jnp.int64)
    shares = (REGION_UNIT + areas // 2) // jnp.maximum(areas, 1)
    return jnp.where(anomalous, shares[regions], 0)


@jax.jit
def count_coarsely(
    maps: Float[Array, "b h w"], regions: Int[Array, "b h w"] | None
) -> Int[Array, "b 2 k"]:
    """Pixels of each map by whether they are anomalous and by coarse bin."""
    anomalous = jnp.int32(0) if regions is None else (regions > 0).astype(jnp.int32)
    rows = jnp.arange(len(maps))[:, None, None]
    counts = jnp.zeros((len(maps), 2, COARSE_BINS), jnp.int32)
    return counts.at[rows, anomalous, coarse_bins(maps)].add(1)
