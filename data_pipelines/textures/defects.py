"""Kinds of damage painted onto a finished picture, each with its exact extent."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image, ImageDraw
from scipy import ndimage

from data_pipelines.textures.fields import UNITS, colour, mix

Picture = Float[np.ndarray, "h w 3"]
Field = Float[np.ndarray, "h w"]
Paint = Callable[[Picture, np.random.Generator], tuple[Picture, Field]]

VISIBLE = 14
"""Grey levels by which a channel must change for a pixel to count as altered."""

_AREA = (0.003, 0.08)
_FINE = 3


def _spot(rng: np.random.Generator) -> tuple[float, float]:
    """A point, in units, away from the border."""
    return tuple(rng.uniform(0.14, 0.86, 2) * UNITS)


def _offsets(size: int, x: float, y: float) -> tuple[Field, Field]:
    rows, columns = np.mgrid[:size, :size] * (UNITS / size)
    return columns - x, rows - y


def _blob(
    rng: np.random.Generator, size: int, radius: tuple[float, float], rough: float
) -> Field:
    """Distance from a random closed outline as a share of its radius: 1 on it."""
    dx, dy = _offsets(size, *_spot(rng))
    turn, stretch = rng.uniform(0, np.pi), np.exp(rng.uniform(-0.3, 0.3))
    along = (np.cos(turn) * dx + np.sin(turn) * dy) * stretch
    across = (np.cos(turn) * dy - np.sin(turn) * dx) / stretch
    angle = np.arctan2(across, along)
    outline = np.ones_like(dx)
    for wave in range(2, 7):
        outline += (
            rough / wave * rng.normal() * np.cos(wave * angle + rng.uniform(0, 6))
        )
    return np.hypot(along, across) / (rng.uniform(*radius) * np.maximum(outline, 0.35))


def _inside(share: Field, soft: float) -> Field:
    return np.clip((1 - share) / soft + 0.5, 0, 1)


def _stroke(
    size: int, points: Float[np.ndarray, "p 2"], widths: Float[np.ndarray, " p"]
) -> Field:
    """Anti-aliased coverage of a line through points in units, thick or tapering."""
    fine = size * _FINE / UNITS
    canvas = Image.new("L", (size * _FINE, size * _FINE))
    draw = ImageDraw.Draw(canvas)
    for (x, y), width in zip(points * fine, widths * fine / 2, strict=True):
        draw.ellipse((x - width, y - width, x + width, y + width), fill=255)
    cover = np.asarray(canvas, np.float64).reshape(size, _FINE, size, _FINE)
    return cover.mean((1, 3)) / 255


def _line(
    rng: np.random.Generator, length: tuple[float, float], wander: float, step: float
) -> Float[np.ndarray, "p 2"]:
    """Points 0.4 units apart along a random walk in direction, centred on a spot."""
    count = int(rng.uniform(*length) / 0.4)
    turns = np.zeros(count)
    turns[:: max(int(step / 0.4), 1)] = rng.normal(
        0, wander, len(turns[:: max(int(step / 0.4), 1)])
    )
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(turns)
    points = np.cumsum(0.4 * np.stack([np.cos(heading), np.sin(heading)], -1), 0)
    return points - points[count // 2] + _spot(rng)


def _relief(clean: Picture, change: Field) -> Picture:
    """Lighter or darker by a share, with a little of it even on black."""
    return clean * (1 + change)[..., None] + 0.25 * change[..., None]


def _level(clean: Picture, cover: Field) -> float:
    return float((clean.mean(-1) * cover).sum() / max(cover.sum(), 1e-6))


def scratch(clean: Picture, rng: np.random.Generator) -> tuple[Picture, Field]:
    """One to three thin, nearly straight marks, lighter or darker than the ground."""
    line = _line(rng, (30, 75), 0.06, 4)
    width = rng.uniform(2.2, 3.4)
    gap = rng.normal(0, 4, (rng.integers(1, 4), 2))
    cover = np.max(
        [_stroke(len(clean), line + g, np.full(len(line), width)) for g in gap], 0
    )
    sign = 1 if _level(clean, cover) < rng.uniform(0.45, 0.7) else -1
    return _relief(clean, np.full(cover.shape, sign * rng.uniform(0.5, 0.7))), cover


def hole(clean: Picture, rng: np.random.Generator) -> tuple[Picture, Field]:
    """A ragged hole onto something dark, with a lit rim."""
    share = _blob(rng, len(clean), (5, 12), 0.35)
    depth = np.broadcast_to(colour(rng, (0.02, 0.12), (0, 0.4)), clean.shape)
    rim = _relief(clean, np.full(share.shape, rng.uniform(0.2, 0.35)))
    return mix(rim, depth, _inside(share / 0.86, 0.15)), _inside(share, 0.12)


def stain(clean: Picture, rng: np.random.Generator) -> tuple[Picture, Field]:
    """A soaked-in liquid: tinted, darker towards its edge, the ground showing through."""
    share = _blob(rng, len(clean), (9, 19), 0.3)
    tint = colour(rng, (0.45, 0.75), (0.3, 0.8))
    edge = np.exp(-(((share - 0.9) / 0.12) ** 2))
    soaked = clean * tint * rng.uniform(0.8, 1.1)
    return _relief(soaked, -0.25 * edge), _inside(share, 0.2) * rng.uniform(0.75, 1)


def crack(clean: Picture, rng: np.random.Generator) -> tuple[Picture, Field]:
    """A dark jagged line that branches."""
    trunk = _line(rng, (45, 90), 0.55, 3)
    cover = _stroke(len(clean), trunk, np.linspace(2.4, 1.0, len(trunk)))
    for _ in range(rng.integers(1, 4)):
        branch = _line(rng, (12, 30), 0.5, 3)
        branch += trunk[rng.integers(len(trunk))] - branch[0]
        twig = _stroke(len(clean), branch, np.linspace(1.8, 0.8, len(branch)))
        cover = np.maximum(cover, twig)
    return clean * rng.uniform(0.1, 0.35), cover


def bump(clean: Picture, rng: np.random.Generator) -> tuple[Picture, Field]:
    """A swelling or a dent: the pattern is stretched and lit from one side."""
    size = len(clean)
    x, y = _spot(rng)
    dx, dy = _offsets(size, x, y)
    share = np.hypot(dx, dy) / rng.uniform(8, 15)
    dome = np.clip(1 - share**2, 0, 1)
    squeeze = 1 - rng.uniform(0.35, 0.6) * dome
    rows = (y + dy * squeeze) * size / UNITS
    columns = (x + dx * squeeze) * size / UNITS
    bent = np.stack(
        [
            ndimage.map_coordinates(
                clean[..., c], [rows, columns], order=1, mode="nearest"
            )
            for c in range(3)
        ],
        -1,
    )
    light = rng.uniform(0, 2 * np.pi)
    slope = (np.cos(light) * dx + np.sin(light) * dy) / np.maximum(
        np.hypot(dx, dy), 1e-6
    )
    lit = rng.uniform(0.5, 0.8) * slope * np.minimum(share, 1) ** 0.7
    return _relief(bent, lit), _inside(share, 0.1)


def discolouration(clean: Picture, rng: np.random.Generator) -> tuple[Picture, Field]:
    """A region whose colour was shifted, its pattern intact."""
    share = _blob(rng, len(clean), (8, 18), 0.45)
    shift = rng.normal(size=3)
    shift -= 0.5 * shift.mean()
    shift *= rng.uniform(0.16, 0.26) / np.abs(shift).max()
    return clean + shift, _inside(share, 0.08)


def thread(clean: Picture, rng: np.random.Generator) -> tuple[Picture, Field]:
    """A foreign thread that lies in curls on the surface and casts a shadow."""
    line = _line(rng, (60, 130), 0.3, 3)
    width = rng.uniform(1.8, 3)
    body = _stroke(len(clean), line, np.full(len(line), width))
    shadow = _stroke(len(clean), line + 0.7, np.full(len(line), width + 0.6))
    dark = _level(clean, body) > 0.5
    value = (0.05, 0.3) if dark else (0.75, 1.0)
    painted = mix(clean * 0.6, colour(rng, value, (0.1, 0.9)), body)
    return painted, np.maximum(body, shadow)


def missing(clean: Picture, rng: np.random.Generator) -> tuple[Picture, Field]:
    """A place where the pattern is worn away to the ground's mean colour."""
    share = _blob(rng, len(clean), (8, 16), 0.3)
    cover = _inside(share, 0.1)
    mean = (clean * cover[..., None]).sum((0, 1)) / max(cover.sum(), 1e-6)
    sign = 1 if mean.mean() < rng.uniform(0.4, 0.7) else -1
    grain = rng.normal(0, 0.015, clean.shape[:2])[..., None]
    return mean + sign * rng.uniform(0.05, 0.14) + grain, cover


