"""EXIF orientations: pictures of a folder, and masks drawn upright or as stored."""

import io
import logging
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from data_pipelines.errors import DataError
from data_pipelines.masks import MaskRule, decode_original_mask
from data_pipelines.orientation import read_header, turn, turn_back
from data_pipelines.pictures import Reading, read_picture
from data_pipelines.pipeline import eval_stream
from data_pipelines.sources import JoinedSource, MaskSettings, open_source

TURNS = range(2, 9)
# What a camera stores: a white corner on grey, in a shape that no turn leaves alone.
UPRIGHT = np.full((24, 40), 90, np.uint8)
UPRIGHT[:8, :16] = 255
SQUARE = np.full((32, 32), 90, np.uint8)
SQUARE[:8, :16] = 255


def exif(orientation: int) -> Image.Exif:
    found = Image.Exif()
    found[0x0112] = orientation
    return found


def encode(pixels: np.ndarray, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def stored(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """The pixels of a picture that an orientation turns upright."""
    return turn(pixels, turn_back(orientation))


def photograph(pixels: np.ndarray, orientation: int) -> bytes:
    return encode(stored(pixels, orientation), exif=exif(orientation))


def open_at(path, orientation="upright", mask_orientation="auto"):
    return open_source(
        f"folder:{path}",
        root="",
        prepared="",
        reading=Reading(orientation=orientation),
        masks=MaskSettings(orientation=mask_orientation),
    )


def first(source, index=0):
    """Picture and mask of a record, at their own size."""
    (batch,) = eval_stream(
        source,
        image_size=16,
        batch_size=1,
        workers=0,
        indices=[index],
        original_masks=True,
    )
    return batch["image"][0, ..., 0] > 170, batch["regions"][0] > 0


@pytest.mark.parametrize("orientation", TURNS)
def test_turns_are_pillows(orientation):
    image = Image.fromarray(stored(UPRIGHT, orientation))
    image.getexif()[0x0112] = orientation
    np.testing.assert_array_equal(np.asarray(ImageOps.exif_transpose(image)), UPRIGHT)
    np.testing.assert_array_equal(
        turn(stored(UPRIGHT, orientation), orientation), UPRIGHT
    )


@pytest.mark.parametrize("reading", ["upright", "stored"])
@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("drawn", ["upright", "stored"])
def test_masks_lie_on_their_pictures(tmp_path, put, orientation, drawn, reading):
    mask = (UPRIGHT > 200).astype(np.uint8)
    file = mask if drawn == "upright" else stored(mask, orientation)
    put(tmp_path / "bad/0.png", photograph(UPRIGHT, orientation))
    put(tmp_path / "masks/bad/0.png", encode(file))
    picture, found = first(open_at(tmp_path, reading, drawn))
    expected = mask if reading == "upright" else stored(mask, orientation)
    np.testing.assert_array_equal(found, expected)
    small = Image.fromarray(expected * 255).resize((16, 16), Image.Resampling.BICUBIC)
    assert (picture == (np.asarray(small) > 127)).mean() > 0.98


@pytest.mark.parametrize("drawn", ["upright", "stored"])
def test_sizes_tell_how_masks_were_drawn(tmp_path, put, caplog, drawn):
    mask = (UPRIGHT > 200).astype(np.uint8)
    put(tmp_path / "good/0.png", photograph(UPRIGHT, 6))
    for i, orientation in enumerate((6, 3)):
        file = mask if drawn == "upright" else stored(mask, orientation)
        put(tmp_path / f"bad/{i}.png", photograph(UPRIGHT, orientation))
        put(tmp_path / f"masks/bad/{i}.png", encode(file))
    with caplog.at_level(logging.WARNING):
        source = open_at(tmp_path)
    # The half turn's size tells nothing: it is as the quarter turn's mask.
    for index in (1, 2):
        np.testing.assert_array_equal(first(source, index)[1], mask)
    assert "3 of 3 pictures have an EXIF orientation and are turned upright" in (
        caplog.text
    )
    counts = {"upright": 0, "stored": 0, drawn: 2}
    assert (
        f"{counts['upright']} were drawn on the upright picture and "
        f"{counts['stored']} on the pixels as stored (1 of them"
    ) in caplog.text


@pytest.mark.parametrize("orientation", TURNS)
def test_what_nothing_tells_is_asked_for(tmp_path, put, orientation):
    put(tmp_path / "good/0.png", encode(SQUARE))
    put(tmp_path / "bad/0.png", photograph(SQUARE, orientation))
    put(tmp_path / "masks/bad/0.png", encode(SQUARE // 255))
    words = r"1 pictures .*bad/0\.png.*mask_orientation=upright"
    with pytest.raises(DataError, match=words):
        open_at(tmp_path)
    for way in ("upright", "stored"):
        mask = SQUARE // 255
        expected = mask if way == "upright" else turn(mask, orientation)
        found = first(open_at(tmp_path, mask_orientation=way), 1)[1]
        np.testing.assert_array_equal(found, expected)


def test_a_mask_with_its_own_orientation_tells_itself(tmp_path, put):
    put(tmp_path / "bad/0.png", photograph(SQUARE, 8))
    put(tmp_path / "masks/bad/0.png", photograph(SQUARE // 200, 3))
    np.testing.assert_array_equal(first(open_at(tmp_path))[1], SQUARE // 200)


def test_a_mask_of_neither_size_is_refused(tmp_path, put):
    put(tmp_path / "bad/0.png", photograph(UPRIGHT, 6))
    put(tmp_path / "masks/bad/0.png", encode(SQUARE // 255))
    with pytest.raises(
        DataError, match="32x32 px but its image 0.png is 24x40 or 40x24"
    ):
        open_at(tmp_path)


def test_what_is_turned_has_another_key(tmp_path, put):
    for name, data in (("a", encode(SQUARE)), ("b", photograph(SQUARE, 3))):
        put(tmp_path / f"good/{name}.png", data)
    upright, kept = open_at(tmp_path), open_at(tmp_path, "stored")
    assert upright.key(0) == kept.key(0)
    assert upright.key(1) != kept.key(1)
    other = tmp_path / "other"
    put(other / "good/a.png", encode(SQUARE))
    joined = JoinedSource([open_at(other), upright])
    assert joined.file_rule(2) == upright.file_rule(1)
    assert joined.file_rule(2).turned == 3


def test_tiffs_are_upright_however_they_are_read(tmp_path, put):
    for reading in ("upright", "stored"):
        mask = (UPRIGHT > 200).astype(np.uint8)
        folder = tmp_path / reading
        data = encode(stored(UPRIGHT, 6), "TIFF", tiffinfo={274: 6})
        put(folder / "bad/0.tif", data)
        put(folder / "masks/bad/0.png", encode(stored(mask, 6)))
        assert read_header(folder / "bad/0.tif").upright == (40, 24)
        np.testing.assert_array_equal(first(open_at(folder, reading))[1], mask)


def test_prediction_leaves_pictures_where_it_is_told_to(tmp_path, put):
    path = put(tmp_path / "0.png", photograph(UPRIGHT, 6))
    assert read_picture(path).image.size == (40, 24)
    assert read_picture(path, Reading(orientation="stored")).image.size == (24, 40)


def test_catalogue_datasets_are_left_as_they_are(tmp_path, put, open_dataset):
    home = tmp_path / "root/mpdd/tubes"
    put(home / "test/good/0.png", encode(SQUARE))
    put(home / "test/bent/0.png", photograph(SQUARE, 3))
    put(home / "ground_truth/bent/0_mask.png", encode(SQUARE // 200))
    source = open_dataset("mpdd")
    picture, found = first(source, 1)
    np.testing.assert_array_equal(found, SQUARE // 200)
    assert picture[-4:, -8:].all() and not picture[:4, :8].any()


def test_orientations_are_found_wherever_a_file_has_them(tmp_path, put):
    data = photograph(UPRIGHT, 6)
    head, exif_chunk, rest = _split_chunk(data, b"eXIf")
    end = rest[-12:]
    late = put(tmp_path / "late.png", head + rest[:-12] + exif_chunk + end)
    assert read_header(late) == read_header(put(tmp_path / "early.png", data))
    assert read_header(late).orientation == 6
    text = zlib.crc32(b"tEXtTitle\0x")
    chunk = struct.pack(">I", 7) + b"tEXtTitle\0x" + struct.pack(">I", text)
    plain = put(tmp_path / "plain.png", head + chunk + rest)
    assert read_header(plain).orientation == 1
    for kind in ("JPEG", "WEBP"):
        path = put(tmp_path / f"0.{kind}", encode(UPRIGHT, kind, exif=exif(5)))
        assert read_header(path).orientation == 5
    damaged = encode(UPRIGHT, "JPEG", exif=b"Exif\0\0nothing")
    assert read_header(put(tmp_path / "damaged.jpg", damaged)).orientation == 1


def _split_chunk(data: bytes, kind: bytes) -> tuple[bytes, bytes, bytes]:
    start = data.index(kind) - 4
    end = start + 12 + int.from_bytes(data[start : start + 4], "big")
    return data[:start], data[start:end], data[end:]


def test_turns_follow_each_other():
    mask = (UPRIGHT > 200).astype(np.uint8)
    found = decode_original_mask(encode(mask), "m", MaskRule("auto", (6, 8)))
    np.testing.assert_array_equal(found, mask)
