"""All that pixel metrics need of any number of maps: three histograms of the scores."""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Int64

from kanoclip_jax.errors import InputError

# The largest errors against sorting all scores, over 52 sets of 12 maps of 256 x 256:
# white, smooth, tied, sigmoid and heavy-tailed scores; ranges from 1 down to 0.05 at 0,
# in the middle and at 1; 0.5 and 3 % anomalous pixels.
#
#     bins    AUROC     AUPRO     AP        F1max
#     2^15    5.0e-6    1.7e-5    5.1e-4    1.4e-4
#     2^17    3.3e-6    8.6e-6    1.2e-4    7.2e-5
#     2^19    1.2e-6    1.5e-6    2.2e-5    2.7e-5
#
# Linear bins over [0, 1] err by 1.5e-3 in AP (2^20 bins) where scores crowd at an end.
BINS = 2**19

# Shares 1 / area are summed as integers in units of 2^-40: exact in any order. What a
# region weighs is off by at most area / 2^41: 1e-7 at 518 x 518 pixels, 6e-6 at 4000 x
# 3000. A class overflows at 2^23 regions.
REGION_UNIT = 2**40

# Few enough that the counts of ten thousand maps fit into memory.
COARSE_BINS = 2**12

_CODE_UNIT = 2**30

# Maps from the host come in pieces of one length, so that any number of image sizes
# shares one program; in a CPU's cache, pieces are as fast as whole maps.
_PIECE = 2**16


class Window(NamedTuple):
    """The codes that the bins stand for: `c` falls into `(c >> shift) - origin`."""

    shift: int
    origin: int