def cut(clean: Picture, rng: np.random.Generator) -> tuple[Picture, Field]:
    """A straight slit that gapes in the middle, with a frayed lighter edge."""
    line = _line(rng, (24, 55), 0.01, 6)
    gape = np.sin(np.linspace(0.05, 0.95, len(line)) * np.pi)
    width = rng.uniform(2.5, 4.5) * gape + 0.6
    slit = _stroke(len(clean), line, width)
    edge = _stroke(len(clean), line, width + 1.6)
    frayed = _relief(clean, np.full(edge.shape, rng.uniform(0.25, 0.4)))
    return mix(frayed, np.full(3, rng.uniform(0.02, 0.1)), slit), edge


def smear(clean: Picture, rng: np.random.Generator) -> tuple[Picture, Field]:
    """A wiped trail of grease: the pattern dragged along under a dark or pale film."""
    line = _line(rng, (22, 45), 0.08, 4)
    cover = _stroke(len(clean), line, np.full(len(line), rng.uniform(7, 12)))
    drag = np.stack([ndimage.gaussian_filter(clean[..., c], 4) for c in range(3)], -1)
    sign = 1 if _level(clean, cover) < 0.35 else -1
    streaks = 0.06 * ndimage.gaussian_filter(rng.normal(size=cover.shape), 1) / 0.28
    film = sign * rng.uniform(0.5, 0.65) + streaks
    return _relief(0.75 * drag + 0.25 * clean, film), cover


