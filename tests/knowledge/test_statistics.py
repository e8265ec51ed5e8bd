"""Statistics of a class's sentences, by hand."""

import numpy as np
import pytest

from kanoclip_jax.knowledge.statistics import Likeness, class_statistics
from kanoclip_jax.knowledge.store import Record

FEATURES = {
    "a nick": np.float32([2.0, 0.0]),
    "A  Nick": np.float32([2.0, 0.1]),
    "rust": np.float32([0.0, 0.5]),
    "clean": np.float32([1.0, 1.0]),
}


def record(text: str, source: str = "llm", polarity: str = "abnormal") -> Record:
    return Record("d", "bolt", source, text, polarity=polarity)


RECORDS = [
    record("a nick"),
    record("rust", "vqa"),
    record("rust", "vqa"),
    record("A  Nick", "people"),
    record("clean", polarity="background"),
]


def count(text: str) -> int:
    return len(text) + 2


def test_statistics_by_hand() -> None:
    found = class_statistics(RECORDS, FEATURES, np.float32([0.6, 0.8]), count)
    assert found.sources == {"llm": 1, "vqa": 2, "people": 1}
    assert found.background == 1
    assert sorted(found.tokens) == [6, 6, 7, 8, 9]
    assert (found.repeated, found.repeated_folded) == (1, 2)
    assert found.nearest is not None and found.farthest is not None
    assert found.nearest.text == "rust"
    assert found.farthest.text == "a nick"
    np.testing.assert_allclose(found.nearest.cosine, 0.8, atol=1e-6)
    np.testing.assert_allclose(found.farthest.cosine, 0.6, atol=1e-6)


@pytest.mark.parametrize("records", [[], RECORDS[4:]])
def test_a_class_without_a_mean_has_no_extremes(records: list[Record]) -> None:
    found = class_statistics(records, FEATURES, None, count)
    assert found.sources == {}
    assert found.background == len(records)
    assert found.nearest is found.farthest is None


def test_a_single_sentence_is_both_extremes() -> None:
    found = class_statistics(RECORDS[:1], FEATURES, np.float32([1, 0]), count)
    assert found.nearest == found.farthest == Likeness("a nick", 1.0)
