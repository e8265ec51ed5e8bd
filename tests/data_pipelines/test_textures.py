"""The procedural dataset: exact masks, determinism, disjoint splits, counts, areas."""

import io
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data_pipelines import textures
from data_pipelines.errors import DataError

CLASSES = [*textures.TRAIN_CLASSES, *textures.EVAL_CLASSES]
DEFECTS = sorted({*textures.TRAIN_DEFECTS, *textures.EVAL_DEFECTS})


def decode(png):
    return np.asarray(Image.open(io.BytesIO(png)))


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(CLASSES), st.sampled_from(DEFECTS), st.integers(0, 2**31))
def test_a_defect_changes_the_flawless_picture_inside_its_mask_only(name, defect, seed):
    clean, empty = textures.render(name, None, seed, 64)
    damaged, mask = textures.render(name, defect, seed, 64)
    assert not empty.any()
    assert set(np.unique(mask)) <= {0, 1}
    np.testing.assert_array_equal(damaged[mask == 0], clean[mask == 0])


@pytest.mark.parametrize("defect", DEFECTS)
def test_most_of_every_mask_is_visibly_altered(defect):
    for seed, name in enumerate(CLASSES[::4]):
        clean = textures.render(name, None, seed)[0].astype(int)
        damaged, mask = textures.render(name, defect, seed)
        change = np.abs(damaged - clean).max(-1)[mask > 0]
        assert np.mean(change >= 10) > 0.6


def test_surfaces_are_disjoint_and_some_defects_are_kept_for_evaluation():
    assert not set(textures.TRAIN_CLASSES) & set(textures.EVAL_CLASSES)
    assert not set(textures.TRAIN_CLASSES.values()) & set(
        textures.EVAL_CLASSES.values()
    )
    unseen = set(textures.EVAL_DEFECTS) - set(textures.TRAIN_DEFECTS)
    assert unseen == {"cut", "smear", "burn", "corrosion"}
    assert len(CLASSES) == 19


def test_generate_yields_the_promised_records():
    amount = {"normal_per_class": 2, "anomalous_per_class": 9}
    records = list(textures.generate("eval", seed=3, size=48, **amount))
    assert len(records) == textures.count("eval", **amount) == 8 * 11
    assert Counter(r["label"] for r in records) == {0: 16, 1: 72}
    assert len({r["path"] for r in records}) == len(records)
    first, last = records[0], records[10]
    assert first["path"] == "knit/test/good/000.png"
    assert (first["mask"], first["defect"]) == (b"", "good")
    assert last["path"] == "knit/test/scratch/001.png"
    assert decode(last["image"]).shape == (48, 48, 3)
    assert decode(last["mask"]).shape == (48, 48)
    assert set(np.unique(decode(last["mask"]))) == {0, 255}


def test_a_record_depends_on_seed_and_number_not_on_how_many_there_are():
    few = {r["path"]: r for r in textures.generate(
        "train", normal_per_class=1, anomalous_per_class=1, size=32)}  # fmt: skip
    more = {r["path"]: r for r in textures.generate(
        "train", normal_per_class=2, anomalous_per_class=2, size=32)}  # fmt: skip
    other = {r["path"]: r for r in textures.generate(
        "train", seed=1, normal_per_class=1, anomalous_per_class=1, size=32)}  # fmt: skip
    assert all(more[path] == record for path, record in few.items())
    assert all(other[path]["image"] != r["image"] for path, r in few.items())


def test_defects_cover_a_small_share_of_the_picture():
    records = textures.generate("train", normal_per_class=0, anomalous_per_class=8)
    areas = [np.mean(decode(r["mask"]) > 0) for r in records]
    assert min(areas) >= 0.001
    assert np.mean([0.003 <= area <= 0.08 for area in areas]) > 0.95


def test_mean_colour_does_not_give_the_class_away():
    means = np.array(
        [
            [textures.render(c, None, s, 32)[0].mean((0, 1)) for s in range(12)]
            for c in CLASSES
        ]
    )
    within, between = means.std(1).mean(), means.mean(1).std(0).mean()
    assert within > 1.5 * between


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: textures.render("wool", None, 0), "wool"),
        (lambda: textures.render("wood", "rust", 0), "rust"),
        (lambda: next(textures.generate("test")), "test"),
        (lambda: textures.count("test"), "test"),
    ],
)
def test_unknown_names_are_refused(call, named):
    with pytest.raises(DataError, match=f"'{named}'.*use one of"):
        call()
