"""The detector: the scores of an evaluation, whatever is given and however."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_pipelines.errors import DataError
from kanoclip_jax import Detector, Prediction, engine
from kanoclip_jax.engine import evaluate
from kanoclip_jax.errors import InputError
from kanoclip_jax.viz import hottest_box

OFF = {f"model__{part}": False for part in ("knpl", "vv", "cmci", "adapter")}


@pytest.fixture(scope="module")
def untrained(settings) -> Detector:
    return Detector.from_config(settings(**OFF))


@pytest.fixture
def photographs(tmp_path) -> list[Path]:
    rng = np.random.default_rng(0)
    paths = []
    for i, size in enumerate([(30, 50), (70, 20), (1, 1), (33, 33), (90, 64)]):
        pixels = rng.integers(0, 256, (*size, 3), np.uint8)
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


def same(one: Prediction, other: Prediction) -> bool:
    maps = np.array_equal(one.anomaly_map, other.anomaly_map)
    return one.score == other.score and maps


def test_scores_are_exactly_an_evaluations(
    settings, checkpoint, data_root, tmp_path, monkeypatch
):
    seen = []

    class Recorded(evaluate.ClassMetrics):
        def update_rows(self, scores, *rest):
            seen.extend(scores.tolist())
            super().update_rows(scores, *rest)

    monkeypatch.setattr(evaluate, "ClassMetrics", Recorded)
    config = settings(checkpoint=str(checkpoint), eval__batch_size=4)
    assert engine.run("eval", config, tmp_path) == 0
    detector = Detector.load(checkpoint, batch_size=4)
    found = []
    # In the order of the evaluation, whose batches span both classes.
    for name in ("cup", "plate"):
        for kind in ("good", "spot"):
            files = sorted((data_root / "mine" / name / "test" / kind).iterdir())
            found += [p.score for p in detector.predict(files, class_name=name)]
    assert len(found) == 19
    assert found == seen


def test_one_picture_or_many_in_any_batch(quick_checkpoint, photographs):
    single = Detector.load(quick_checkpoint)
    alone = [single.predict(path, class_name="cup") for path in photographs]
    assert all(map(same, alone, single.predict(photographs, class_name="cup")))
    many = Detector.load(quick_checkpoint, batch_size=32).predict(photographs, "cup")
    for one, other in zip(alone, many, strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-5)
        np.testing.assert_allclose(one.anomaly_map, other.anomaly_map, atol=1e-5)
    assert [found.anomaly_map.shape for found in many] == [
        (30, 50),
        (70, 20),
        (1, 1),
        (33, 33),
        (90, 64),
    ]
    assert all(found.anomaly_map.dtype == np.float32 for found in many)
    assert all(0 <= found.score <= 1 for found in many)
    assert len({found.score for found in many}) == 5
    assert single.predict([]) == []


def test_eight_threads_agree_with_one(checkpoint, photographs):
    names = ["cup", "plate", "metal nut", "bottle"] * 8
    one = Detector.load(checkpoint)
    alone = {name: one.predict(photographs, class_name=name) for name in set(names)}
    fresh = Detector.load(checkpoint)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda name: fresh.predict(photographs, name), names))
    for name, predictions in zip(names, found, strict=True):
        assert all(map(same, predictions, alone[name]))


def test_class_names_matter_and_underscores_do_not(checkpoint, photographs):
    detector = Detector.load(checkpoint)
    found = detector.predict(photographs[0], class_name="metal_nut")
    assert found.class_name == "metal nut"
    assert same(found, detector.predict(photographs[0], class_name="metal nut"))
    assert not same(found, detector.predict(photographs[0], class_name="cup"))


def test_paths_images_and_arrays_are_alike(untrained, photographs):
    path = photographs[0]
    image = Image.open(path)
    expected = untrained.predict(path)
    alpha = np.dstack([np.asarray(image), np.zeros((30, 50), np.uint8)])
    for given in (str(path), image, np.asarray(image), alpha, np.asarray(image)[:]):
        assert same(untrained.predict(given), expected)
    turned = np.asarray(image)[::-1][::-1]
    assert same(untrained.predict(turned), expected)


def test_grey_is_scaled_over_its_own_range(untrained):
    grey = np.random.default_rng(1).integers(0, 256, (20, 30), np.uint8)
    expected = untrained.predict(np.dstack([grey] * 3))
    assert same(untrained.predict(grey), expected)
    assert same(untrained.predict(grey.astype(np.uint16) * 257), expected)


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr", "I;16"]
)
def test_every_mode_is_taken(untrained, mode):
    image = Image.radial_gradient("L").resize((40, 24))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    elif mode == "RGBa":
        image = image.convert("RGBA").convert(mode)
    else:
        image = image.convert(mode)
    assert image.mode == mode
    assert untrained.predict(image).anomaly_map.shape == (24, 40)


def test_orientation_is_applied_to_paths_and_images(untrained, tmp_path):
    pixels = np.random.default_rng(2).integers(0, 256, (20, 30, 3), np.uint8)
    image = Image.fromarray(np.rot90(pixels))
    exif = Image.Exif()
    exif[0x0112] = 6  # stored rotated: turn a quarter clockwise to view
    path = tmp_path / "photograph.png"
    image.save(path, exif=exif)
    expected = untrained.predict(pixels)
    assert expected.anomaly_map.shape == (20, 30)
    assert same(untrained.predict(path), expected)
    assert same(untrained.predict(Image.open(path)), expected)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (np.zeros((4, 4, 3), np.float32), "type float32 .*value_range"),
        (np.zeros((4, 4, 3), np.int64), "type int64 .*value_range"),
        (np.zeros((4, 4), bool), r"array of bool and shape \(4, 4\)"),
        (np.zeros((2, 4, 4, 3), np.uint8), r"shape \(2, 4, 4, 3\)"),
        (np.zeros((4, 4, 2), np.uint8), r"shape \(4, 4, 2\)"),
        (np.zeros((0, 4), np.uint8), r"shape \(0, 4\)"),
        (Image.new("F", (3, 3)), "type float32 .*value_range"),
        (Image.new("RGB", (0, 3)), "0x3 px"),
        ("absent.png", "absent.png cannot be read"),
        (7, "picture 0 is a int"),
    ],
)
def test_what_is_no_picture_is_named(untrained, given, words):
    with pytest.raises(DataError, match=words):
        untrained.predict(given)


def test_labels_masks_and_boxes_are_at_the_threshold(untrained, photographs):
    plain = untrained.predict(photographs[0])
    assert plain.thresholds is plain.label is plain.mask is None
    assert plain.boxes == () and plain.box == hottest_box(plain.anomaly_map)
    level = float(np.median(plain.anomaly_map))
    found = untrained.predict(photographs[0], threshold=(plain.score, level))
    # What is normal has no regions, however many of its pixels are above theirs.
    assert (found.label, found.boxes, found.box) == ("normal", (), None)
    assert found.mask.shape == (30, 50) and not found.mask.any()
    found = untrained.predict(photographs[0], threshold=(0, level))
    assert found.label == "anomalous" and found.box == found.boxes[0]
    np.testing.assert_array_equal(found.mask, plain.anomaly_map > level)
    assert found.boxes == tuple(region.box for region in found.regions)
    assert sum(region.area for region in found.regions) == found.mask.sum() > 0
    assert found.regions[0].score == plain.anomaly_map.max()
    below = float(np.nextafter(plain.score, 0))
    assert untrained.predict(photographs[0], threshold=below).label == "anomalous"
    for wrong in (-0.1, 1.5, (0.5, 2.0), float("nan"), "high"):
        with pytest.raises(InputError, match="threshold is"):
            untrained.predict(photographs[0], threshold=wrong)


def test_a_stream_takes_pictures_as_it_goes(untrained, photographs):
    taken = []

    def pictures():
        for number in range(1000):
            taken.append(number)
            yield photographs[0]

    stream = untrained.stream(pictures())
    assert 0 <= next(stream).score <= 1
    assert len(taken) < 8


def test_wrong_options_are_refused(checkpoint, tmp_path, settings):
    with pytest.raises(InputError, match="is no checkpoint"):
        Detector.load(tmp_path)
    with pytest.raises(InputError, match="allowed: auto, float32, bfloat16"):
        Detector.load(checkpoint, dtype="float8")
    with pytest.raises(InputError, match="was trained with the CLIP"):
        Detector.load(checkpoint, clip="demo")
    with pytest.raises(InputError, match="names no checkpoints"):
        Detector.from_config(settings())


def test_the_package_alone_imports_nothing_heavy():
    code = "import sys, kanoclip_jax; assert not {'jax', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    import kanoclip_jax

    with pytest.raises(AttributeError, match="Detektor"):
        kanoclip_jax.Detektor  # noqa: B018
