"""What numbers in pictures mean: each kind against the 8 bits that it was made from."""

import io

import numpy as np
import pytest
import tifffile
from encoded import colours, deep, eight, pillow, png16, shades, tiff
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data_pipelines.errors import DataError
from data_pipelines.pictures import (
    Reading,
    canonical_range,
    decode_picture,
    is_deep,
    picture_from_array,
    picture_from_image,
)

G = shades()
C = colours(G)
HU = np.round(G * 2000 - 1000)
RANGES = {"12bit": 12, "10bit": 10}


def pixels(data: bytes, value_range: str = "auto", warns: str = "") -> np.ndarray:
    found = decode_picture(data, "x", Reading(value_range))
    assert (warns in found.warning) if warns else not found.warning
    return np.asarray(found.image)


def assert_is(found: np.ndarray, picture: np.ndarray, within: int = 0) -> None:
    expected = eight(picture if picture.ndim == 3 else np.dstack([picture] * 3))
    apart = np.abs(found.astype(int) - expected)
    assert apart.max() <= within


@pytest.mark.parametrize(
    "data",
    [
        pillow(deep(G, 16)),
        pillow(deep(G, 16), "TIFF"),
        pillow(deep(G, 16), "TIFF", compression="tiff_lzw"),
        png16(deep(G, 16)),
        png16(np.dstack([deep(G, 16)] * 2)),
        tiff(deep(G, 16)),
        tiff(deep(G, 16), byteorder=">"),
        tiff(deep(G, 16), bigtiff=True),
        tiff(deep(G, 16), tile=(16, 16)),
        tiff(deep(G, 16), compression="deflate"),
        tiff(65535 - deep(G, 16), photometric="miniswhite"),
        tiff(deep(G, 32)),
        tiff((G * (2**64 - 2**12)).astype(np.uint64)),
    ],
)
def test_unsigned_values_have_the_range_of_their_type(data):
    assert is_deep(data)
    assert_is(pixels(data), G)


@pytest.mark.parametrize(
    "data",
    [
        png16(deep(C, 16)),
        png16(deep(C, 16), paeth=True),
        png16(np.dstack([deep(C, 16), deep(G, 16)]), paeth=True),
        tiff(deep(C, 16)),
        tiff(deep(C, 16), compression="deflate", predictor=True),
        tiff(np.moveaxis(deep(C, 16), -1, 0), planarconfig="separate"),
        b"P6 20 24 65535\n" + deep(C, 16).astype(">u2").tobytes(),
    ],
)
def test_colours_of_16_bits_are_read_whole(data):
    assert is_deep(data)
    assert_is(pixels(data), C)


