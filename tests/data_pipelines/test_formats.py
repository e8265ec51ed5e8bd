"""Which files are pictures: formats, several in one file, limits, and what is said."""

import io
import struct
import sys
import zlib

import numpy as np
import pytest
import tifffile
from encoded import colours, deep, eight, pillow, shades, tiff
from PIL import Image

from data_pipelines.errors import DataError
from data_pipelines.pictures import (
    IMAGE_SUFFIXES,
    Reading,
    decode_picture,
    load_stored,
    read_picture,
    read_size,
)
from data_pipelines.pictures import (
    tiff as tiff_module,
)

G = eight(shades())
MANY = {"save_all": True, "append_images": [Image.fromarray(255 - G)] * 2}


def stack(*pages: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        for page in pages:
            writer.write(page, photometric="minisblack", **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("count", "data"),
    [
        (2, stack(G, G)),
        (2, stack(deep(shades(), 16), deep(shades(), 16))),
        (3, tiff(np.stack([G] * 3)[..., None], imagej=True, photometric="minisblack")),
        (4, tiff(np.stack([G] * 4), ome=True, metadata={"axes": "ZYX"})),
        (5, stack(np.stack([G] * 5), truncate=True)),
        (16, stack(np.stack([G] * 16), volumetric=True, tile=(16, 16, 16))),
        (3, pillow(G, "GIF", **MANY, duration=9, disposal=2)),
        (3, pillow(colours(G), "WEBP", **MANY)),
        (3, pillow(G, "PNG", **MANY)),
    ],
)
def test_several_pictures_in_one_file_are_never_the_first(count, data):
    for read in (decode_picture, load_stored, lambda d, p: read_size(d, p)):
        with pytest.raises(DataError, match=r"a\.x holds [23456]?\d+? .*own") as caught:
            read(data, "a.x")
        # Formats may drop frames that repeat the one before.
        said = int(str(caught.value).split()[2])
        assert said == count or (said == 2 and count == 3)


def test_copies_of_lower_resolution_do_not_count():
    pyramid = io.BytesIO()
    with tifffile.TiffWriter(pyramid) as writer:
        writer.write(G, subifds=1, photometric="minisblack")
        writer.write(G[::2, ::2], subfiletype=1, photometric="minisblack")
    preview = io.BytesIO()
    with tifffile.TiffWriter(preview) as writer:
        writer.write(G[::4, ::4], subfiletype=1, photometric="minisblack")
        writer.write(G, photometric="minisblack")
    for data in (pyramid.getvalue(), preview.getvalue()):
        found = decode_picture(data, "x").image
        np.testing.assert_array_equal(np.asarray(found)[..., 0], G)
        assert read_size(data) == G.shape[::-1] == load_stored(data, "x").size


def test_of_a_phones_pair_the_first_is_the_picture():
    other = Image.fromarray(255 - colours(G))
    data = pillow(colours(G), "MPO", save_all=True, append_images=[other])
    assert decode_picture(data, "x").image.size == G.shape[::-1]


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "git-LFS pointer.*git lfs pull",
        ),
        (b"\xff\x0a", "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"%!PS-Adobe-3.0", "not an image: PostScript"),
        (b"8BPS", "PSD"),
        (b"just words", r"\(not an image\)"),
        # Fewer bytes than some formats' own tests of a beginning take.
        (b"123", r"\(not an image\)"),
        (b"II*\0", "cannot be decoded"),
    ],
)
def test_what_is_no_picture_is_named(head, words):
    data = head + bytes(200)
    for read in (decode_picture, load_stored, lambda d, p: read_size(d, p)):
        with pytest.raises(DataError, match=f"a.x .*{words}"):
            read(data, "a.x")


def test_a_format_that_signs_at_its_end_is_named():
    with pytest.raises(DataError, match="a.tga .*not an image: TGA"):
        decode_picture(pillow(colours(G), "TGA"), "a.tga")


def test_an_extra_that_is_not_installed_is_named(monkeypatch):
    for package, data in (
        ("pillow_heif", b"\0\0\0\x18ftypheic" + bytes(40)),
        ("pydicom", bytes(128) + b"DICM" + bytes(40)),
    ):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(DataError, match=r"needs .*pip install .*\[formats\]"):
            decode_picture(data, "x")


@pytest.mark.parametrize("kind", ["AVIF", "JPEG2000", "DIB", "WEBP", "GIF", "PPM"])
def test_formats_by_content(kind):
    Image.init()
    if kind not in Image.SAVE:
        pytest.skip(f"this Pillow has no {kind}")
    lossless = {"AVIF": {"quality": 100}, "WEBP": {"lossless": True}}
    data = pillow(Image.fromarray(G), kind, **lossless.get(kind, {}))
    found = np.asarray(decode_picture(data, "x").image)[..., 0].astype(int)
    assert np.abs(found - G).max() <= 3


def test_what_is_decoded_is_listed():
    wanted = ".jfif .jpe .dib .pnm .avif .jp2 .dcm .heic .png .tiff"
    assert IMAGE_SUFFIXES >= set(wanted.split())


