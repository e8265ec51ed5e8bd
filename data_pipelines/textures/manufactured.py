"""Surfaces from a factory: tiles, metal, sheets, mesh and print."""

import numpy as np
from jaxtyping import Float

from data_pipelines.textures.fields import (
    Plane,
    clouds,
    colour,
    mix,
    noise,
    partner,
    pick,
    ramp,
    shade,
)

Picture = Float[np.ndarray, "h w 3"]


def brushed(plane: Plane) -> Picture:
    """Metal brushed in one direction."""
    rng = plane.rng
    lines = 0.07 * noise(plane, 25, 0.5) + 0.05 * noise(plane, 60, 2.5)
    sheen = 0.08 * noise(plane, 80, 18)
    return shade(colour(rng, (0.45, 0.8), (0.0, 0.3)), lines + sheen)


def tiles(plane: Plane) -> Picture:
    """Glazed square tiles with grout."""
    rng = plane.rng
    side, gap = rng.uniform(22, 36), rng.uniform(1.2, 2.2)
    a, b = plane.u / side, plane.v / side
    edge = side * np.minimum(0.5 - np.abs(a % 1 - 0.5), 0.5 - np.abs(b % 1 - 0.5))
    base = colour(rng)
    glaze = 0.16 * (pick(plane, np.floor(a), np.floor(b)) - 0.5)
    surface = shade(base, glaze + 0.03 * clouds(plane, 10))
    grout = shade(partner(rng, base), 0.06 * noise(plane, 0.7))
    return mix(surface, grout, ramp(edge, gap, 0.4))


def dots(plane: Plane) -> Picture:
    """Paper printed with a lattice of discs."""
    rng = plane.rng
    period = rng.uniform(9, 15)
    radius = period * rng.uniform(0.22, 0.36)
    row = np.floor(plane.v / period)
    a = plane.u / period + 0.5 * (row % 2) * rng.integers(2)
    reach = period * np.hypot(a % 1 - 0.5, (plane.v / period) % 1 - 0.5)
    base = colour(rng)
    picture = mix(base, partner(rng, base), ramp(reach, radius))
    return shade(picture, 0.04 * noise(plane, 0.7) + 0.04 * clouds(plane, 24))


def perforated(plane: Plane) -> Picture:
    """Sheet metal with staggered round holes."""
    rng = plane.rng
    period = rng.uniform(8, 13)
    radius = period * rng.uniform(0.24, 0.33)
    row = np.floor(plane.v / (period * 0.87))
    a = plane.u / period + 0.5 * (row % 2)
    reach = np.hypot(period * (a % 1 - 0.5), plane.v - (row + 0.5) * period * 0.87)
    sheet = shade(colour(rng, (0.5, 0.85), (0.0, 0.4)), 0.04 * noise(plane, 12, 0.6))
    rim = ramp(np.abs(reach - radius - 0.5), 0.7)
    depth = colour(rng, (0.05, 0.22), (0.0, 0.3))
    return mix(shade(sheet, 0.2 * rim), depth, ramp(reach, radius))


def mesh(plane: Plane) -> Picture:
    """Woven wire in front of a plain ground."""
    rng = plane.rng
    period = rng.uniform(9, 14)
    wire = rng.uniform(0.14, 0.22)
    a = plane.u / period + 0.02 * noise(plane, 20)
    b = plane.v / period + 0.02 * noise(plane, 20)
    x, y = np.abs(a % 1 - 0.5), np.abs(b % 1 - 0.5)
    ground = colour(rng, (0.1, 0.7), (0.02, 0.4))
    metal = partner(rng, ground, (0.16, 0.32))
    picture = np.broadcast_to(ground, (*a.shape, 3))
    picture = shade(picture, 0.05 * clouds(plane, 10))
    over = (np.floor(a) + np.floor(b)) % 2 == 0
    for first in (True, False):
        for axis, lifted in ((x, over), (y, ~over)):
            rod = shade(metal, 0.35 * np.cos(np.pi * axis / wire / 2) - 0.2)
            here = ramp(axis * period, wire * period, 0.4) * (lifted != first)
            picture = mix(picture, rod, here)
    return picture


def honeycomb(plane: Plane) -> Picture:
    """A panel of hexagonal cells."""
    rng = plane.rng
    side = rng.uniform(11, 17)
    cell = np.array([1.0, np.sqrt(3.0)])
    point = np.stack([plane.u, plane.v], -1) / side
    here = (point % cell) - cell / 2
    there = ((point - cell / 2) % cell) - cell / 2
    nearest = np.where(((here**2).sum(-1) < (there**2).sum(-1))[..., None], here, there)
    centre = np.round((point - nearest) * (2.0, 2 / np.sqrt(3.0)))
    offset = np.abs(nearest)
    edge = 0.5 - np.maximum(offset[..., 0], offset @ (0.5, np.sqrt(0.75)))
    base = colour(rng)
    tint = 0.2 * (pick(plane, centre[..., 0], centre[..., 1]) - 0.5)
    face = shade(base, tint - 0.2 * (0.5 - edge) + 0.04 * noise(plane, 0.9))
    return mix(face, partner(rng, base), ramp(edge * side, rng.uniform(0.8, 1.6), 0.4))


def tread(plane: Plane) -> Picture:
    """Tread plate: raised lozenges in alternating directions."""
    rng = plane.rng
    period = rng.uniform(12, 17)
    a, b = plane.u / period, plane.v / period
    turned = (np.floor(a) + np.floor(b)) % 2 == 0
    x, y = a % 1 - 0.5, b % 1 - 0.5
    long, short = np.where(turned, x, y), np.where(turned, y, x)
    reach = np.hypot(long / 0.46, short / 0.16)
    plate = shade(colour(rng, (0.4, 0.75), (0.0, 0.35)), 0.05 * noise(plane, 0.9))
    lift = np.clip(1.1 - reach, 0, 1)
    rim = ramp(np.abs(reach - 1), 0.12, 0.12)
    slope = np.sign(short) * rim * rng.uniform(0.2, 0.35)
    return shade(plate, 0.35 * lift + slope + 0.05 * clouds(plane, 30))