def test_pillow_reads_what_tifffile_needs_imagecodecs_for(monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    monkeypatch.setattr(tifffile.TiffPage, "asarray", refuse)
    packed = {"compression": "deflate", "predictor": True}
    assert_is(pixels(tiff(deep(C, 16), **packed)), C)
    assert_is(pixels(tiff(deep(C, 16), byteorder=">", **packed)), C)
    assert_is(pixels(tiff(deep(C, 16), rowsperstrip=5, **packed)), C)
    assert_is(pixels(tiff(deep(G, 16), **packed)), G)
    assert_is(pixels(tiff(deep(G, 32), **packed)), G)
    white = tiff(65535 - deep(G, 16), photometric="miniswhite", **packed)
    assert_is(pixels(white), G)
    floats = tiff(G.astype(np.float32), compression="deflate")
    assert_is(pixels(floats, "0,1"), G)
    with pytest.raises(DataError, match=r"16 bits .*DEFLATE.*imagecodecs.*formats"):
        planar = tiff(
            np.moveaxis(deep(C, 16), -1, 0), planarconfig="separate", **packed
        )
        pixels(planar)


@pytest.mark.parametrize(
    "data",
    [
        pillow(deep(G, 12)),
        pillow(deep(G, 12), "TIFF"),
        tiff(deep(G, 12), byteorder=">"),
        pillow(deep(G, 12), "JPEG2000"),
        png16(deep(C, 12)),
        tiff(deep(C, 12)),
        tiff(np.moveaxis(deep(C, 12), -1, 0), planarconfig="separate"),
        b"P5 20 24 65535\n" + deep(G, 12).astype(">u2").tobytes(),
    ],
)
def test_12_bits_in_16_are_said_and_set_right_by_the_setting(data):
    assert pixels(data, warns="nearly black").max() == 16
    found = pixels(data, "12bit")
    assert_is(found, G if (found[..., 0] == found[..., 1]).all() else C, 1)


@pytest.mark.parametrize(
    "data",
    [
        # Left alone, scaled by a shift, and scaled with its upper bits repeated.
        png16(deep(G, 12), b"\x0c"),
        png16(deep(G, 12) << 4, b"\x0c"),
        png16(deep(G, 12) << 4 | deep(G, 12) >> 8, b"\x0c"),
        b"P5 20 24 4095\n" + deep(G, 12).astype(">u2").tobytes(),
        b"P2\n# by hand\n20 24\n4095\n"
        + b" ".join(b"%d" % v for v in deep(G, 12).flat),
        tiff(deep(G, 12), extratags=[(281, "H", 1, 4095, True)]),
    ],
)
def test_a_depth_that_the_file_says_is_used(data):
    assert_is(pixels(data), G, 1)


def test_a_statistic_in_the_file_is_no_range():
    data = tiff(deep(G * 0.98, 12), extratags=[(281, "H", 1, 4013, True)])
    pixels(data, warns="nearly black")


@pytest.mark.parametrize(
    ("values", "value_range"),
    [
        (HU.astype(np.int16), "-1000,1000"),
        (HU.astype(np.int32), "-1000,1000"),
        (HU.astype(np.float32), "-1000,1000"),
        ((eight(G).astype(int) - 128).astype(np.int8), "-128,127"),
        (G.astype(np.float16), "0,1"),
        (G.astype(np.float32), "0,1"),
        (G.astype(np.float64), "0,1"),
        (C.astype(np.float32), "0,1"),
        ((G * 255).astype(np.float32), "8bit"),
    ],
)
def test_what_a_file_cannot_say_is_asked_for(values, value_range):
    data = tiff(values)
    assert is_deep(data)
    with pytest.raises(DataError, match=f"{values.dtype}.*config.data.value_range"):
        pixels(data)
    picture = C if values.ndim == 3 else G
    assert_is(pixels(data, value_range), picture, 1)
    array = picture_from_array(values, "x", Reading(value_range))
    assert_is(np.asarray(array.image), picture, 1)
    with pytest.raises(DataError, match="value_range"):
        picture_from_array(values, "x")


def test_values_outside_of_a_depth_are_refused_and_of_a_window_clipped():
    with pytest.raises(DataError, match="values from 0 to 65535, outside of .* 4095"):
        pixels(pillow(deep(G, 16)), "12bit")
    window = pixels(tiff(HU.astype(np.int16)), "-100,100")
    assert_is(window, (HU.clip(-100, 100) + 100) / 200, 1)
    pixels(tiff(G.astype(np.float32)), "5,6", warns="without any contrast")


def test_values_that_are_no_numbers_are_counted():
    values = G.astype(np.float32)
    values[3, :2] = np.nan, np.inf
    with pytest.raises(DataError, match="2 values that are no finite numbers"):
        pixels(tiff(values), "0,1")


def test_8_bits_mean_the_same_whatever_the_setting():
    for data in (pillow(eight(C)), pillow(eight(C), "TIFF"), tiff(eight(C))):
        assert not is_deep(data)
        for value_range in ("auto", "12bit", "-1000,1000"):
            np.testing.assert_array_equal(pixels(data, value_range), eight(C))


def test_16_bits_are_as_pillows_division_by_257():
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = np.round(every / 257).astype(np.uint8)
    np.testing.assert_array_equal(pixels(pillow(every))[..., 0], expected)


def test_tiffs_of_8_bits_are_pillows_own():
    inks = Image.fromarray(eight(C)).convert("CMYK")
    palette = Image.fromarray(eight(C)).quantize(17)
    for image, options in (
        (inks, {}),
        (palette, {}),
        (Image.fromarray(eight(C)), {"compression": "jpeg"}),
        (Image.fromarray(eight(C)), {"compression": "tiff_lzw"}),
        (Image.fromarray(eight(G)).convert("1"), {"compression": "group4"}),
        (Image.fromarray(eight(C)).convert("LAB"), {}),
    ):
        data = pillow(image, "TIFF", **options)
        expected = Image.open(io.BytesIO(data)).convert("RGB")
        np.testing.assert_array_equal(pixels(data), np.asarray(expected))
    planar = tiff(np.moveaxis(eight(C), -1, 0), planarconfig="separate")
    assert_is(pixels(planar), C)
    white = tiff(255 - eight(G), photometric="miniswhite")
    assert_is(pixels(white), G)


def test_inks_of_16_bits_are_colours():
    inks = np.asarray(Image.fromarray(eight(C)).convert("CMYK"))
    data = tiff(inks.astype(np.uint16) * 257, photometric="separated")
    expected = Image.fromarray(inks, "CMYK").convert("RGB")
    np.testing.assert_array_equal(pixels(data), np.asarray(expected))


def test_orientation_of_deep_pictures_is_as_of_others():
    for orientation in range(1, 9):
        tag = [(274, "H", 1, orientation, True)]
        both = [tiff(eight(G), extratags=tag), tiff(deep(G, 16), extratags=tag)]
        shallow, full = map(pixels, both)
        np.testing.assert_array_equal(shallow, full)
        exif = Image.Exif()
        exif[0x0112] = orientation
        pair = [pillow(kind, exif=exif) for kind in (eight(G), deep(G, 16))]
        for upright in (False, True):
            shallow, full = (decode_picture(d, "x", upright=upright) for d in pair)
            np.testing.assert_array_equal(shallow.image, full.image)


def test_arrays_and_images():
    reading = Reading("12bit")
    twelve = deep(G, 12)
    assert "nearly black" in picture_from_array(twelve, "x").warning
    assert "nearly black" in picture_from_image(Image.fromarray(twelve), "x").warning
    for found in (
        picture_from_array(twelve, "x", reading),
        picture_from_array(twelve.astype(np.int64), "x", reading),
        picture_from_image(Image.fromarray(twelve), "x", reading),
        picture_from_image(Image.fromarray(twelve.astype(np.int32)), "x", reading),
    ):
        assert_is(np.asarray(found.image), G, 1)
    assert_is(np.asarray(picture_from_array(deep(C, 16), "x").image), C)
    negative = Image.fromarray(HU.astype(np.int32))
    with pytest.raises(DataError, match="values from -1000"):
        picture_from_image(negative, "x")
    for array in (G > 0.5, G.astype(complex), G[None], G[:0]):
        with pytest.raises(DataError, match="is an array of"):
            picture_from_array(array, "x", reading)


@pytest.mark.parametrize(
    "wrong", ["", "7bit", "17bit", "12", "1,0", "0,0", "0,nan", "0,inf", "a,b", "1,2,3"]
)
def test_wrong_ranges_are_refused(wrong):
    with pytest.raises(DataError, match="data.value_range is .*allowed are auto"):
        Reading(wrong)


def test_a_range_has_one_spelling():
    assert canonical_range(" 12BIT ") == "12bit"
    assert canonical_range("-1000, 1e3") == canonical_range((-1000, 1000.0))
    assert Reading((0, 1)) == Reading("0.0,1")
    assert not Reading().changed() and Reading("12bit").changed()


@given(st.integers(8, 16), st.integers(0, 65535))
def test_a_depth_is_its_share_of_255(bits, value):
    value %= 2**bits
    array = np.full((1, 2), value, np.uint16)
    found = picture_from_array(array, "x", Reading(f"{bits}bit"))
    exact = value * 255 / (2**bits - 1)
    assert abs(np.asarray(found.image)[0, 0, 0] - exact) <= 0.5


def test_packed_bits_and_unknown_layouts_are_named():
    wide = tiff(
        np.dstack([eight(G)] * 5), photometric="minisblack", planarconfig="contig"
    )
    with pytest.raises(DataError, match="has 5 bands; allowed are"):
        pixels(wide)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, deep(G, 16), photometric="cfa")
    with pytest.raises(DataError, match="colours CFA"):
        pixels(buffer.getvalue())


@pytest.mark.parametrize(
    "data",
    [
        png16(deep(C, 12)),
        png16(deep(G, 12)),
        tiff(deep(C, 12), photometric="rgb"),
        tiff(deep(G, 12)),
    ],
    ids=["png colours", "png grey", "tiff colours", "tiff grey"],
)
def test_an_opened_image_of_16_bits_is_read_as_its_file_is(data):
    image = Image.open(io.BytesIO(data))
    assert picture_from_image(image, "x").warning.startswith("nearly black")
    found = picture_from_image(image, "x", Reading("12bit")).image
    np.testing.assert_array_equal(np.asarray(found), pixels(data, "12bit"))
    # And it is still the caller's own.
    image.load()
