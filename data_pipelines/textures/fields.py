"""The raw material of procedural surfaces: a random plane, noise, cells and colours.

Lengths are in units of 1/128 of the picture's side, so that a surface looks the same at
every size.
"""

import colorsys
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

UNITS = 128.0
_TABLE = 4096


class Plane(NamedTuple):
    """A picture's coordinates on an endless surface, with the randomness to fill it.

    Attributes:
        u, v: position of each pixel, rotated, zoomed and shifted at random, in units.
        angle: of the u axis against the picture's rows, in radians.
        pixels: pixels per unit.
        rng: the surface's own random stream.
    """

    u: Float[np.ndarray, "h w"]
    v: Float[np.ndarray, "h w"]
    angle: float
    pixels: float
    rng: np.random.Generator


def make_plane(rng: np.random.Generator, size: int) -> Plane:
    """A plane under a random rotation, zoom and shift."""
    angle = rng.uniform(0, 2 * np.pi)
    zoom = np.exp(rng.uniform(-0.25, 0.25))
    shift_u, shift_v = rng.uniform(0, 500, 2)
    y, x = np.mgrid[:size, :size] * (UNITS / size) - UNITS / 2
    cos, sin = np.cos(angle) / zoom, np.sin(angle) / zoom
    u, v = cos * x + sin * y + shift_u, cos * y - sin * x + shift_v
    return Plane(u, v, angle, size / UNITS, rng)


def noise(
    plane: Plane, along: float, across: float | None = None
) -> Float[np.ndarray, "h w"]:
    """Gaussian noise of mean 0 and deviation 1, smoothed by a rotated Gaussian.

    Args:
        plane: gives size, axes and randomness.
        along: deviation of the smoothing along u, in units.
        across: the same along v; equal to `along` if None.
    """
    across = along if across is None else across
    size = plane.u.shape[0]
    fx, fy = np.fft.rfftfreq(size)[None], np.fft.fftfreq(size)[:, None]
    cos, sin = np.cos(plane.angle), np.sin(plane.angle)
    fu, fv = cos * fx + sin * fy, cos * fy - sin * fx
    reach = (along * fu) ** 2 + (across * fv) ** 2
    kernel = np.exp(-2 * (np.pi * plane.pixels) ** 2 * reach)
    white = plane.rng.standard_normal((size, size))
    smooth = np.fft.irfft2(np.fft.rfft2(white) * kernel, s=(size, size))
    smooth -= smooth.mean()
    return smooth / max(smooth.std(), 1e-9)


def clouds(plane: Plane, largest: float, octaves: int = 4) -> Float[np.ndarray, "h w"]:
    """Noise at halving scales and weights, of deviation near 1."""
    layers = [noise(plane, largest / 2**k) / 1.6**k for k in range(octaves)]
    return sum(layers) / np.sqrt(sum(1 / 1.6 ** (2 * k) for k in range(octaves)))


class Cells(NamedTuple):
    """A Voronoi mosaic.

    Attributes:
        index: which cell each pixel is in.
        inner: distance to the cell's own seed, in units.
        border: distance to the second nearest seed minus `inner`; 0 on borders.
    """

    index: Int[np.ndarray, "h w"]
    inner: Float[np.ndarray, "h w"]
    border: Float[np.ndarray, "h w"]


def cells(plane: Plane, spacing: float, jitter: float = 0.5) -> Cells:
    """Voronoi cells of a jittered square lattice on the plane."""
    low_u, low_v = plane.u.min() - 2 * spacing, plane.v.min() - 2 * spacing
    columns = int((plane.u.max() - low_u) / spacing) + 3
    rows = int((plane.v.max() - low_v) / spacing) + 3
    lattice = np.stack(np.mgrid[:columns, :rows], -1).reshape(-1, 2) * spacing
    seeds = lattice + plane.rng.uniform(-jitter, jitter, lattice.shape) * spacing
    seeds += (low_u, low_v)
    distance, index = cKDTree(seeds).query(np.stack([plane.u, plane.v], -1), k=2)
    near = distance[..., 0]
    return Cells(index[..., 0], near, distance[..., 1] - near)


def pick(plane: Plane, *index: Int[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """One uniform random number for each integer cell, the same all over the cell."""
    side = round(_TABLE ** (1 / len(index)))
    table = plane.rng.random((side,) * len(index))
    return table[tuple(i.astype(int) % side for i in index)]


def colour(
    rng: np.random.Generator,
    value: tuple[float, float] = (0.35, 0.8),
    saturation: tuple[float, float] = (0.05, 0.55),
) -> Float[np.ndarray, "3"]:
    """A colour of any hue, red, green and blue in [0, 1]."""
    return np.array(
        colorsys.hsv_to_rgb(rng.random(), rng.uniform(*saturation), rng.uniform(*value))
    )


def partner(
    rng: np.random.Generator,
    base: Float[np.ndarray, "3"],
    contrast: tuple[float, float] = (0.15, 0.35),
) -> Float[np.ndarray, "3"]:
    """A colour that differs from another in brightness, towards the roomier side."""
    step = rng.uniform(*contrast) * (1 if base.mean() < rng.uniform(0.4, 0.65) else -1)
    return np.clip(base + step + rng.normal(0, 0.05, 3), 0.03, 0.97)


def mix(
    first: Float[np.ndarray, "*rest 3"],
    second: Float[np.ndarray, "*others 3"],
    weight: Float[np.ndarray, "h w"],
) -> Float[np.ndarray, "h w 3"]:
    """Blend two colours, or two pictures, pixel by pixel; weight 1 gives the second."""
    weight = np.clip(weight, 0, 1)[..., None]
    return first * (1 - weight) + second * weight


def ramp(
    distance: Float[np.ndarray, "h w"], edge: float, soft: float = 0.5
) -> Float[np.ndarray, "h w"]:
    """A soft step in [0, 1]: 1 well below the edge, 0 well above; `soft` in units."""
    return np.clip((edge - distance) / (2 * soft) + 0.5, 0, 1)


def shade(
    rgb: Float[np.ndarray, "*rest 3"], relief: Float[np.ndarray, "h w"]
) -> Float[np.ndarray, "h w 3"]:
    """Brighten where relief is positive, darken where it is negative."""
    return rgb * (1 + relief)[..., None]


def light(
    picture: Float[np.ndarray, "h w 3"], rng: np.random.Generator
) -> Float[np.ndarray, "h w 3"]:
    """The surface under uneven light, seen by a sensor with a little noise."""
    size = len(picture)
    y, x = np.mgrid[:size, :size] / size - 0.5
    towards, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.3)
    falloff = 1 + strength * (np.cos(towards) * x + np.sin(towards) * y)
    falloff *= rng.uniform(0.85, 1.15)
    grain = rng.normal(0, 0.012, (size, size, 1)) * np.sqrt(size / UNITS)
    return np.clip(picture * falloff[..., None] + grain, 0, 1)
