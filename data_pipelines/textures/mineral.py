"""Surfaces without a lattice: stone, cork and leather."""

import numpy as np
from jaxtyping import Float

from data_pipelines.textures.fields import (
    Plane,
    cells,
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


def marble(plane: Plane) -> Picture:
    """Polished stone with clouds and soft veins."""
    rng = plane.rng
    base = colour(rng, (0.45, 0.85), (0.03, 0.3))
    tint = partner(rng, base, (0.12, 0.28))
    warped = plane._replace(angle=rng.uniform(0, np.pi))
    vein = np.exp(-np.abs(noise(warped, 22, 9) + 0.25 * clouds(plane, 6)) / 0.22)
    picture = mix(base, tint, 0.25 + 0.18 * clouds(plane, 20) + 0.5 * vein)
    return shade(picture, 0.02 * noise(plane, 0.7))


def granite(plane: Plane) -> Picture:
    """Coarse crystals in four colours."""
    rng = plane.rng
    crystals = cells(plane, rng.uniform(2.6, 4.2))
    base = colour(rng, (0.35, 0.7), (0.03, 0.35))
    palette = np.stack([base] + [partner(rng, base, (0.1, 0.3)) for _ in range(3)])
    kind = (pick(plane, crystals.index) * 4).astype(int)
    return shade(palette[kind], 0.05 * noise(plane, 0.7) + 0.05 * clouds(plane, 24))


def concrete(plane: Plane) -> Picture:
    """Cast concrete: blotches, sand and small pores."""
    rng = plane.rng
    sand = 0.07 * noise(plane, 0.8) + 0.06 * clouds(plane, 18, 5)
    pores = np.clip(noise(plane, 1.3) - 2.2, 0, 1)
    return shade(colour(rng, (0.4, 0.8), (0.02, 0.25)), sand - 0.4 * pores)


def leather(plane: Plane) -> Picture:
    """Grained leather: domed cells between creases."""
    rng = plane.rng
    bent = plane._replace(
        u=plane.u + 1.2 * noise(plane, 4), v=plane.v + 1.2 * noise(plane, 4)
    )
    grain = cells(bent, rng.uniform(4.5, 7.5))
    crease = ramp(grain.border, 1.3, 0.8)
    relief = 0.12 - 0.4 * crease - 0.02 * grain.inner + 0.04 * noise(plane, 0.8)
    return shade(colour(rng, (0.3, 0.7)), relief + 0.05 * clouds(plane, 30))


def terrazzo(plane: Plane) -> Picture:
    """Stone chips of several colours in a plain binder."""
    rng = plane.rng
    chips = cells(plane, rng.uniform(7, 11))
    base = colour(rng, (0.45, 0.85), (0.03, 0.3))
    palette = np.stack([partner(rng, base, (0.08, 0.22)) for _ in range(4)])
    kind = (pick(plane, chips.index) * 4).astype(int)
    edge = 1.0 + 2.5 * pick(plane, chips.index)
    chip = 1 - ramp(chips.border - edge + 0.4 * noise(plane, 2), 0.0, 0.4)
    return shade(mix(base, palette[kind], chip), 0.03 * noise(plane, 0.7))


def cork(plane: Plane) -> Picture:
    """Pressed cork: granules of many shades with darker seams."""
    rng = plane.rng
    bent = plane._replace(
        u=plane.u + 1.5 * noise(plane, 3), v=plane.v + 1.5 * noise(plane, 3)
    )
    granules = cells(bent, rng.uniform(5, 9))
    shades = 0.4 * (pick(plane, granules.index) - 0.5)
    seam = ramp(granules.border, 0.6, 0.5)
    relief = shades - 0.2 * seam + 0.07 * noise(plane, 1.0)
    return shade(colour(rng, (0.4, 0.75), (0.15, 0.5)), relief)
