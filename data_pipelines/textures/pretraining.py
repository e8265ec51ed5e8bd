"""Pictures to pre-train a small CLIP on: the training surfaces and three more."""

from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from data_pipelines import textures
from data_pipelines.textures import defects, fields


class Example(NamedTuple):
    """One picture of the pool with what its captions are made of."""

    image: UInt8[np.ndarray, "h w 3"]
    mask: UInt8[np.ndarray, "h w"]
    name: str
    defect: str | None


def print_paper(plane: fields.Plane) -> np.ndarray:
    """Wallpaper: a skewed lattice of one random motif."""
    rng, base = plane.rng, fields.colour(plane.rng)
    wide, high = rng.uniform(8, 26, 2)
    a = plane.u / wide + rng.uniform(0, 1) * np.floor(plane.v / high)
    x, y = a % 1 - 0.5, (plane.v / high) % 1 - 0.5
    x, y = x * np.exp(rng.uniform(-0.5, 0.5)), y * np.exp(rng.uniform(-0.5, 0.5))
    power = rng.uniform(0.6, 4)
    reach = (np.abs(x) ** power + np.abs(y) ** power) ** (1 / power)
    ring = np.abs(reach - rng.uniform(0, 0.35))
    motif = fields.ramp(ring, rng.uniform(0.1, 0.2), 0.04)
    tint = fields.pick(plane, np.floor(a), np.floor(plane.v / high)) - 0.5
    picture = fields.mix(base, fields.partner(rng, base), motif)
    relief = 0.3 * rng.integers(2) * tint + 0.04 * fields.noise(plane, 0.8)
    return fields.shade(picture, relief)


def stripe_cloth(plane: fields.Plane) -> np.ndarray:
    """Striped cloth: waves of several lengths and directions over a random weave."""
    rng, base = plane.rng, fields.colour(plane.rng)
    relief = 0.05 * fields.noise(plane, 0.7) + 0.05 * fields.clouds(plane, 16)
    for _ in range(rng.integers(1, 4)):
        turn, period = rng.uniform(0, np.pi), np.exp(rng.uniform(1.0, 3.2))
        phase = (np.cos(turn) * plane.u + np.sin(turn) * plane.v) / period
        wave = np.sin(2 * np.pi * phase + rng.uniform(0, 0.8) * fields.noise(plane, 20))
        relief += rng.uniform(0.04, 0.2) * np.clip(rng.uniform(1, 4) * wave, -1, 1)
    return fields.shade(base, relief)


def camouflage(plane: fields.Plane) -> np.ndarray:
    """Painted blotches: thresholded clouds in three colours."""
    rng, base = plane.rng, fields.colour(plane.rng)
    along, across = np.exp(rng.uniform(0.3, 2.6, 2))
    picture = np.broadcast_to(base, (*plane.u.shape, 3))
    for _ in range(rng.integers(1, 4)):
        cloud = fields.noise(plane, along, across)
        soft = rng.uniform(0.05, 1)
        edge = fields.ramp(cloud, rng.uniform(-0.8, 0.8), soft)
        picture = fields.mix(picture, fields.partner(rng, base, (0.08, 0.3)), edge)
    return fields.shade(picture, 0.05 * fields.noise(plane, 0.8))


EXTRA = {
    "printed wallpaper": print_paper,
    "striped cloth": stripe_cloth,
    "painted surface": camouflage,
}


SURFACES = (*textures.TRAIN_CLASSES.values(), *EXTRA)
"""Names of all surfaces that pre-training shows."""


def make_example(seed: int, number: int) -> Example:
    """A picture of any pre-training surface, damaged twice in three."""
    rng = np.random.default_rng([seed, number])
    defect = str(rng.choice(textures.TRAIN_DEFECTS)) if rng.random() < 0.65 else None
    if rng.random() < 0.5:
        name = str(rng.choice(list(EXTRA)))
        clean = fields.light(EXTRA[name](fields.make_plane(rng, textures.SIZE)), rng)
        mask = np.zeros((textures.SIZE, textures.SIZE), bool)
        if defect:
            clean, mask = defects.damage(clean, defect, rng)
        image, mask = np.round(clean * 255).astype(np.uint8), mask.astype(np.uint8)
    else:
        surface = str(rng.choice(list(textures.TRAIN_CLASSES)))
        name = textures.TRAIN_CLASSES[surface]
        image, mask = textures.render(surface, defect, [seed, 1, number], textures.SIZE)
    return Example(image, mask, name, defect)


def augment(example: Example, rng: np.random.Generator) -> Example:
    """Turn, mirror and recolour; the captions are made afterwards."""
    image, mask = example.image, example.mask
    turns = rng.integers(4)
    image, mask = np.rot90(image, turns), np.rot90(mask, turns)
    if rng.random() < 0.5:
        image, mask = image[:, ::-1], mask[:, ::-1]
    image = image[..., rng.permutation(3)]
    levels = np.linspace(0, 1, 256) ** np.exp(rng.uniform(-0.3, 0.3))
    table = np.clip(255 * (levels * rng.uniform(0.8, 1.1)), 0, 255).astype(np.uint8)
    return example._replace(image=table[image], mask=mask)
