"""All that pixel metrics need of any number of maps: three histograms of the scores."""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Int64

from kanoclip_jax.errors import InputError
from kanoclip_jax.metrics import codes
from kanoclip_jax.metrics.batch import (
    REGION_UNIT,
    MapBatch,
    add_piece,
    count_coarsely,
    device_of,
)
from kanoclip_jax.metrics.codes import (
    BINS,
    COARSE_BINS,
    Window,
    coarse_edges,
    encode,
    fit,
)

__all__ = [
    "BINS",
    "COARSE_BINS",
    "REGION_UNIT",
    "PixelHistogram",
    "coarse_counts",
    "coarse_edges",
]

# Maps from the host come in pieces of one length, so that any number of image sizes
# shares one program; in a CPU's cache, pieces are as fast as whole maps.
_PIECE = 2**16


class PixelHistogram:
    """Scores of one class's pixels, by bin, on the devices that computed them.

    A score becomes an integer code by a fixed monotone map, finer towards 0 and 1 where
    trained models put most pixels. A bin is a run of 2^shift codes, and the bins cover
    the range of the scores only, so that a narrow range is resolved as well as a wide
    one. The shift depends on that range alone, and coarser bins are unions of finer
    ones: any split and order of the same pixels gives the same histogram.

    Attributes:
        lowest, highest: exact range of the scores.
        window: which codes the bins stand for.
    """

    def __init__(self) -> None:
        # Columns: normal pixels, anomalous pixels, their weights. What was counted on
        # devices stays there until it is asked for, and is then added to the host's.
        self._parts: dict[jax.Device, Array] = {}
        self._host: np.ndarray | None = None
        self.lowest, self.highest = np.inf, -np.inf
        self.window = Window(0, 0)

    @property
    def negatives(self) -> Int64[np.ndarray, " k"]:
        """Normal pixels by bin; read only."""
        return self._collect()[0]

    @property
    def positives(self) -> Int64[np.ndarray, " k"]:
        """Anomalous pixels by bin; read only."""
        return self._collect()[1]

    @property
    def overlap(self) -> Int64[np.ndarray, " k"]:
        """Anomalous pixels by bin, each with 1 / area of its region, × `REGION_UNIT`.

        Read only.
        """
        return self._collect()[2]

    @property
    def regions(self) -> int:
        """Connected regions so far."""
        # A region's weights miss the unit by half its area at most.
        return int((self.overlap.sum() + REGION_UNIT // 2) // REGION_UNIT)

    def update(
        self,
        anomaly_map: Float[Array | np.ndarray, "h w"],
        regions: Int[np.ndarray, "h w"],
        span: tuple[float, float] | None = None,
    ) -> None:
        """Add one map, which stays on its device.

        Args:
            anomaly_map: scores in [0, 1]. Those on a device compile once for each
                shape; maps of many shapes belong on the host.
            regions: 0 on normal pixels, k on the k-th connected region.
            span: the lowest and the highest score, where they are known already.

        Raises:
            InputError: a score outside [0, 1] or not a number.
            ValueError: shapes that differ, or a negative label.
        """
        _check(anomaly_map.shape, regions)
        if span is None:
            span = float(anomaly_map.min()), float(anomaly_map.max())
        self._cover(*_checked(span))
        areas = np.bincount(regions.ravel())
        shares = (REGION_UNIT + areas // 2) // np.maximum(areas, 1)
        shares[0] = 0
        on_device = isinstance(anomaly_map, jax.Array)
        home = device_of(anomaly_map) if on_device else jax.local_devices()[0]
        sums = self._part(home)
        with jax.enable_x64(True):
            for scores, labels, count in _pieces(anomaly_map, regions):
                where = (count, *self.window)
                if labels.any():
                    sums = _add(sums, scores, shares[labels], *where)
                else:
                    sums = _add_normal(sums, scores, *where)
        self._parts[home] = sums

    def update_rows(self, batch: MapBatch, rows: Int[np.ndarray, " m"]) -> None:
        """Add some maps of a batch, in one dispatch for each device that has any.

        Nothing leaves the devices, and nothing is waited for.

        Args:
            batch: the maps.
            rows: which of them.

        Raises:
            InputError: a score outside [0, 1] or not a number.
        """
        self._cover(*_checked(batch.span(rows)))
        for piece in batch.pieces(rows):
            home = device_of(piece.maps)
            self._parts[home] = add_piece(self._part(home), piece, self.window)

    def __add__(self, other: "PixelHistogram") -> "PixelHistogram":
        """The histogram of both's pixels."""
        merged = type(self)()
        for part in (self, other):
            merged._cover(part.lowest, part.highest)
        merged._host = sum(
            _move(part._collect(), part.window, merged.window) for part in (self, other)
        )
        return merged

    def __getstate__(self) -> dict[str, object]:
        """Processes exchange numpy, not what lives on their devices."""
        self._collect()
        return dict(vars(self))

    def locate(self, scores: Float[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
        """The bin of each score between `lowest` and `highest`."""
        shift, origin = self.window
        return (encode(np.asarray(scores), np) >> shift) - origin

    def edges(self, bins: Int[np.ndarray, "*n"] | int) -> Float[np.ndarray, "*n"]:
        """The lowest score of each bin; of one beyond the last, the end of the last."""
        return codes.edges(self.window, bins)

    def _part(self, home: jax.Device) -> Int64[Array, "k 3"]:
        """What a device has counted, for a program that takes it over."""
        if home in self._parts:
            return self._parts.pop(home)
        with jax.enable_x64(True):
            return jnp.zeros((BINS, 3), jnp.int64, device=home)

    def _collect(self) -> Int64[np.ndarray, "3 k"]:
        """All counts on the host, a column in a row."""
        total = np.zeros((3, BINS), np.int64) if self._host is None else self._host
        if self._parts:
            counted = [np.asarray(sums).T for sums in self._parts.values()]
            total = sum(counted[1:], np.ascontiguousarray(counted[0])) + total
            self._parts.clear()
        total.flags.writeable = False
        self._host = total
        return total

    def _cover(self, lowest: float, highest: float) -> None:
        """Make room for a range of scores."""
        if self.lowest <= lowest and highest <= self.highest:
            return
        self.lowest = min(self.lowest, lowest)
        self.highest = max(self.highest, highest)
        old, self.window = self.window, fit(self.lowest, self.highest)
        if self.window == old:
            return
        if self._host is not None:
            self._host = _move(self._host, old, self.window)
        moves = np.array([*old, *self.window], np.int32)
        with jax.enable_x64(True):
            for home, sums in self._parts.items():
                self._parts[home] = _moved(sums, moves)


def coarse_counts(
    anomaly_map: Float[Array | np.ndarray, "h w"], regions: Int[np.ndarray, "h w"]
) -> Int[np.ndarray, "2 k"]:
    """Normal and anomalous pixels of one map by `COARSE_BINS`, the same for all maps."""
    with jax.enable_x64(True):
        return np.asarray(count_coarsely(anomaly_map[None], regions[None]))[0]


def _pieces(
    anomaly_map: Float[Array | np.ndarray, "h w"], regions: Int[np.ndarray, "h w"]
) -> Iterator[tuple[Float[Array | np.ndarray, " n"], Int[np.ndarray, " n"], int]]:
    """Scores, their regions, and how many there are before the padding."""
    scores, labels = anomaly_map.reshape(-1), regions.reshape(-1)
    if isinstance(scores, jax.Array):
        yield scores, labels, scores.size
        return
    for start in range(0, scores.size, _PIECE):
        rows = slice(start, start + _PIECE)
        count = len(scores[rows])
        padding = (0, _PIECE - count)
        yield np.pad(scores[rows], padding), np.pad(labels[rows], padding), count


@functools.partial(jax.jit, donate_argnums=0)
def _add_normal(
    sums: Array, scores: Array, count: int, shift: int, origin: int
) -> Array:
    bins = _bins(scores, count, shift, origin)
    return sums.at[bins, 0].add(1, mode="drop")


@functools.partial(jax.jit, donate_argnums=0)
def _add(
    sums: Array,
    scores: Array,
    weights: Int64[Array, " n"],
    count: int,
    shift: int,
    origin: int,
) -> Array:
    bins = _bins(scores, count, shift, origin)
    anomalous = (weights > 0).astype(sums.dtype)
    columns = jnp.stack([1 - anomalous, anomalous, weights], axis=-1)
    # One scatter of three columns costs a CPU half of two scatters.
    return sums.at[bins].add(columns, mode="drop")


def _bins(
    scores: Float[Array, " n"], count: int, shift: int, origin: int
) -> Int64[Array, " n"]:
    """The bin of each score; of padding, one that is not there."""
    bins = (encode(scores) >> shift) - origin
    return jnp.where(jnp.arange(scores.size) < count, bins, BINS)


@jax.jit
def _moved(sums: Int64[Array, "k 3"], moves: Int[Array, " 4"]) -> Int64[Array, "k 3"]:
    """As `_move`, where the sums are."""
    shift, origin, new_shift, new_origin = moves
    target = ((jnp.arange(BINS) + origin) >> (new_shift - shift)) - new_origin
    # Empty bins may have no place, and negative ones would count from the end.
    target = jnp.where(target < 0, BINS, target)
    return jnp.zeros_like(sums).at[target].add(sums, mode="drop")


def _move(
    sums: Int64[np.ndarray, "3 k"], old: Window, new: Window
) -> Int64[np.ndarray, "3 k"]:
    """Sums in another window, one that covers them and is no finer."""
    moved = np.zeros_like(sums)
    filled = np.flatnonzero(sums.any(axis=0))
    target = ((filled + old.origin) >> (new.shift - old.shift)) - new.origin
    for column, values in zip(moved, sums, strict=True):
        np.add.at(column, target, values[filled])
    return moved


def _check(shape: tuple[int, ...], regions: Int[np.ndarray, "..."]) -> None:
    if shape != regions.shape or not regions.size:
        raise ValueError(
            f"a map of {shape} and regions of {regions.shape}; "
            "both must have one shape with at least one pixel"
        )
    if regions.min() < 0:
        raise ValueError(
            f"regions holds {regions.min()}; labels count from 1, normal pixels are 0"
        )


def _checked(span: tuple[float, float]) -> tuple[float, float]:
    lowest, highest = span
    # Written so that NaN, which compares false, is refused too.
    if not (lowest >= 0 and highest <= 1):
        raise InputError(
            f"the scores of a map span [{lowest}, {highest}]; [0, 1] is allowed: "
            "check the checkpoint and the method"
        )
    return span
