"""Masks: what of each file counts as the anomaly, as files of many tools have it."""

import io

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageFilter

from data_pipelines.errors import DataError
from data_pipelines.mask_values import CHOICES, PUBLISHED
from data_pipelines.masks import (
    MaskRule,
    decode_mask,
    decode_original_mask,
    label_regions,
    tell_mask,
)
from data_pipelines.pictures import Reading

SIDE = 128
Y, X = np.mgrid[:SIDE, :SIDE]
DISTANCE = np.hypot(Y - 51, X - 77)
DISC = DISTANCE < 20
WHITE = DISC.astype(np.uint8) * 255
# Two classes, side by side.
IDS = np.where(DISC, 1 + (X > 77), 0).astype(np.uint8)
PUBLISHED_RULE = MaskRule(PUBLISHED)


def encode(pixels: np.ndarray | Image.Image, kind: str = "PNG", **options) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(pixels: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def resaved(data: bytes) -> bytes:
    return encode(Image.open(io.BytesIO(data)))


def palette(indices: np.ndarray, *colours: tuple[int, int, int]) -> Image.Image:
    image = Image.new("P", indices.shape[::-1])
    image.putpalette([channel for colour in colours for channel in colour])
    image.putdata(indices.ravel().astype(int).tolist())
    return image


def painted(inside: tuple[int, ...], outside: tuple[int, ...]) -> np.ndarray:
    """The disc in one colour, and around it another."""
    return np.where(DISC[..., None], inside, outside).astype(np.uint8)


def averaged(factor: int) -> np.ndarray:
    """The disc, drawn larger and averaged: anti-aliased."""
    y, x = np.mgrid[: SIDE * factor, : SIDE * factor] / factor
    large = np.hypot(y - 51, x - 77) < 20
    return large.reshape(SIDE, factor, SIDE, factor).mean((1, 3))


def void() -> np.ndarray:
    """A class id 15 with a border of 255, as PASCAL VOC has it."""
    return np.where(DISC, 15, np.where(DISTANCE < 23, 255, 0)).astype(np.uint8)


WHITE_ON = (255,) * 3
VOC = [(i, 255 - i, 128) for i in range(1, 256)]
JPEG = encode(WHITE, "JPEG", quality=75)
# Rows of the table of cases: what was drawn, and how it is read.
RIGHT = {
    "B1 white below transparency": encode(painted((255,) * 4, (255, 255, 255, 0))),
    "B1 the same in grey": encode(Image.fromarray(painted((255, 255), (255, 0)), "LA")),
    "B2 black on transparent": encode(painted((0, 0, 0, 255), (0, 0, 0, 0))),
    "B3 white palette": encode(palette(DISC, WHITE_ON, (255, 0, 0))),
    "B3 black on it": encode(palette(DISC, WHITE_ON, (0, 0, 0))),
    "B4 coloured palette": encode(palette(DISC, (0, 0, 255), (255, 0, 0))),
    "B4 grey palette": encode(palette(DISC, (128,) * 3, WHITE_ON)),
    "B7 background of 1": encode(np.where(DISC, 255, 1).astype(np.uint8)),
    "B9 JPEG saved as PNG": resaved(JPEG),
    "B9 JPEG of colours": resaved(encode(painted(WHITE_ON, (0, 0, 0)), "JPEG")),
    "B9 WebP with losses": encode(WHITE, "WEBP", quality=80),
    "B13 void in a palette": encode(palette(void(), (0, 0, 0), *VOC)),
    "B13 void in grey": encode(void()),
    "B15 1": encode(WHITE // 255),
    "B15 9": encode(WHITE // 255 * 9),
    "B15 255": encode(WHITE),
    "B15 1 bit": encode(DISC),
    "B15 16 bit": encode(WHITE.astype(np.uint16) * 257),
    "B15 12 in 16 bit": encode(WHITE.astype(np.uint16) // 255 * 4095),
    "B15 int32": tiff(WHITE.astype(np.int32)),
    "B15 VOC palette": encode(palette(IDS, (0, 0, 0), (128, 0, 0), (0, 128, 0))),
    "B15 red on clear": encode(painted((255, 0, 0, 255), (0, 0, 0, 0))),
    "B15 half opaque": encode(painted((255, 0, 0, 128), (255, 255, 255, 0))),
    "B15 opaque": encode(painted((255,) * 4, (0, 0, 0, 255))),
    "B15 JPEG": JPEG,
    "B15 lossless WebP": encode(WHITE, "WEBP", lossless=True),
    "B15 GIF": encode(WHITE, "GIF"),
    "0 is white, 8 bit": tiff(255 - WHITE, photometric="miniswhite"),
    "0 is white, 16 bit": tiff(
        65535 - WHITE.astype(np.uint16) * 257, photometric="miniswhite"
    ),
    "ids": encode(IDS),
    "ids in colour": encode(
        np.array([(0, 0, 0), (64, 0, 0), (0, 128, 0)], np.uint8)[IDS]
    ),
    "high ids": encode(np.array([0, 254, 255], np.uint8)[IDS]),
    "optimised palette": encode(palette(~DISC, WHITE_ON, (0, 0, 0))),
    "transparent palette": encode(
        palette(~DISC, (255, 0, 0), (0, 0, 0)), transparency=1
    ),
}
# Softer than a pixel: the share of the area that half of the range gives.
SOFT = {
    "B8 probabilities": (
        encode(np.round(255 * np.exp(-((DISTANCE / 24) ** 2))).astype(np.uint8)),
        0.02,
    ),
    "B8 16-bit probabilities": (
        encode(np.round(65535 * np.exp(-((DISTANCE / 24) ** 2))).astype(np.uint16)),
        0.02,
    ),
    "B8 blurred": (
        encode(Image.fromarray(WHITE).filter(ImageFilter.GaussianBlur(4))),
        0.06,
    ),
    "B8 enlarged": (
        encode(
            Image.fromarray(WHITE[::4, ::4]).resize(
                (SIDE, SIDE), Image.Resampling.BICUBIC
            )
        ),
        0.08,
    ),
    "B8 anti-aliased": (encode(np.round(255 * averaged(4)).astype(np.uint8)), 0.03),
    "B8 of few steps": (encode(np.round(255 * averaged(2)).astype(np.uint8)), 0.03),
    "B8 soft alpha": (
        encode(
            np.dstack(
                [np.full((SIDE, SIDE, 3), 255), np.round(255 * averaged(4))]
            ).astype(np.uint8)
        ),
        0.03,
    ),
}
REFUSED = {
    "B10 ids in JPEG": (encode(IDS * 4, "JPEG"), "class ids do not survive"),
    "B11 two pages": (
        tiff(np.stack([0 * WHITE, WHITE]), photometric="minisblack"),
        "holds 2 pictures",
    ),
    "B12 background of -1": (
        tiff(np.where(DISC, 0, -1).astype(np.int16)),
        "negative values, from -1",
    ),
    "B12 the same in 8 bit": (
        tiff(np.where(DISC, 0, -1).astype(np.int8)),
        "negative values, from -1",
    ),
    "scaled ids": (encode(IDS * 85), "mask_values=ids or .*mask_values=half"),
    "ids far apart": (
        encode(np.array([0, 10, 230], np.uint8)[IDS]),
        "class ids as well as a soft mask",
    ),
    "no background": (encode(IDS + 1), "no pixel is 0"),
    "no black": (encode(painted((255, 0, 0), WHITE_ON)), "none of them is black"),
    "no index 0": (
        encode(palette(DISC + 1, (9, 9, 9), (255, 0, 0), (0, 255, 0))),
        "no pixel has the index 0",
    ),
    "background inside": (
        encode(palette(~DISC, (255, 0, 0), (0, 255, 0))),
        "nowhere at the border",
    ),
    "black paint on clear": (
        encode(
            np.where(
                (DISC & (X > 77))[..., None],
                (255, 0, 0, 255),
                painted((0, 0, 0, 255), (0, 0, 0, 0)),
            ).astype(np.uint8)
        ),
        "black beside other colours",
    ),
    "frames": (
        encode(WHITE, save_all=True, append_images=[Image.fromarray(255 - WHITE)]),
        "holds 2 pictures",
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_the_anomaly_is_told(name):
    np.testing.assert_array_equal(decode_original_mask(RIGHT[name], "m"), DISC)


@pytest.mark.parametrize("name", SOFT)
def test_soft_masks_are_what_is_above_half(name):
    data, tolerance = SOFT[name]
    share = decode_original_mask(data, "m").sum() / DISC.sum()
    assert share == pytest.approx(1, abs=tolerance)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_told_is_refused_by_name(name):
    data, words = REFUSED[name]
    with pytest.raises(DataError, match=rf"^bad/0\.png.*{words}"):
        decode_original_mask(data, "bad/0.png")


def test_inverted_masks_are_seen_by_how_much_they_mark():
    for data in (encode(255 - WHITE), tiff(DISC)):
        # tifffile writes 0 as white here, and does not turn the values.
        np.testing.assert_array_equal(decode_original_mask(data, "m"), ~DISC)


def test_a_setting_decides():
    scaled = encode(IDS * 85)
    assert CHOICES == ("auto", "nonzero", "half", "ids")
    for rule, expected in (("nonzero", DISC), ("ids", DISC), ("half", IDS == 2)):
        found = decode_original_mask(scaled, "m", MaskRule(rule))
        np.testing.assert_array_equal(found, expected)
    inverted = encode(palette(~DISC, (255, 0, 0), (0, 255, 0)))
    found = decode_original_mask(inverted, "m", MaskRule("ids"))
    np.testing.assert_array_equal(found, ~DISC)
    for rule, lost in (("nonzero", 0), ("ids", 1)):
        found = tell_mask(encode(void()), "m", rule).mask
        assert (found != DISC).any() == (not lost)
    black = RIGHT["B2 black on transparent"]
    for rule in CHOICES:
        found = decode_original_mask(black, "m", MaskRule(rule))
        np.testing.assert_array_equal(found, DISC)


def test_empty_and_full_masks_are_what_they_are():
    for data in (encode(0 * WHITE), encode(painted((255, 0, 0, 0), (9, 9, 9, 0)))):
        assert not decode_original_mask(data, "m").any()
    assert decode_original_mask(encode(0 * WHITE + 7), "m").all()
    assert decode_original_mask(encode(np.full((1, 1), 255, np.uint8)), "m").all()


def published(data: bytes) -> np.ndarray:
    """How published figures were made, in its own words."""
    image = Image.open(io.BytesIO(data))
    floor = 127 if image.format == "JPEG" else 0
    pixels = np.asarray(image if image.mode == "I;16" else image.convert("RGB"))
    return (pixels if pixels.ndim == 2 else pixels.max(-1)) > floor


@pytest.mark.parametrize(
    "data",
    [RIGHT["ids"], RIGHT["B15 VOC palette"], JPEG, RIGHT["B15 16 bit"], encode(DISC)]
    + [data for data, _ in SOFT.values()],
)
def test_catalogue_datasets_keep_the_published_rule(data):
    found = decode_original_mask(data, "m", PUBLISHED_RULE)
    np.testing.assert_array_equal(found, published(data))


def test_real_masks_are_the_same_by_both_rules(shared):
    files = sorted(shared.glob("*/*/ground_truth/*/*.png"))
    if not files:
        pytest.skip("no real masks")
    for file in files[::40]:
        data = file.read_bytes()
        by_file = decode_original_mask(data, str(file))
        np.testing.assert_array_equal(by_file, published(data), err_msg=str(file))
        kept = decode_original_mask(data, str(file), PUBLISHED_RULE)
        np.testing.assert_array_equal(by_file, kept)


def test_mask_holds_class_ids_not_only_255():
    ids = np.zeros((4, 4), np.uint8)
    ids[:2] = 3
    expected = (ids > 0).astype(np.uint8)
    np.testing.assert_array_equal(decode_mask(encode(ids), "m", 4), expected)
    deep = encode(ids.astype(np.uint16))
    np.testing.assert_array_equal(decode_mask(deep, "m", 4), expected)


def test_jpeg_mask_keeps_its_outline():
    clean = np.zeros((64, 64), np.uint8)
    clean[20:41, 13:34] = 255
    lossy = encode(clean, "JPEG", quality=60)
    np.testing.assert_array_equal(decode_mask(lossy, "m", 64), clean // 255)


def test_mask_resize_equals_torchvision():
    transforms = pytest.importorskip("torchvision.transforms")
    mask = np.random.default_rng(1).random((40, 30)) > 0.6
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    peers = transforms.ToTensor()(transforms.Resize((16, 16))(image)) > 0.5
    np.testing.assert_array_equal(decode_mask(encode(image), "m", 16), peers[0].numpy())


def test_mask_majority_decides_when_shrinking():
    mask = np.zeros((8, 8), np.uint8)
    mask[:4, :4] = 1
    mask[7, 7] = 1
    expected = [[1, 0], [0, 0]]
    assert decode_mask(encode(mask), "m", 2).tolist() == expected


def test_no_mask_is_empty():
    assert not decode_mask(b"", "m", 3).any()


@settings(deadline=None, max_examples=50)
@given(hnp.arrays(np.uint8, (7, 9), elements=st.integers(0, 1)))
def test_regions_equal_scikit_image(mask):
    measure = pytest.importorskip("skimage.measure")
    regions = label_regions(mask)
    assert regions.dtype == np.int32
    expected = measure.label(mask, connectivity=2)
    assert len(np.unique(regions)) == len(np.unique(expected))
    pairs = set(zip(regions.ravel().tolist(), expected.ravel().tolist(), strict=True))
    assert len(pairs) == len(np.unique(expected))


def test_small_ids_in_deep_colours_are_not_lost():
    # Pillow keeps the high byte of these, and mixes up colours that are stored apart.
    ids = np.dstack([DISC.astype(np.uint16)] * 3)
    for planes in ("contig", "separate"):
        colours = ids if planes == "contig" else np.moveaxis(ids, -1, 0)
        data = tiff(
            np.ascontiguousarray(colours), photometric="rgb", planarconfig=planes
        )
        np.testing.assert_array_equal(decode_original_mask(data, "m"), DISC)
    whole = tiff(
        np.moveaxis(ids * 65535, -1, 0), photometric="rgb", planarconfig="separate"
    )
    np.testing.assert_array_equal(decode_original_mask(whole, "m"), DISC)


def test_masks_may_be_as_large_as_their_pictures():
    data = encode(WHITE)
    with pytest.raises(DataError, match=r"allow more with --config\.data\.max_pixels"):
        tell_mask(data, "m", "auto", Reading(max_pixels=100))
    rule = MaskRule(reading=Reading(max_pixels=SIDE * SIDE))
    np.testing.assert_array_equal(decode_original_mask(data, "m", rule), DISC)
