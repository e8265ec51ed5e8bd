"""Arrays that hold no numbers, found where they come from: no result is made of them."""

from typing import Any

import jax
import numpy as np

from kanoclip_jax.errors import InputError

# The least infinity as an integer, by dtype: what lies above it is infinite or NaN.
_INFINITY = {"float16": 0x7C00, "bfloat16": 0x7F80, "float32": 0x7F800000}


def all_finite(array: Any) -> bool:
    """Whether an array holds numbers only; what is no float does.

    Of half and single precision in two passes that copy nothing: read as signed
    integers positive numbers are in order, and as unsigned ones negative numbers.
    """
    array = np.asarray(array)
    infinity = _INFINITY.get(array.dtype.name)
    if infinity is None:
        floating = np.issubdtype(array.dtype, np.inexact)
        return not floating or bool(np.isfinite(array).all())
    if not array.size:
        return True
    bits = 8 * array.dtype.itemsize
    below = array.view(f"i{bits // 8}").max() < infinity
    return bool(
        below and array.view(f"u{bits // 8}").max() < infinity + (1 << bits - 1)
    )


def check_finite(tree: Any, whose: str, remedy: str) -> None:
    """Refuse arrays that hold no numbers.

    Args:
        tree: of arrays.
        whose: what they are of, for the message.
        remedy: what to do.

    Raises:
        InputError: names the first array that holds NaN or an infinity.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if not all_finite(leaf):
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            where = f" in {name}" if name else ""
            raise InputError(
                f"{whose} holds NaN or infinity{where}, and what is computed with it "
                f"is no result; {remedy}"
            )
