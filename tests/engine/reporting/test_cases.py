"""Which cases are kept, in any order and by any number of processes."""

import base64
import io
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from data_pipelines.sources import Entry
from kanoclip_jax.engine.reporting import cases as module
from kanoclip_jax.engine.reporting.cases import Cases
from kanoclip_jax.viz import Scale

SIZE = 8


def source_of(normal: int, anomalous: int, classes: int = 1) -> SimpleNamespace:
    """Classes of normal images, then anomalous ones."""
    names = [f"class {number}" for number in range(classes)]
    index = tuple(
        Entry(f"{name}/{i}.png", name, "hole" if i >= normal else "good", i >= normal)
        for name in names
        for i in range(normal + anomalous)
    )
    return SimpleNamespace(classes=tuple(names), index=index)


class Unfetched:
    """A map that must not leave its device."""

    def __array__(self, *_: object, **__: object) -> np.ndarray:
        raise AssertionError("fetched")


def add(cases: Cases, index: int, score: float, found: object = None) -> None:
    mask = np.zeros((1, SIZE, SIZE), np.uint8)
    mask[0, 2:4, 2:4] = index >= 10
    batch = {
        "image": np.full((1, SIZE, SIZE, 3), 128, np.uint8),
        "mask": mask,
        "index": np.array([index]),
    }
    if found is None:
        found = np.full((SIZE, SIZE), score, np.float32)
    cases.add(batch, 0, found, score)


def paths(cases: Cases) -> dict[str, list[int]]:
    return {
        kind: [int(case["path"].split("/")[1].removesuffix(".png")) for case in found]
        for kind, found in cases.of("class 0").items()
    }


SCORES = np.random.default_rng(1).permutation(20) / 20


@pytest.mark.parametrize("seed", [0, 1])
def test_the_extremes_are_kept_in_order(seed: int) -> None:
    cases = Cases(source_of(10, 10))
    for index in np.random.default_rng(seed).permutation(20):
        add(cases, int(index), float(SCORES[index]))
    rising = [np.argsort(SCORES[:10]).tolist(), (10 + SCORES[10:].argsort()).tolist()]
    assert paths(cases) == {
        "missed": rising[1][:4],
        "false_alarm": rising[0][:-5:-1],
        "found": rising[1][:-5:-1],
        "passed": rising[0][:4],
    }
    (case, *_) = cases.of("class 0")["found"]
    assert case["defect"] == "hole" and case["score"] == SCORES[10:].max()


def test_processes_keep_together_what_one_would() -> None:
    source = source_of(10, 10)
    whole, even, odd = Cases(source), Cases(source), Cases(source)
    for index, score in enumerate(SCORES):
        add(whole, index, float(score))
        add((even, odd)[index % 2], index, float(score))
    even.merge(pickle.loads(pickle.dumps(odd)))
    assert even.of("class 0") == whole.of("class 0")


@pytest.mark.parametrize("anomalous", [0, 1, 2, 3, 7])
def test_no_image_is_of_two_kinds(anomalous: int) -> None:
    cases = Cases(source_of(10, anomalous))
    for index in range(10 + anomalous):
        add(cases, index, 0.5)
    found = paths(cases)
    assert sorted(found["found"] + found["missed"]) == [*range(10, 10 + anomalous)]
    assert len(found["found"]) - len(found["missed"]) in (0, 1)


def test_a_map_is_fetched_only_to_be_kept() -> None:
    cases = Cases(source_of(10, 0))
    for index, score in enumerate([0, 0.1, 0.2, 0.3, 0.6, 0.7, 0.8, 0.9]):
        add(cases, index, score)
    add(cases, 8, 0.5, Unfetched())
    with pytest.raises(AssertionError, match="fetched"):
        add(cases, 9, 0.65, Unfetched())


def test_only_cases_that_stay_are_shrunk(monkeypatch) -> None:
    """Of classes in order; no more than one class's wait for it."""
    shrunk = []
    shrink = module._shrunk
    monkeypatch.setattr(module, "_shrunk", lambda *a: shrunk.append(1) or shrink(*a))
    cases = Cases(source_of(10, 10, 3))
    for index in range(60):
        add(cases, index, (index % 20) / 20)
        assert len(cases._large) <= 16
    # Rising scores: each of the later half took a place of the highest for a while.
    assert 0 < len(shrunk) <= 2 * 16
    kept = [cases.of(name) for name in ("class 0", "class 1", "class 2")]
    assert len(shrunk) == 3 * 16
    assert [cases.of(name) for name in ("class 0", "class 1", "class 2")] == kept
    assert len(shrunk) == 3 * 16


def test_many_classes_show_fewer_cases_each() -> None:
    for classes, most in ((1, 4), (12, 4), (16, 3), (60, 1), (200, 1)):
        cases = Cases(source_of(10, 10, classes))
        for index, score in enumerate(SCORES):
            add(cases, index, float(score))
        assert {len(kept) for kept in cases.of("class 0").values()} == {most}


def test_pictures_are_small() -> None:
    cases = Cases(source_of(1, 1))
    rng = np.random.default_rng(0)
    for index in range(2):
        mask = np.zeros((1, 400, 300), np.uint8)
        mask[0, 100, 100] = index
        image = rng.integers(0, 256, (1, 400, 300, 3), np.uint8)
        batch = {"image": image, "mask": mask, "index": np.array([index])}
        cases.add(batch, 0, np.zeros((400, 300), np.float32), 0.5)
    (normal,) = cases.of("class 0")["false_alarm"]
    (anomalous,) = cases.of("class 0")["found"]
    assert list(normal["pictures"]) == ["image", "map", "overlay"]
    assert list(anomalous["pictures"]) == ["image", "mask", "map", "overlay"]
    image, mask = (
        Image.open(io.BytesIO(base64.b64decode(anomalous["pictures"][name])))
        for name in ("image", "mask")
    )
    assert (image.format, image.size) == ("JPEG", (120, 160))
    # Even a mask of one pixel is outlined.
    difference = np.abs(np.asarray(image, int) - np.asarray(mask, int)).sum(-1)
    assert difference[36:45, 36:45].max() > 100 > difference[80:].max()


def test_maps_are_coloured_by_the_scale_that_is_known_at_the_end() -> None:
    cases = Cases(source_of(10, 10))
    for index, highest in ((10, 0.9), (0, 0.3)):
        found = np.full((64, 64), 0.3, np.float32)
        found[16:48, 16:48] = highest
        batch = {
            "image": np.full((1, 64, 64, 3), 128, np.uint8),
            "mask": np.zeros((1, 64, 64), np.uint8),
            "index": np.array([index]),
        }
        cases.add(batch, 0, found, highest)

    def pixels(kind: str, name: str) -> np.ndarray:
        (case,) = cases.of("class 0", Scale(0.4, 0.8))[kind]
        data = base64.b64decode(case["pictures"][name])
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), int)

    # What is nowhere above the threshold is shown as it is, and its map in grey.
    plain = pixels("false_alarm", "image")
    np.testing.assert_array_equal(pixels("false_alarm", "overlay"), plain)
    np.testing.assert_allclose(pixels("false_alarm", "map"), 206, atol=3)
    # Crimson, over grey of 128 with an opacity of 0.8.
    for name, colour in (("map", (158, 0, 76)), ("overlay", (152, 26, 86))):
        np.testing.assert_allclose(pixels("found", name)[32, 32], colour, atol=8)
    np.testing.assert_allclose(pixels("found", "overlay")[:4, :4], 128, atol=8)
