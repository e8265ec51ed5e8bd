"""Decoding and resizing against literal pixels and Pillow."""

import io
import os

import numpy as np
import pytest
from PIL import Image

from data_pipelines.errors import DataError
from data_pipelines.pictures import picture_from_image, read_size
from data_pipelines.transforms import (
    decode_image,
    decode_within,
    read_image,
)


def png(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("mode", "colour", "kind", "expected"),
    [
        ("1", 1, "PNG", (255, 255, 255)),
        ("L", 77, "PNG", (77, 77, 77)),
        ("LA", (77, 9), "PNG", (77, 77, 77)),
        ("RGB", (1, 2, 3), "PNG", (1, 2, 3)),
        ("RGBA", (1, 2, 3, 0), "PNG", (1, 2, 3)),
        ("CMYK", (255, 0, 0, 0), "TIFF", (0, 255, 255)),
        ("I;16", 257 * 77, "PNG", (77, 77, 77)),
        ("I;16", 65535, "TIFF", (255, 255, 255)),
        ("I", 257 * 10, "PPM", (10, 10, 10)),
    ],
)
def test_every_mode_becomes_rgb(mode, colour, kind, expected):
    data = png(Image.new(mode, (5, 3), colour), kind)
    pixels = decode_image(data, "x", 4)
    assert pixels.shape == (4, 4, 3) and pixels.dtype == np.uint8
    assert (pixels == expected).all()


@pytest.mark.parametrize(
    ("size", "side", "expected"),
    [
        ((30, 20), 15, (10, 15, 3)),
        ((20, 30), 15, (15, 10, 3)),
        ((30, 20), 64, (20, 30, 3)),
    ],
)
def test_shrinking_keeps_the_aspect_and_never_enlarges(size, side, expected):
    pixels = decode_within(png(Image.new("RGB", size, (1, 2, 3))), "x", side)
    assert pixels.shape == expected
    assert (pixels == (1, 2, 3)).all()


def test_palette_is_resolved_before_resizing():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    assert (decode_image(png(image), "x", 8) == (200, 100, 50)).all()


def test_resize_is_pillows_bicubic_square():
    noise = np.random.default_rng(0).integers(0, 256, (31, 17, 3), np.uint8)
    expected = Image.fromarray(noise).resize((14, 14), Image.Resampling.BICUBIC)
    pixels = decode_image(png(Image.fromarray(noise)), "x", 14)
    np.testing.assert_array_equal(pixels, np.asarray(expected))


def test_exif_orientation_is_applied_for_prediction_only(tmp_path):
    image = Image.new("RGB", (8, 4))
    image.paste((255, 255, 255), (0, 0, 4, 4))
    exif = image.getexif()
    exif[0x0112] = 6  # stored rotated: turn a quarter clockwise to view
    path = tmp_path / "photo.png"
    path.write_bytes(png(image, exif=exif))
    stored = decode_image(path.read_bytes(), "x", 4)
    upright, height, width = read_image(path, 4)
    assert (height, width) == (8, 4)
    assert (stored[0, :, 0] > 127).tolist() == [True, True, False, False]
    assert (upright[:, 0, 0] > 127).tolist() == [True, True, False, False]
    assert read_size(path) == (8, 4)


def test_damaged_exif_data_turns_nothing(tmp_path):
    image = Image.new("RGB", (8, 4), (1, 2, 3))
    path = tmp_path / "photo.jpg"
    path.write_bytes(png(image, "JPEG", exif=b"Exif\0\0nothing"))
    assert read_image(path, 4)[1:] == (4, 8)


def test_only_regular_files_of_known_formats_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    # Pillow would hand this to Ghostscript.
    (tmp_path / "program.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n")
    for path, words in (
        (tmp_path / "pipe.png", "is not a regular file"),
        ("/dev/zero", "is not a regular file"),
        (tmp_path / "program.png", "not an image"),
        (tmp_path, "Is a directory"),
    ):
        with pytest.raises(DataError, match=words):
            read_image(path, 4)


@pytest.mark.parametrize("mode", ["LAB", "HSV", "PA", "RGBa", "YCbCr"])
def test_pictures_of_rare_modes_become_rgb(mode):
    assert picture_from_image(Image.new(mode, (3, 2)), "x").image.mode == "RGB"


def test_pictures_that_cannot_become_rgb_are_named():
    for image in (Image.new("La", (3, 2)), Image.new("F", (3, 2))):
        with pytest.raises(DataError, match="picture 7"):
            picture_from_image(image, "picture 7")


@pytest.mark.parametrize("cut", [0, 5, 60])
def test_damaged_bytes_are_named(cut):
    noise = np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)
    data = png(Image.fromarray(noise))[:cut]
    with pytest.raises(DataError, match=r"a/b\.png .*skip_bad_files=True") as caught:
        decode_image(data, "a/b.png", 4)
    assert "\n" not in str(caught.value) and "0x" not in str(caught.value)


def test_float_images_are_refused():
    with pytest.raises(DataError, match="float32.*data.value_range"):
        decode_image(png(Image.new("F", (2, 2), 0.5), "TIFF"), "depth.tif", 2)
