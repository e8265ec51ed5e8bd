"""Mosaics: what is in them, how often, and that nothing but the seed decides it."""

import io

import numpy as np
import pytest
from PIL import Image

from data_pipelines.augment import DrawMosaics, read_mosaic
from data_pipelines.errors import DataError
from data_pipelines.masks import decode_mask
from data_pipelines.pipeline import train_stream
from data_pipelines.records import Entry
from data_pipelines.sources import open_source

# Grey values tell the records apart; a class has a decade of its own.
GREY = {
    "axle": {"good": (10, 11), "crack": (12,), "dent": (13, 14)},
    "gear": {"good": (20,), "rust": (21, 22)},
}
PASS = {"image_size": 8, "epochs": 3, "batch_size": 4, "seed": 5}


@pytest.fixture(scope="module")
def source(tmp_path_factory, put, image, mask):
    root = tmp_path_factory.mktemp("parts")
    for name, kinds in GREY.items():
        for kind, values in kinds.items():
            for value in values:
                put(root / f"{name}/test/{kind}/{value}.png", image(value))
                if kind != "good":
                    put(root / f"{name}/ground_truth/{kind}/{value}_mask.png", mask())
    return open_source(f"folder:{root}", root="", prepared="")


def stream(source, **options):
    return train_stream(source, **{**PASS, "workers": 0, **options})


def same(left, right):
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def rows(batches):
    """The real rows of all batches, one dict of arrays."""
    kept = [{n: a[b["is_real"]] for n, a in b.items()} for b in batches]
    return {n: np.concatenate([b[n] for b in kept]) for n in kept[0]}


def cells(image):
    """The four quarters, row by row."""
    half = len(image) // 2
    return [image[y : y + half, x : x + half] for y in (0, half) for x in (0, half)]


def test_four_pictures_of_the_class_with_their_masks(source, mask):
    found = rows(stream(source, mosaic=1.0))
    assert len(found["index"]) == 24
    left_half = decode_mask(mask(), "m", 4)
    met = set()
    for row in range(24):
        entry = source.index[found["index"][row]]
        kinds = GREY[entry.class_name]
        assert source.classes[found["class_index"][row]] == entry.class_name
        # The label is the replaced record's, whatever the mosaic shows.
        assert found["label"][row] == entry.label
        for pixels, truth in zip(
            cells(found["image"][row]), cells(found["mask"][row]), strict=True
        ):
            (value,) = np.unique(pixels)
            (kind,) = (kind for kind in kinds if value in kinds[kind])
            expected = np.zeros((4, 4)) if kind == "good" else left_half
            np.testing.assert_array_equal(truth, expected)
            met.add(int(value))
    assert met == {10, 11, 12, 13, 14, 20, 21, 22}


def test_other_rows_stay_as_they_are(source):
    plain, some = (rows(stream(source, mosaic=rate, epochs=9)) for rate in (0, 0.3))
    for name in ("index", "label", "class_index"):
        np.testing.assert_array_equal(plain[name], some[name])
    unlike = (plain["image"] != some["image"]).any(axis=(1, 2, 3))
    # Of 72 records, 0.3 each: 22 on average, some of which show themselves four times.
    assert 10 < unlike.sum() < 32
    for row in np.flatnonzero(unlike):
        assert len(np.unique(plain["image"][row])) == 1
    np.testing.assert_array_equal(plain["mask"][~unlike], some["mask"][~unlike])


def test_none_by_default(source):
    same(list(stream(source)), list(stream(source, mosaic=0.0)))


def test_seed_alone_decides(source):
    whole = list(stream(source, mosaic=0.5))
    same(whole, list(stream(source, mosaic=0.5, workers=2)))
    # A place in the run has its mosaic, whatever the batches.
    by_three = rows(stream(source, mosaic=0.5, batch_size=3))
    for name, found in rows(whole).items():
        np.testing.assert_array_equal(found, by_three[name])
    parts = [list(stream(source, mosaic=0.5, part=(i, 2))) for i in range(2)]
    joined = [
        {name: np.concatenate([part[name] for part in both]) for name in both[0]}
        for both in zip(*parts, strict=True)
    ]
    same(whole, joined)
    other = rows(stream(source, mosaic=0.5, seed=6))
    assert (other["image"] != rows(whole)["image"]).any()