class PixelHistogram:
    """Scores of one class's pixels, by bin, on the device that computed them.

    A score becomes an integer code by a fixed monotone map, finer towards 0 and 1 where
    trained models put most pixels. A bin is a run of 2^shift codes, and the bins cover
    the range of the scores only, so that a narrow range is resolved as well as a wide
    one. The shift depends on that range alone, and coarser bins are unions of finer
    ones: any split and order of the same pixels gives the same histogram.

    Attributes:
        regions: connected regions so far.
        lowest, highest: exact range of the scores.
        window: which codes the bins stand for.
    """

    def __init__(self) -> None:
        # Columns: normal pixels, anomalous pixels, their weights.
        self._sums: Array | np.ndarray = np.zeros((BINS, 3), np.int64)
        self.regions = 0
        self.lowest, self.highest = np.inf, -np.inf
        self.window = Window(0, 0)

    @property
    def negatives(self) -> Int64[np.ndarray, " k"]:
        """Normal pixels by bin."""
        return np.array(self._sums[:, 0])

    @property
    def positives(self) -> Int64[np.ndarray, " k"]:
        """Anomalous pixels by bin."""
        return np.array(self._sums[:, 1])

    @property
    def overlap(self) -> Int64[np.ndarray, " k"]:
        """Anomalous pixels by bin, each with 1 / area of its region, × `REGION_UNIT`."""
        return np.array(self._sums[:, 2])

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
        if span is None:
            span = float(anomaly_map.min()), float(anomaly_map.max())
        _check(anomaly_map.shape, regions, span)
        self._cover(*span)
        areas = np.bincount(regions.ravel())
        shares = (REGION_UNIT + areas // 2) // np.maximum(areas, 1)
        shares[0] = 0
        with jax.enable_x64(True):
            for scores, labels, count in _pieces(anomaly_map, regions):
                where = (count, *self.window)
                if labels.any():
                    weights = shares[labels]
                    self._sums = _add(self._sums, scores, weights, *where)
                else:
                    self._sums = _add_normal(self._sums, scores, *where)
        self.regions += np.count_nonzero(areas[1:])

    def __add__(self, other: "PixelHistogram") -> "PixelHistogram":
        """The histogram of both's pixels."""
        merged = type(self)()
        for part in (self, other):
            merged._cover(part.lowest, part.highest)
        for part in (self, other):
            merged._sums += _move(part._sums, part.window, merged.window)
            merged.regions += part.regions
        return merged

    def __getstate__(self) -> dict[str, object]:
        """Processes exchange numpy, not what lives on their devices."""
        return vars(self) | {"_sums": np.asarray(self._sums)}

    def locate(self, scores: Float[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
        """The bin of each score between `lowest` and `highest`."""
        shift, origin = self.window
        with jax.enable_x64(True):
            return np.asarray(_encode(jnp.asarray(scores)) >> shift) - origin

    def edges(self, bins: Int[np.ndarray, "*n"] | int) -> Float[np.ndarray, "*n"]:
        """The lowest score of each bin; of one beyond the last, the end of the last."""
        shift, origin = self.window
        return _decode((np.asarray(bins, np.int64) + origin) << shift)

    def _cover(self, lowest: float, highest: float) -> None:
        """Make room for a range of scores."""
        if self.lowest <= lowest and highest <= self.highest:
            return
        self.lowest = min(self.lowest, lowest)
        self.highest = max(self.highest, highest)
        window = _fit(self.lowest, self.highest)
        if window != self.window:
            self._sums = _move(self._sums, self.window, window)
            self.window = window


def _encode(scores: Float[Array, "*n"]) -> Int64[Array, "*n"]:
    """Scores to integers in [0, 2^30]: square roots of the distance to 0 and to 1.

    Nothing but correctly rounded operations in double precision, so that every machine
    gives the same codes.
    """
    scores = scores.astype(jnp.float64)
    code = 0.5 - jnp.sqrt(0.5 * jnp.minimum(scores, 1 - scores))
    # Mirrored at 1/2 by a sign.
    code = jnp.copysign(code, scores - 0.5) + 0.5
    return (_CODE_UNIT * code).astype(jnp.int64)


def _decode(codes: Int64[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """The score at which a code begins."""
    share = codes / _CODE_UNIT
    return np.where(share < 0.5, 2 * share**2, 1 - 2 * (1 - share) ** 2)


def coarse_counts(
    anomaly_map: Float[Array | np.ndarray, "h w"], regions: Int[np.ndarray, "h w"]
) -> Int[np.ndarray, "2 k"]:
    """Normal and anomalous pixels of one map by `COARSE_BINS`, the same for all maps."""
    with jax.enable_x64(True):
        codes = np.asarray(_encode(jnp.asarray(anomaly_map)))
    bins = np.minimum(codes // (_CODE_UNIT // COARSE_BINS), COARSE_BINS - 1)
    return np.stack(
        [
            np.bincount(bins[chosen], minlength=COARSE_BINS).astype(np.int32)
            for chosen in (regions == 0, regions > 0)
        ]
    )


def coarse_edges(count: int) -> Float[np.ndarray, " j"]:
    """The lowest score of each coarse bin, and the highest of the last."""
    return _decode(np.arange(count + 1) * (_CODE_UNIT // count))


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
    bins = (_encode(scores) >> shift) - origin
    return jnp.where(jnp.arange(scores.size) < count, bins, BINS)


def _fit(lowest: float, highest: float) -> Window:
    """The finest window that covers both scores."""
    if lowest > highest:
        return Window(0, 0)
    with jax.enable_x64(True):
        low, high = _encode(jnp.array([lowest, highest])).tolist()
    shift = 0
    while (high >> shift) - (low >> shift) >= BINS:
        shift += 1
    return Window(shift, low >> shift)


def _move(
    sums: Int64[Array | np.ndarray, "k 3"], old: Window, new: Window
) -> Int64[np.ndarray, "k 3"]:
    """Sums in another window, one that covers them and is no finer."""
    sums = np.asarray(sums)
    moved = np.zeros_like(sums)
    filled = np.flatnonzero(sums.any(axis=1))
    target = ((filled + old.origin) >> (new.shift - old.shift)) - new.origin
    np.add.at(moved, target, sums[filled])
    return moved


def _check(
    shape: tuple[int, ...], regions: Int[np.ndarray, "..."], span: tuple[float, float]
) -> None:
    if shape != regions.shape or not regions.size:
        raise ValueError(
            f"a map of {shape} and regions of {regions.shape}; "
            "both must have one shape with at least one pixel"
        )
    lowest, highest = span
    # Written so that NaN, which compares false, is refused too.
    if not (lowest >= 0 and highest <= 1):
        raise InputError(
            f"the scores of a map span [{lowest}, {highest}]; [0, 1] is allowed: "
            "check the checkpoint and the method"
        )
    if regions.min() < 0:
        raise ValueError(
            f"regions holds {regions.min()}; labels count from 1, normal pixels are 0"
        )
