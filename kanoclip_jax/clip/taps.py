"""Where the image tower is tapped: after which of its blocks."""

from kanoclip_jax.errors import InputError


def tapped_blocks(depth: int, chosen: tuple[int, ...] = ()) -> tuple[int, ...]:
    """Blocks after which tokens are taken, ascending.

    Args:
        depth: blocks of the tower.
        chosen: those asked for, from 1; depth · {1, 2, 3, 4} // 4 if empty.

    Raises:
        InputError: the tower has no such block.
    """
    for tap in chosen:
        if not 1 <= tap <= depth:
            raise InputError(
                f"model.taps holds {tap}; this CLIP has blocks 1 to {depth}"
            )
    quarters = [max(depth * quarter // 4, 1) for quarter in (1, 2, 3, 4)]
    return tuple(sorted(set(chosen or quarters)))
