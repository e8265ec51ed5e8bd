"""Maps of many sizes in one state: exact figures, few programs, constant memory."""

import pickle
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pixel_reference import draw_maps, exact_aupro, flat, label_regions
from sklearn.metrics import average_precision_score, roc_auc_score

from kanoclip_jax.metrics import histograms, pixel
from kanoclip_jax.metrics.histograms import PixelHistogram
from kanoclip_jax.metrics.report import ClassMetrics

# The last two fill one piece exactly, and several with a rest.
SIZES = [(40, 40), (48, 64), (71, 33), (1, 9), (128, 120), (256, 256), (301, 310)]


def draw_sizes(sizes: list[tuple[int, int]]) -> tuple[list, list, list]:
    """A map, a mask and its regions of each size."""
    maps, masks = draw_maps("smooth", 0.03)
    cut = [
        [
            np.pad(image, ((0, 192), (0, 192)), "reflect")[:height, :width]
            for image, (height, width) in zip(images, sizes, strict=False)
        ]
        for images in (maps, masks)
    ]
    return *cut, [label_regions(mask[None])[0] for mask in cut[1]]


def test_metrics_equal_the_exact_ones():
    maps, masks, regions = draw_sizes(SIZES)
    histogram = PixelHistogram()
    for anomaly_map, labels in zip(maps, regions, strict=True):
        histogram.update(anomaly_map, labels)
    scores, truth = flat(maps), flat(masks)
    assert histogram.negatives.sum() == np.count_nonzero(~truth)
    assert histogram.positives.sum() == np.count_nonzero(truth)
    assert histogram.regions == sum(int(labels.max()) for labels in regions)
    assert (histogram.lowest, histogram.highest) == (scores.min(), scores.max())
    assert pixel.auroc(histogram) == pytest.approx(
        roc_auc_score(truth, scores), abs=1e-5
    )
    assert pixel.average_precision(histogram) == pytest.approx(
        average_precision_score(truth, scores), abs=5e-5
    )
    assert pixel.aupro(histogram) == pytest.approx(exact_aupro(maps, masks), abs=1e-5)


def test_a_map_counts_the_same_on_host_and_device():
    states = [PixelHistogram(), PixelHistogram()]
    maps, _, regions = draw_sizes(SIZES)
    for anomaly_map, labels in zip(maps[4:], regions[4:], strict=True):
        states[0].update(anomaly_map, labels)
        states[1].update(jnp.asarray(anomaly_map), labels)
    for name in ("negatives", "positives", "overlap"):
        np.testing.assert_array_equal(*(getattr(state, name) for state in states))


@pytest.fixture
def compilations() -> Iterator[list[str]]:
    """JAX's own events of every compilation, eager operations included."""
    seen = []

    def note(event: str, *_: object, **__: object) -> None:
        if "compile" in event:
            seen.append(event)

    jax.monitoring.register_event_duration_secs_listener(note)
    yield seen
    jax.monitoring.unregister_event_duration_listener(note)


def test_new_sizes_compile_nothing(compilations: list[str]):
    def see(side: int) -> None:
        anomalous = np.zeros((side, 50), np.int32)
        anomalous[0, 0] = 1
        for regions in (anomalous, 0 * anomalous):
            scores = np.linspace(0, side / 50, regions.size, dtype=np.float32)
            metrics.update(0.5, 1, scores.reshape(regions.shape), regions)

    jax.jit(lambda x: x + 1)(np.zeros(3))
    assert compilations
    metrics = ClassMetrics(has_masks=True)
    programs = histograms._add, histograms._add_normal
    sizes = [[program._cache_size() for program in programs]]
    for side in range(10, 12):
        see(side)
    sizes.append([program._cache_size() for program in programs])
    compilations.clear()
    for side in range(20, 50):
        see(side)
    sizes.append([program._cache_size() for program in programs])
    assert compilations == []
    assert sizes[2] == sizes[1]
    assert np.subtract(sizes[1], sizes[0]).max() <= 2


def test_memory_does_not_grow_with_the_images():
    maps, _, regions = draw_sizes(SIZES)
    metrics, sizes = ClassMetrics(has_masks=True), []
    for _ in range(3):
        for anomaly_map, labels in zip(maps, regions, strict=True):
            metrics.update(0.5, 1, anomaly_map, labels)
        sizes.append(len(pickle.dumps(metrics)))
    # What remains of an image is its score and its label.
    assert sizes[0] < 2**24
    assert sizes[2] - sizes[0] < 2 * len(SIZES) * 32
