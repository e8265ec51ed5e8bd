"""k-means against scikit-learn's, and by hand."""

import jax.numpy as jnp
import numpy as np
from sklearn.cluster import KMeans

from kanoclip_jax.ops.clusters import k_means, mean_of_centres


def within(points: np.ndarray, labels: np.ndarray) -> float:
    """The sum of squared distances to the clusters' means."""
    return sum(
        float(np.square(own - own.mean(0)).sum())
        for own in (points[labels == label] for label in np.unique(labels))
    )


def test_sums_of_squares_are_not_above_those_of_k_means_plus_plus() -> None:
    draw = np.random.default_rng(0)
    centres = draw.normal(size=(3, 12, 16))
    points = np.stack([own[draw.integers(0, 12, 100)] for own in centres])
    points += draw.normal(size=points.shape) * draw.exponential(0.5, (3, 100, 1))
    found = np.asarray(k_means(jnp.asarray(points, jnp.float32), 20))
    for own, labels in zip(points, found, strict=True):
        assert len(np.unique(labels)) == 20
        others = [
            KMeans(20, n_init=1, random_state=seed).fit(own).inertia_
            for seed in range(10)
        ]
        assert within(own, labels) < np.mean(others)
        # Lloyd's steps have come to their end: every point is with its nearest mean.
        means = np.stack([own[labels == label].mean(0) for label in range(20)])
        nearest = np.square(own[:, None] - means).sum(-1).argmin(1)
        np.testing.assert_array_equal(labels, nearest)


def test_clear_groups_and_the_mean_of_their_means() -> None:
    group = np.array([0, 0, 0, 1, 2, 2])
    offsets = np.array([[0.0, 0], [9, 0], [0, 9]])
    points = offsets[group] + 0.1 * np.arange(12).reshape(6, 2)
    both = jnp.asarray(np.stack([points, points[::-1]]), jnp.float32)
    labels = np.asarray(k_means(both, 3))
    for own, expected in zip(labels, (group, group[::-1]), strict=True):
        together = own[:, None] == own
        np.testing.assert_array_equal(together, expected[:, None] == expected)
    # Three points, one and two: of each group's mean a third.
    means = [points[:3].mean(0), points[3], points[4:].mean(0)]
    expected = np.tile(np.mean(means, axis=0), (2, 1))
    np.testing.assert_allclose(mean_of_centres(both, labels), expected, rtol=1e-5)


def test_equal_points_and_fewer_points_than_clusters() -> None:
    same = jnp.ones((1, 4, 3))
    labels = k_means(same, 2)
    assert len(np.unique(labels)) == 1
    np.testing.assert_allclose(mean_of_centres(same, labels), np.ones((1, 3)))
    few = jnp.asarray(np.eye(3)[None], jnp.float32)
    assert len(np.unique(k_means(few, 20))) == 3
