"""Image metrics: literal values, scikit-learn, and what is undefined."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, roc_auc_score

from kanoclip_jax.metrics import image


def test_literal_values():
    scores, labels = [0.9, 0.8, 0.7, 0.6], [1, 0, 1, 0]
    assert image.auroc(scores, labels) == 0.75
    assert image.average_precision(scores, labels) == pytest.approx((1 + 2 / 3) / 2)
    assert image.f1_max(scores, labels) == pytest.approx(0.8)


def test_ties_count_half():
    assert image.auroc([0.5, 0.5], [0, 1]) == 0.5
    assert image.average_precision([0.5, 0.5], [0, 1]) == 0.5
    assert image.f1_max([0.5, 0.5], [0, 1]) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    "labels", [[], [0], [1], [0, 0], [1, 1]], ids=lambda labels: f"{labels}"
)
def test_one_kind_of_image_is_undefined(labels: list[int]):
    scores = [0.5] * len(labels)
    assert image.auroc(scores, labels) is None
    assert image.average_precision(scores, labels) is None
    assert image.f1_max(scores, labels) is None


pairs = st.lists(
    st.tuples(st.integers(0, 12).map(lambda n: n / 12), st.integers(0, 1)),
    min_size=2,
    max_size=30,
).filter(lambda rows: len({label for _, label in rows}) == 2)


@settings(max_examples=30, deadline=None)
@given(rows=pairs, seed=st.integers(0, 99))
def test_order_does_not_matter(rows: list[tuple[float, int]], seed: int):
    mixed = [rows[i] for i in np.random.default_rng(seed).permutation(len(rows))]
    for metric in (image.auroc, image.average_precision, image.f1_max):
        assert metric(*zip(*rows, strict=True)) == metric(*zip(*mixed, strict=True))


@settings(max_examples=30, deadline=None)
@given(rows=pairs)
def test_values_against_all_thresholds(rows: list[tuple[float, int]]):
    scores, labels = (np.array(column) for column in zip(*rows, strict=True))
    assert image.auroc(scores.tolist(), labels.tolist()) == roc_auc_score(
        labels, scores
    )
    best = max(f1_score(labels, scores >= t) for t in np.unique(scores))
    assert image.f1_max(scores.tolist(), labels.tolist()) == pytest.approx(best)
