"""Arrays without numbers: found in every dtype, and named."""

import ml_dtypes
import numpy as np
import pytest

from kanoclip_jax.errors import InputError
from kanoclip_jax.finite import all_finite, check_finite

DTYPES = (np.float16, ml_dtypes.bfloat16, np.float32, np.float64)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("sign", [1, -1])
def test_one_of_many_is_found(dtype, bad, sign):
    values = np.abs(np.random.default_rng(0).normal(size=(40, 25)))
    good = (sign * values).astype(dtype)
    good[0, 0] = sign * float(ml_dtypes.finfo(dtype).max)
    assert all_finite(good) and all_finite(good.T) and all_finite(good[::3])
    good[12, 20] = bad
    assert not all_finite(good) and not all_finite(good.T)
    assert not all_finite(good[::3, ::4])
    assert all_finite(good[1::3])


def test_what_is_no_float_is_a_number():
    assert all_finite(np.arange(3)) and all_finite(np.zeros(0, np.float16))
    assert all_finite(1.5) and not all_finite(float("nan"))


def test_the_array_is_named():
    tree = {"head": {"kernel": np.ones(3), "bias": np.array([np.inf])}}
    check_finite({"head": {"kernel": np.ones(3)}}, "it", "remedy")
    with pytest.raises(InputError, match="it holds NaN or infinity in head/bias.*redo"):
        check_finite(tree, "it", "redo")
