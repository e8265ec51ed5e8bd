"""The one file reads whatever lies in a folder as the package does, pixel by pixel."""

import io
import struct
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import tifffile
from PIL import Image

from data_pipelines.errors import DataError
from data_pipelines.pictures import Reading, read_picture
from kanoclip_jax.engine.export.standalone import standalone

SHADE = np.add.outer(np.linspace(0, 0.5, 12), np.linspace(0, 0.5, 16))
GREY = np.round(SHADE * 255).astype(np.uint8)
DEEP = np.round(SHADE * 65535).astype(np.uint16)
TWELVE = np.round(SHADE * 4095).astype(np.uint16)
COLOUR = np.dstack([GREY, GREY[::-1], GREY[:, ::-1]])


def pillow(pixels: np.ndarray | Image.Image, kind: str, **options: object) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(pixels: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def png(
    *,
    depth: int,
    colour: int,
    rows: bytes,
    extra: bytes = b"",
    size: tuple[int, int] = (16, 12),
) -> bytes:
    """A PNG that Pillow does not write; `extra` comes before its pixels."""
    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def rows_of(pixels: np.ndarray) -> bytes:
    return b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)


def odd_files() -> Iterator[tuple[str, bytes]]:
    colour, grey = Image.fromarray(COLOUR), Image.fromarray(GREY)
    deep_colour = np.dstack([DEEP, DEEP[::-1], TWELVE])
    hounsfield = np.round(SHADE * 2000 - 1000).astype(np.int16)
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        yield f"{mode}.png", pillow(colour.convert(mode), "PNG")
    for kind in ("JPEG", "WEBP", "BMP", "GIF", "PPM", "TIFF", "DIB"):
        yield f"colour.{kind}", pillow(colour, kind)
    yield "cmyk.jpg", pillow(colour.convert("CMYK"), "JPEG")
    yield "deep.png", pillow(DEEP, "PNG")
    yield "twelve.png", pillow(TWELVE, "PNG")
    yield "twelve.tif", tiff(TWELVE)
    yield "big_endian.tif", tiff(TWELVE, byteorder=">")
    yield (
        "sbit.png",
        png(depth=16, colour=0, rows=rows_of(TWELVE), extra=chunk(b"sBIT", b"\x0c")),
    )
    yield "rgb16.png", png(depth=16, colour=2, rows=rows_of(deep_colour))
    yield "rgb16.tif", tiff(deep_colour, photometric="rgb")
    planes = np.moveaxis(deep_colour, -1, 0).copy()
    yield "planar.tif", tiff(planes, photometric="rgb", planarconfig="separate")
    yield "inverted.tif", tiff(DEEP, photometric="miniswhite")
    yield "deflated.tif", tiff(DEEP, compression="zlib")
    yield "hounsfield.tif", tiff(hounsfield)
    yield "int8.tif", tiff((SHADE * 100 - 50).astype(np.int8))
    yield "uint32.tif", tiff(np.round(SHADE * (2**32 - 1)).astype(np.uint32))
    yield "uint64.tif", tiff(np.round(SHADE * 2**60).astype(np.uint64))
    for kind in (np.float16, np.float32, np.float64):
        yield f"{kind.__name__}.tif", tiff(SHADE.astype(kind))
    yield "nan.tif", tiff(np.where(SHADE > 0.9, np.nan, SHADE).astype(np.float32))
    yield "colours.tif", tiff(COLOUR.astype(np.float32) / 255, photometric="rgb")
    yield "five_bands.tif", tiff(np.dstack([GREY] * 5), photometric="minisblack")
    yield "pages.tif", tiff(np.stack([GREY, GREY]), photometric="minisblack")
    yield "imagej.tif", tiff(np.stack([GREY] * 3), imagej=True)
    yield "moving.gif", pillow(grey, "GIF", save_all=True, append_images=[colour])
    yield "moving.png", pillow(grey, "PNG", save_all=True, append_images=[grey])
    yield "phone.jpg", pillow(colour, "MPO", save_all=True, append_images=[grey])
    yield "twelve.pgm", b"P5 16 12 4095\n" + TWELVE.astype(">u2").tobytes()
    yield "plain.pgm", b"P2 2 1 1000\n0 500\n"
    for orientation in (3, 6):
        exif = Image.Exif()
        exif[0x0112] = orientation
        yield f"exif_{orientation}.jpg", pillow(colour, "JPEG", exif=exif)
    yield "exif_damaged.jpg", pillow(colour, "JPEG", exif=b"Exif\0\0nothing")
    yield "1x1.png", pillow(GREY[:1, :1], "PNG")
    yield "wide.png", pillow(np.zeros((2, 2000), np.uint8), "PNG")
    yield "large.png", png(depth=8, colour=0, rows=b"", size=(60000, 60000))
    yield "cut.jpg", pillow(colour, "JPEG")[:200]
    yield "cut.png", pillow(colour, "PNG")[:60]
    yield "no_palette.png", png(depth=8, colour=3, rows=bytes(12 * 17))
    yield "empty.png", b""
    yield "pointer.png", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
    yield "page.html.png", b"<!DOCTYPE html><html>"
    yield "phone.heic", b"\0\0\0\x18ftypheic" + bytes(40)
    yield "scan.dcm", bytes(128) + b"DICM" + bytes(40)
    yield "next.jxl", b"\xff\x0a" + bytes(40)
    yield "noise.tif", b"II*\0" + bytes(range(200))


@pytest.fixture(scope="module")
def runner() -> ModuleType:
    module = ModuleType("runner_of_odd_pictures")
    # Its dataclasses look for themselves here.
    sys.modules[module.__name__] = module
    exec(compile(standalone(), "runner.py", "exec"), vars(module))  # noqa: S102
    return module


def outcome(read: object, wrong: type[Exception], path: Path, **settings: object):
    """A picture's pixels and what is said of them, or what was wrong with it."""
    try:
        found = read(path, **settings)
    except wrong as error:
        return "error", str(error)
    return np.asarray(found.image), found.warning


@pytest.mark.parametrize("value_range", ["auto", "12bit", "-1000,1000"])
def test_every_file_is_read_as_by_the_package(runner, tmp_path, value_range):
    files = dict(odd_files())
    assert len(files) > 55
    read = failed = 0
    for name, data in files.items():
        path = tmp_path / name
        path.write_bytes(data)
        mine = outcome(
            runner.read_picture,
            runner.DataError,
            path,
            reading=runner.Reading(value_range),
        )
        theirs = outcome(read_picture, DataError, path, reading=Reading(value_range))
        np.testing.assert_array_equal(mine[0], theirs[0], err_msg=name)
        said = theirs[1].replace("--config.data.value_range", "--value-range")
        said = said.replace("--config.data.max_pixels", "--max-pixels")
        extra = "pip install tifffile imagecodecs pydicom pillow-heif"
        assert mine[1] == said.replace("pip install 'kanoclip-jax[formats]'", extra)
        read += mine[0] != "error" if isinstance(mine[0], str) else 1
        failed += isinstance(mine[0], str)
    assert read > 25 and failed > 15
    for absent in (tmp_path / "absent.png", tmp_path, tmp_path / "a\0b.png"):
        mine = outcome(runner.read_picture, runner.DataError, absent)
        assert mine == outcome(read_picture, DataError, absent)
