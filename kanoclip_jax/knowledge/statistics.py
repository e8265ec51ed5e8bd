"""What a knowledge base holds of a class: counts, lengths, repetitions, extremes."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from kanoclip_jax.knowledge.store import Record


class Likeness(NamedTuple):
    """A sentence, and the cosine of its feature with the class's mean."""

    text: str
    cosine: float


@dataclass(frozen=True)
class ClassStatistics:
    """One class's sentences.

    Attributes:
        sources: how many abnormal sentences each source gave.
        background: how many say what a normal one looks like.
        tokens: how long each sentence is, start and end included.
        repeated: sentences that are there already,
        repeated_folded: and those that differ from one in capitals or spaces at most.
        nearest, farthest: abnormal sentences, None where there are none.
    """

    sources: Mapping[str, int]
    background: int
    tokens: Sequence[int]
    repeated: int
    repeated_folded: int
    nearest: Likeness | None
    farthest: Likeness | None


def class_statistics(
    records: Sequence[Record],
    features: Mapping[str, Float[np.ndarray, " d"]],
    mean: Float[np.ndarray, " d"] | None,
    count: Callable[[str], int],
) -> ClassStatistics:
    """Describe the sentences of one class.

    Args:
        records: that class's, of both polarities.
        features: of each text, of any length.
        mean: unit knowledge mean of the class, None where it has no abnormal sentence.
        count: tokens of a text.
    """
    texts = [record.text for record in records]
    folded = {" ".join(text.casefold().split()) for text in texts}
    abnormal = [record for record in records if record.polarity == "abnormal"]
    likeness = []
    if mean is not None:
        likeness = [
            Likeness(
                text, float(features[text] @ mean / np.linalg.norm(features[text]))
            )
            for text in dict.fromkeys(record.text for record in abnormal)
        ]
    return ClassStatistics(
        sources=Counter(record.source for record in abnormal),
        background=len(records) - len(abnormal),
        tokens=[count(text) for text in texts],
        repeated=len(texts) - len(set(texts)),
        repeated_folded=len(texts) - len(folded),
        nearest=max(likeness, key=lambda found: found.cosine, default=None),
        farthest=min(likeness, key=lambda found: found.cosine, default=None),
    )