def burn(clean: Picture, rng: np.random.Generator) -> tuple[Picture, Field]:
    """A scorched patch: black in the middle, brown towards the edge."""
    share = _blob(rng, len(clean), (8, 17), 0.35)
    brown = clean * np.array([0.62, 0.42, 0.26]) * rng.uniform(0.8, 1.1)
    return mix(brown, clean * 0.12, _inside(share / 0.6, 0.7)), _inside(share, 0.3)


def corrosion(clean: Picture, rng: np.random.Generator) -> tuple[Picture, Field]:
    """A cluster of rust-brown pits, dark in the middle."""
    size = len(clean)
    x, y = _spot(rng)
    cover = np.zeros((size, size))
    for _ in range(rng.integers(7, 15)):
        dx, dy = _offsets(size, x + rng.normal(0, 7), y + rng.normal(0, 7))
        share = np.hypot(dx, dy) / rng.uniform(1.8, 4.5)
        cover = np.maximum(cover, _inside(share, 0.3))
    rust = np.array([0.36, 0.17, 0.06]) * rng.uniform(0.6, 1.1)
    grain = 1 + 0.25 * ndimage.gaussian_filter(rng.normal(size=cover.shape), 0.7)
    return np.clip(rust * grain[..., None], 0, 1) * np.ones_like(clean), cover


KINDS: dict[str, Paint] = {
    paint.__name__: paint
    for paint in (
        scratch,
        hole,
        stain,
        crack,
        bump,
        discolouration,
        thread,
        missing,
        cut,
        smear,
        burn,
        corrosion,
    )
}


def damage(
    clean: Picture, kind: str, rng: np.random.Generator, attempts: int = 12
) -> tuple[Picture, Bool[np.ndarray, "h w"]]:
    """Paint one defect, and again elsewhere until it is visible and of fair size.

    Args:
        clean: the flawless picture, in [0, 1].
        kind: a key of `KINDS`.
        rng: the defect's own random stream.
        attempts: tries before the last one is kept as it is.

    Returns:
        The picture and the mask; outside the mask it equals `clean` exactly.
    """
    for _ in range(attempts):
        painted, cover = KINDS[kind](clean, rng)
        painted = np.clip(mix(clean, painted, cover), 0, 1)
        altered = (np.abs(painted - clean).max(-1) * 255 >= VISIBLE) & (cover > 0.2)
        # A pattern crosses the ground's own colour in places: close those gaps.
        mask = ndimage.binary_closing(altered, iterations=2) & (cover > 0.2)
        mask |= altered
        if _AREA[0] <= mask.mean() <= _AREA[1]:
            break
    return np.where(mask[..., None], painted, clean), mask
