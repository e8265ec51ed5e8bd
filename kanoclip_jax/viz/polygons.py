"""Regions as polygons along the edges of their pixels, holes included."""

import numpy as np
from jaxtyping import Bool


def trace_region(mask: Bool[np.ndarray, "h w"]) -> list[int]:
    """The polygon of an 8-connected region: its pixels exactly, as one ring.

    A ring knows no holes, and tools fill what they are not told of. So each hole is
    joined to what lies above it by a seam that the ring goes up and down again: what is
    filled, by either rule of filling, are the region's own pixels.

    Args:
        mask: the region's pixels, at least one.

    Returns:
        `[x, y, x, y, …]`, whole pixels from the upper left corner of the mask; the last
        point is joined to the first.
    """
    nodes, below, west = _find_corners(np.pad(mask, 1))
    y, x, east, south = nodes
    width = mask.shape[1] + 1
    following = np.empty(len(x), np.intp)
    # Edges from left to right, then from top to bottom; the region is on their right.
    left, right = _paired(np.lexsort((east, x, y)))
    down = below[left]
    following[left[down]], following[right[~down]] = right[down], left[~down]
    top, bottom = _paired(np.lexsort((south, y, x)))
    inside = west[top]
    following[top[inside]], following[bottom[~inside]] = bottom[inside], top[~inside]
    ceilings = left[down]
    keys = y[ceilings] * width + x[ceilings]
    xs, ys, after = x.tolist(), y.tolist(), following.tolist()
    # The first ring is the outer one: its first corner is the first of all.
    for first, last in sorted(_rings(after)[1:], key=lambda ring: -xs[ring[0]]):
        column, row = xs[first], ys[first]
        outside = np.flatnonzero(~mask[:row, column])
        up = int(outside[-1]) + 1 if len(outside) else 0
        edge = np.searchsorted(keys, up * width + column, side="right") - 1
        _join(xs, ys, after, int(ceilings[edge]), (first, last), up)
    return _follow(xs, ys, after)


def _find_corners(
    padded: np.ndarray,
) -> tuple[tuple[np.ndarray, ...], np.ndarray, np.ndarray]:
    """The corners of all rings, row by row.

    Returns:
        Of each its row and column, whether its level edge leads right, and its upright
        one down; whether the region is to the right below it, and to the left below it.
    """
    nw, ne = padded[:-1, :-1], padded[:-1, 1:]
    sw, se = padded[1:, :-1], padded[1:, 1:]
    crossed = (nw == se) & (ne == sw) & (nw != ne)
    plain = (nw ^ ne ^ sw ^ se).nonzero()
    twice = crossed.nonzero()
    # Where two pixels touch over a corner, the region goes through between the two
    # outside: each ring turns around one of these.
    falling = nw[twice]
    true, false = np.ones_like(falling), np.zeros_like(falling)
    places = [np.concatenate([p, t, t]) for p, t in zip(plain, twice, strict=True)]
    east = np.concatenate([(ne != se)[plain], false, true])
    south = np.concatenate([(sw != se)[plain], falling, ~falling])
    order = np.lexsort((east, places[1], places[0]))
    y, x = places[0][order], places[1][order]
    return (y, x, east[order], south[order]), se[y, x], sw[y, x]


def _paired(order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return order[::2], order[1::2]


def _rings(after: list[int]) -> list[tuple[int, int]]:
    """The first corner of each ring, and the one before it."""
    seen = bytearray(len(after))
    rings = []
    for first in range(len(after)):
        if seen[first]:
            continue
        node = first
        while True:
            seen[node] = 1
            if after[node] == first:
                break
            node = after[node]
        rings.append((first, node))
    return rings


def _join(
    xs: list[int],
    ys: list[int],
    after: list[int],
    edge: int,
    hole: tuple[int, int],
    up: int,
) -> None:
    """Join a hole to the edge above it: there, around it, and back.

    Args:
        xs: columns of the corners; some are added, as to the following.
        ys: their rows.
        after: which follows which.
        edge: the corner that the edge begins with.
        hole: its first corner, and its last.
        up: the row of the edge.
    """
    first, last = hole
    column, row, back = xs[first], ys[first], len(after)
    xs += [column, column]
    ys += [row, up]
    after += [back + 1, after[edge]]
    after[last] = back
    if xs[edge] == column:
        after[edge] = first
    else:
        xs.append(column)
        ys.append(up)
        after.append(first)
        after[edge] = back + 2


def _follow(xs: list[int], ys: list[int], after: list[int]) -> list[int]:
    points = [xs[0], ys[0]]
    node = after[0]
    while node:
        points += (xs[node], ys[node])
        node = after[node]
    return points
