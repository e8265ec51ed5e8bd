"""One class's row of the report, and the mean over classes."""

import json

import numpy as np
import pytest

from kanoclip_jax.metrics.report import ClassMetrics, mean_of

KEYS = [
    "image_auroc",
    "image_ap",
    "image_f1max",
    "pixel_auroc",
    "pixel_ap",
    "pixel_f1max",
    "pixel_aupro",
    "pixel_aupro_200",
    "normal",
    "anomalous",
]
# Score, label, map, regions of a normal and of two anomalous images.
IMAGES = [
    (0.2, 0, np.float32([[0.1, 0.2]]), np.int32([[0, 0]])),
    (0.9, 1, np.float32([[0.9, 0.3]]), np.int32([[1, 0]])),
    (0.1, 1, np.float32([[0.05, 0.6]]), np.int32([[0, 1]])),
]


def metrics_of(images: list, has_masks: bool = True) -> ClassMetrics:
    metrics = ClassMetrics(has_masks=has_masks)
    for score, label, anomaly_map, regions in images:
        metrics.update(score, label, anomaly_map, regions)
    return metrics


def test_a_row_has_the_keys_of_the_report():
    row = metrics_of(IMAGES).compute()
    assert list(row) == KEYS
    assert (row["normal"], row["anomalous"]) == (1, 2)
    assert row["image_auroc"] == 0.5
    assert row["pixel_auroc"] == row["pixel_aupro"] == 1
    assert json.loads(json.dumps(row)) == row


def test_normal_images_count_in_pixel_metrics():
    bright = (0.2, 0, np.float32([[0.7, 0.7]]), np.int32([[0, 0]]))
    assert metrics_of(IMAGES[1:]).compute()["pixel_auroc"] == 1
    # One of the two anomalous pixels lies below two of the four normal ones.
    assert metrics_of([*IMAGES[1:], bright]).compute()["pixel_auroc"] == 0.75


def test_without_masks_pixel_metrics_are_none():
    row = metrics_of(IMAGES, has_masks=False).compute()
    assert [row[key] for key in KEYS[3:8]] == [None] * 5
    assert row["image_auroc"] == 0.5


def test_colour_begins_where_one_normal_pixel_in_a_hundred_lies_above():
    normal = np.linspace(0, 0.5, 200, dtype=np.float32)[None]
    anomalous = np.float32([[0.2, 0.6]])
    images = [
        (0.2, 0, normal, np.zeros((1, 200), np.int32)),
        (0.9, 1, anomalous, np.int32([[0, 1]])),
    ]
    metrics = metrics_of(images)
    begin, end = metrics.colour_range()
    # Two of the 201 normal ones.
    assert (normal > begin).sum() == 2 and abs(begin - 0.4950) < 1e-4
    # The median normal one is as far below it, further than the highest of all.
    assert abs(end - (begin + begin - 0.2487)) < 2e-3
    assert metrics.thresholds() == {"image": 0.55, "pixel": begin}
    # Without masks the same of the normal image, and the highest of the other.
    high = (0.9, 1, np.float32([[0.2, 0.995]]), np.zeros((1, 2), np.int32))
    merged = metrics_of(images[:1], False) + metrics_of([high], False)
    assert abs(merged.colour_range()[0] - 0.4950) < 1e-4
    assert merged.colour_range()[1] == np.float32(0.995)
    assert metrics_of(images[1:], False).colour_range() is None
    assert metrics_of(images[1:], False).thresholds() == dict.fromkeys(
        ("image", "pixel")
    )


def test_without_normal_images_image_metrics_are_none():
    row = metrics_of(IMAGES[1:]).compute()
    assert [row[key] for key in KEYS[:3]] == [None] * 3
    assert row["pixel_auroc"] == 1
    assert (row["normal"], row["anomalous"]) == (0, 2)


def test_no_images_at_all():
    row = ClassMetrics(has_masks=True).compute()
    assert row == dict.fromkeys(KEYS[:8]) | {"normal": 0, "anomalous": 0}


def test_the_sum_of_parts_is_the_whole():
    whole = metrics_of(IMAGES).compute()
    for cut in range(4):
        assert (metrics_of(IMAGES[cut:]) + metrics_of(IMAGES[:cut])).compute() == whole


def test_scores_outside_the_scale_are_refused():
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        metrics_of([(0.5, 1, np.float32([[1.5]]), np.int32([[1]]))])


def test_the_mean_is_unweighted_and_skips_what_is_undefined():
    one = dict.fromkeys(KEYS[:8], 0.5) | {"normal": 100, "anomalous": 300}
    two = dict.fromkeys(KEYS[:8], 1.0) | {"normal": 1, "anomalous": 2}
    two["pixel_aupro"] = None
    one["image_ap"] = two["image_ap"] = None
    mean = mean_of({"bottle": one, "cable": two})
    assert list(mean) == KEYS
    assert mean["image_auroc"] == 0.75
    assert mean["pixel_aupro"] == 0.5
    assert mean["image_ap"] is None
    assert (mean["normal"], mean["anomalous"]) == (101, 302)


def test_the_mean_of_no_classes_is_undefined():
    assert mean_of({}) == dict.fromkeys(KEYS[:8]) | {"normal": 0, "anomalous": 0}
