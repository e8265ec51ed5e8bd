"""Image metrics, exact, by scikit-learn; each is None where it is not defined."""

from collections.abc import Sequence

import numpy as np
from sklearn.metrics import (
    average_precision_score,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
)

from kanoclip_jax.metrics.curves import Curve, ScoreHistogram, score_edges

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
    curve = precision_recall(scores, labels)
    if curve is None:
        return None
    recall, precision = curve
    total = precision + recall
    f1 = 2 * precision * recall / np.where(total > 0, total, 1)
    return float(f1.max())


def roc(scores: Scores, labels: Labels) -> Curve | None:
    """True-positive rate against false-positive rate, corners alone."""
    if not _has_both(labels):
        return None
    false, true, _ = roc_curve(labels, scores)
    return Curve(false, true)


def precision_recall(scores: Scores, labels: Labels) -> Curve | None:
    """Precision against recall, from (0, 1) on."""
    if not _has_both(labels):
        return None
    precision, recall, _ = precision_recall_curve(labels, scores)
    return Curve(recall[::-1], precision[::-1])


def histogram(scores: Scores, labels: Labels, bins: int) -> ScoreHistogram | None:
    """How many normal and anomalous images have which score."""
    if not scores:
        return None
    edges = score_edges(min(scores), max(scores), bins)
    normal, anomalous = (
        np.histogram(np.compress(np.equal(labels, label), scores), edges)[0]
        for label in (0, 1)
    )
    return ScoreHistogram(edges, normal, anomalous)


def _has_both(labels: Labels) -> bool:
    return len(set(labels)) == 2