@pytest.mark.parametrize("taken", [1, 4])
def test_resuming_is_bit_exact(source, taken):
    whole = list(stream(source, mosaic=0.5))
    second = stream(source, mosaic=0.5)
    next(second)
    second.set_state({"next_index": taken})
    same(list(second), whole[taken:])


def test_how_often_and_of_what():
    """Kinds are drawn before records: one of 1, one of 1 and one of 98 records."""
    kinds = ["good"] + ["dent"] + ["crack"] * 98
    index = [Entry("", "axle", kind, int(kind != "good")) for kind in kinds]
    index += [Entry("", "gear", "good", 0)]
    draw = DrawMosaics(index, 0.2, seed=1)
    drawn = np.array([draw.map_with_index(place, 7) for place in range(5000)])
    assert drawn.shape == (5000, 5) and (drawn[:, 0] == 7).all()
    made = drawn[:, 1] >= 0
    assert ((drawn[:, 1:] >= 0) == made[:, None]).all()
    assert abs(made.mean() - 0.2) < 0.02
    for cell in drawn[made, 1:].T:
        assert abs((cell == 0).mean() - 1 / 3) < 0.06
        assert abs((cell == 1).mean() - 1 / 3) < 0.06
        assert cell.max() == 99
    places = [draw.map_with_index(place, 100)[1:] for place in range(200)]
    assert set(np.unique(places)) == {-1, 100}


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(("width", "height", "size"), [(70, 50, 52), (30, 40, 60)])
def test_pixels_are_the_public_codes_but_for_the_seam(
    tmp_path, put, width, height, size
):
    """It pastes four pictures at their own size, and squashes the whole by bicubic."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (4, height, width, 3), np.uint8)
    for i, pixels in enumerate(pictures):
        put(tmp_path / f"good/{i}.png", png(pixels))
    source = open_source(f"folder:{tmp_path}", root="", prepared="")
    image, mask, warning = read_mosaic(source, [0, 1, 2, 3], size)
    assert not warning
    canvas = Image.new("RGB", (2 * width, 2 * height))
    for i, pixels in enumerate(pictures):
        where = (i % 2 * width, i // 2 * height)
        canvas.paste(Image.fromarray(pixels), where)
    whole = np.asarray(canvas.resize((size, size), Image.Resampling.BICUBIC))
    inner = [slice(0, size // 2 - 3), slice(size // 2 + 3, size)]
    for y in inner:
        for x in inner:
            np.testing.assert_array_equal(image[y, x], whole[y, x])
    assert not mask.any()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"mosaic": 1.5}, "mosaic is 1.5; allowed is a probability"),
        ({"mosaic": -0.1}, "mosaic is -0.1; allowed is a probability"),
        ({"mosaic": float("nan")}, "mosaic is nan"),
        ({"mosaic": 0.2, "image_size": 7}, "image_size 7, which has no half"),
        ({"mosaic": 0.2, "with_images": False}, "cached features are of whole"),
    ],
)
def test_impossible_mosaics_are_refused(source, wrong, said):
    with pytest.raises(DataError, match=said):
        stream(source, **wrong)


def test_a_bad_file_in_a_mosaic_is_named(tmp_path, put, image):
    put(tmp_path / "good/0.png", image(1))
    put(tmp_path / "bad/1.png", image(2)[:50])
    put(tmp_path / "good/2.png", image(3))
    source = open_source(f"folder:{tmp_path}", root="", prepared="")
    with pytest.raises(DataError, match=r"bad/1\.png cannot be decoded"):
        read_mosaic(source, [0, 0, 2, 1], 8)