def huge(width: int, height: int) -> bytes:
    """A PNG whose header promises more than there is."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + header + body + chunk(b"IEND", b"")


def test_too_many_pixels_are_refused_from_the_header():
    words = r"60000x60000 px, 3600000000 in all; allowed are 178956970.*data.max_pixels"
    for read in (decode_picture, load_stored, lambda d, p: read_size(d, p)):
        with pytest.raises(DataError, match=words):
            read(huge(60000, 60000), "x")
    for data in (pillow(G), tiff(G), tiff(deep(shades(), 16)), pillow(G, "JPEG")):
        decode_picture(data, "x", Reading(max_pixels=G.size))
        with pytest.raises(DataError, match=f"allowed are {G.size - 1}"):
            decode_picture(data, "x", Reading(max_pixels=G.size - 1))
    for wrong in (0, -5, "many"):
        with pytest.raises(DataError, match=f"max_pixels is {wrong!r}"):
            Reading(max_pixels=wrong)


@pytest.mark.filterwarnings("error")
def test_the_limit_is_ours_and_not_pillows(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    for data in (pillow(G), tiff(G), pillow(G, "TIFF", compression="tiff_lzw")):
        np.testing.assert_array_equal(
            np.asarray(decode_picture(data, "x").image)[..., 0], G
        )
        assert load_stored(data, "x").size == G.shape[::-1]
    assert Image.MAX_IMAGE_PIXELS == 10


def test_strips_that_hold_more_than_their_part_are_refused():
    deep16 = deep(shades(), 16)
    for compression, pack in (("deflate", zlib.compress),):
        good = tiff(deep16, compression=compression)
        with tifffile.TiffFile(io.BytesIO(good)) as file:
            page = file.pages[0]
            offset, length = page.dataoffsets[0], page.databytecounts[0]
            where = page.tags["StripByteCounts"].valueoffset
        bomb = pack(bytes(10_000_000), 9)
        data = bytearray(good[:offset] + bomb)
        field = good[where : where + 4]
        size = "<I" if int.from_bytes(field, "little") == length else "<H"
        struct.pack_into(size, data, where, len(bomb))
        with pytest.raises(DataError, match="more than its part"):
            decode_picture(bytes(data), "x")


def test_memory_that_there_is_not_is_the_pictures_error(monkeypatch):
    def refuse(self):
        raise MemoryError

    monkeypatch.setattr(Image.Image, "convert", lambda *a, **k: refuse(a))
    with pytest.raises(DataError, match="x cannot be decoded .*not enough memory"):
        decode_picture(pillow(G), "x")


def test_a_palette_picture_without_a_palette_is_its_own_error():
    data = pillow(Image.new("P", (3, 2)), "PNG")
    start = data.index(b"PLTE") - 4
    length = int.from_bytes(data[start : start + 4], "big")
    without = data[:start] + data[start + 12 + length :]
    for read in (decode_picture,):
        try:
            read(without, "a.png")
        except DataError as error:
            assert str(error).startswith("a.png ")


def test_a_nul_in_a_path_is_that_pictures_error():
    with pytest.raises(DataError, match=r"a\\x00b.png holds a NUL"):
        read_picture("a\0b.png")


def test_without_tifffile_8_bits_are_read_and_others_named(monkeypatch):
    monkeypatch.setattr(tiff_module, "tifffile", None)
    for data in (tiff(G), pillow(G, "TIFF", compression="tiff_lzw")):
        found = np.asarray(decode_picture(data, "x").image)
        np.testing.assert_array_equal(found[..., 0], G)
    for values in (deep(shades(), 16), shades().astype(np.float32), G.view(np.int8)):
        with pytest.raises(DataError, match="pip install tifffile|not an image"):
            decode_picture(tiff(values), "x")
    with pytest.raises(DataError, match="holds 2 pictures"):
        decode_picture(stack(G, G), "x")


def test_every_cut_of_every_format_is_a_named_error():
    """Whatever a decoder raises, and whoever decodes."""
    whole = [
        pillow(G),
        pillow(deep(shades(), 16)),
        pillow(G, "JPEG"),
        tiff(G),
        tiff(deep(shades(), 16), compression="deflate"),
        tiff(shades().astype(np.float32)),
        pillow(G, "GIF"),
        pillow(colours(G), "WEBP"),
        b"P5 20 24 4095\n" + deep(shades(), 12).astype(">u2").tobytes(),
        b"P2 20 24 4095\n" + b" ".join(b"%d" % v for v in deep(shades(), 12).flat),
    ]
    rng = np.random.default_rng(0)
    for data in whole:
        for _ in range(12):
            damaged = bytearray(data[: rng.integers(1, len(data))])
            damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
            for read in (decode_picture, load_stored, lambda d, p: read_size(d, p)):
                try:
                    read(bytes(damaged), "a.x")
                except DataError as error:
                    assert str(error).startswith("a.x ") and "\n" not in str(error)
