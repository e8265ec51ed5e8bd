"""Image metrics, exact, by scikit-learn; each is None where it is not defined."""

from collections.abc import Sequence

import numpy as np
from sklearn.metrics import (
    average_precision_score,
    precision_recall_curve,
    roc_auc_score,
)

Scores = Sequence[float]
Labels = Sequence[int]


def auroc(scores: Scores, labels: Labels) -> float | None:
    """Area under the ROC curve."""
    return float(roc_auc_score(labels, scores)) if _has_both(labels) else None


def average_precision(scores: Scores, labels: Labels) -> float | None:
    """Step-wise average precision."""
    return float(average_precision_score(labels, scores)) if _has_both(labels) else None


def f1_max(scores: Scores, labels: Labels) -> float | None:
    """The best F1 over all thresholds."""
    if not _has_both(labels):
        return None
    precision, recall, _ = precision_recall_curve(labels, scores)
    total = precision + recall
    f1 = 2 * precision * recall / np.where(total > 0, total, 1)
    return float(f1.max())


def _has_both(labels: Labels) -> bool:
    return len(set(labels)) == 2
