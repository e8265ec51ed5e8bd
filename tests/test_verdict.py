"""The verdict: thresholds outlive what arithmetic moves, and no number is no verdict."""

import numpy as np
import pytest

from kanoclip_jax.verdict import is_above, label, margin, no_number, shown


@pytest.mark.parametrize(
    ("score", "expected"),
    [(0.5, 2.5e-4), (0.39, 2.38e-4), (0.1, 9e-5), (0.98, 1.97e-5), (1e-6, 1.2e-7)],
)
def test_the_room_above_a_score(score, expected):
    """A thousandth of log-odds, which is d · p · (1 - p), and rounding."""
    assert margin(score) == pytest.approx(expected, rel=0.01)


def test_half_precision_needs_more_room():
    assert margin(0.5, "bfloat16") == pytest.approx(0.025, rel=0.01)
    # What batches of 1 and of 16 gave of one picture.
    assert not is_above(0.1960, 0.1884 + margin(0.1884, "bfloat16"))


def test_a_threshold_lies_above_its_score_and_within_reach():
    scores = np.concatenate([np.linspace(0, 1, 1001), [1e-9, 9.7e-8, 1 - 1e-9]])
    lifted = scores + margin(scores)
    assert (lifted[scores < 1] > scores[scores < 1]).all()
    assert (lifted <= 1).all()
    # What two runtimes differ by stays below; another picture stays above.
    assert not is_above(scores * (1 + 1e-5), lifted)[scores < 0.99].any()
    assert is_above(0.395, 0.39 + margin(0.39))


def test_twenty_times_one_picture_in_other_batches():
    """What a user saw: 20 of 20 anomalous by the last bit of a batch of 16."""
    threshold = 0.390132874 + margin(0.390132874)
    for moved in (0.390132904, 0.390132844, 0.39017):
        assert label(moved, threshold) == "normal"
    assert label(0.3905, threshold) == "anomalous"


def test_scores_are_compared_in_double_precision():
    low = np.float32(0.5)
    between = (float(low) + float(np.nextafter(low, np.float32(1)))) / 2
    assert is_above(np.nextafter(low, np.float32(1)), between)
    assert not is_above(low, between)
    assert not is_above(np.array([0.25], np.float16), 0.25)[0]


@pytest.mark.parametrize("score", [float("nan"), float("inf"), np.float32("-inf")])
def test_what_is_no_number_gets_no_label(score):
    with pytest.raises(ValueError, match="no number"):
        label(score, 0.5)


def test_what_of_a_result_is_no_number():
    nan, inf = float("nan"), float("inf")
    assert no_number(0.1, 0, 1) is None
    assert no_number(nan, 0, 1) == "its score is nan"
    assert no_number(0.1, nan, nan) == "its anomaly map holds nan"
    assert no_number(0.1, 0, inf) == "its anomaly map holds inf"


@pytest.mark.parametrize(
    ("threshold", "text"),
    [
        (9.7e-08, "9.7e-08"),
        (0.390132874, "0.390133"),
        (0.0, "0.000000"),
        (1.0, "1.000000"),
        (0.00012345678, "0.0001235"),
        (1 - 1.234e-7, "0.9999998766"),
    ],
)
def test_a_threshold_is_shown_in_digits_that_tell_it(threshold, text):
    assert shown(threshold) == text
