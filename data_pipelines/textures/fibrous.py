"""Surfaces made of fibres: woven, ribbed, checked and knitted cloth, and wood."""

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
    shade,
)

Picture = Float[np.ndarray, "h w 3"]


def weave(plane: Plane) -> Picture:
    """Plain weave: warp over weft, then weft over warp."""
    rng = plane.rng
    period = rng.uniform(5.5, 9)
    a = plane.u / period + 0.06 * noise(plane, 14.0)
    b = plane.v / period + 0.06 * noise(plane, 14.0)
    across, down = np.sin(np.pi * (a % 1)), np.sin(np.pi * (b % 1))
    over = (np.floor(a) + np.floor(b)) % 2
    base = colour(rng)
    other = partner(rng, base, (0.05, 0.3))
    height = np.where(over == 0, across * (0.5 + 0.5 * down), down * (0.5 + across / 2))
    yarn = pick(plane, np.floor(a)) + pick(plane, np.floor(b)) - 1
    relief = 0.5 * height - 0.25 + 0.08 * yarn + 0.04 * noise(plane, 0.7)
    return shade(mix(base, other, over), relief)


def corduroy(plane: Plane) -> Picture:
    """Parallel ribs of short pile."""
    rng = plane.rng
    period = rng.uniform(6, 11)
    phase = plane.v / period + 0.05 * noise(plane, 30.0, 6.0)
    rib = np.abs(np.sin(np.pi * phase)) ** 0.7
    pile = 0.05 * noise(plane, 0.6, 1.5) + 0.04 * clouds(plane, 12.0)
    return shade(colour(rng), 0.55 * rib - 0.3 + pile)


def plaid(plane: Plane) -> Picture:
    """Checked cloth: two sets of coloured bands under a fine twill."""
    rng = plane.rng
    period = rng.uniform(26, 40)
    base = colour(rng)
    picture = np.broadcast_to(base, (*plane.u.shape, 3))
    for width in rng.uniform(0.12, 0.4, 2):
        tint, start = partner(rng, base), rng.random()
        for axis in (plane.u, plane.v):
            band = ((axis / period + start) % 1 < width).astype(float)
            picture = mix(picture, tint, 0.5 * band)
    twill = np.sin(2 * np.pi * (plane.u + plane.v) / rng.uniform(2.5, 4))
    return shade(picture, 0.08 * twill + 0.04 * noise(plane, 0.8))


def wood(plane: Plane) -> Picture:
    """Planed wood: wavy year rings and fine pores along the grain."""
    rng = plane.rng
    period = rng.uniform(7, 15)
    bend = rng.uniform(0.4, 1.1) * noise(plane, 60.0, 12.0)
    bend += 0.1 * noise(plane, 30.0, 3.0)
    ring = (plane.v / period + bend) % 1
    base = colour(rng, (0.45, 0.8), (0.2, 0.55))
    dark = base * rng.uniform(0.55, 0.8)
    pores = 0.07 * noise(plane, 14.0, 0.6) + 0.04 * noise(plane, 40.0, 6.0)
    return shade(mix(base, dark, ring**2), pores)


def knit(plane: Plane) -> Picture:
    """Stocking stitch: columns of V-shaped loops."""
    rng = plane.rng
    width = rng.uniform(8, 12)
    a = plane.u / width + 0.04 * noise(plane, 16.0)
    side = np.abs(a % 1 - 0.5) * 2
    b = plane.v / (width * 0.75) + 0.6 * side + 0.04 * noise(plane, 16.0)
    loop = np.sin(np.pi * (b % 1)) ** 0.6 * np.sin(np.pi * side) ** 0.4
    fluff = 0.06 * noise(plane, 0.7) + 0.05 * clouds(plane, 20.0)
    tint = 0.1 * (pick(plane, np.floor(a), np.floor(b)) - 0.5)
    return shade(colour(rng), 0.75 * loop - 0.5 + fluff + tint)


def zigzag(plane: Plane) -> Picture:
    """Chevron cloth: zigzag bands in two or three colours."""
    rng = plane.rng
    width, period = rng.uniform(14, 24), rng.uniform(9, 15)
    fold = np.abs((plane.u / width) % 1 - 0.5) * 2
    phase = plane.v / period + fold * width / period * rng.uniform(0.4, 0.7)
    base = colour(rng)
    other, third = partner(rng, base), partner(rng, base, (0.05, 0.3))
    band = np.clip(4 * np.sin(2 * np.pi * phase) + 0.5, 0, 1)
    wide = np.clip(4 * np.sin(np.pi * phase) + 0.5, 0, 1)
    picture = mix(mix(base, third, wide), other, band)
    return shade(picture, 0.05 * noise(plane, 0.8) + 0.04 * clouds(plane, 16.0))
