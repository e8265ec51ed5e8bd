"""Where the image tower is tapped, and where its V-V path begins."""

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


def first_vv_block(depth: int, chosen: int = 0) -> int:
    """The first block with a V-V path: the one asked for, from 1, or depth // 4."""
    return chosen or max(depth // 4, 1)
