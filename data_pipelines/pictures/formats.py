"""The formats: what is decoded, by content, and what else a file may be."""

import io
import struct
import threading
from typing import BinaryIO

from PIL import Image

# What Pillow may decode, whatever a file is called: it knows more, and runs Ghostscript
# on some.
PILLOW_FORMATS = (
    "PNG",
    "JPEG",
    "BMP",
    "DIB",
    "TIFF",
    "WEBP",
    "GIF",
    "PPM",
    "AVIF",
    "JPEG2000",
)
# What a folder's pictures are called; of the last line, with the extra `formats`.
IMAGE_SUFFIXES = frozenset(
    (
        *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".tif", ".tiff"),
        *(".webp", ".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".jp2", ".j2k"),
        *(".apng", ".jif", ".mpo", ".j2c", ".jpc", ".jpf", ".jpx", ".avifs"),
        *(".dcm", ".dicom", ".heic", ".heif", ".hif"),
    )
)
EXTRA = "pip install 'kanoclip-jax[formats]'"
HEIC, DICOM, AVIF, JPEG_2000, TIFF = "HEIC", "DICOM", "AVIF", "JPEG 2000", "TIFF"
_TIFFS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_HEAD = 132
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
# Files that people take for pictures, by how they begin.
_OTHERS = (
    (b"version https://git-lfs", "a git-LFS pointer: fetch the file with git lfs pull"),
    (b"%PDF", "PDF, a document"),
    (b"%!PS", "PostScript, a program"),
    (b"8BPS", "Photoshop's PSD"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"SIMPLE  =", "FITS"),
    (b"\x89HDF", "HDF5"),
    (b"\x93NUMPY", "a numpy array"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "gzip-compressed"),
    (b"<svg", "SVG, a drawing"),
    (b"<!DOCTYPE html", "a web page"),
    (b"<html", "a web page"),
    (b"\x76\x2f\x31\x01", "OpenEXR"),
    (b"\0\0\x01\0", "a Windows icon"),
    (b"\x0a\x05\x01\x08", "PCX"),
)
_TGA = b"TRUEVISION-XFILE.\0"

# Pillow's own limit is a global, which two threads must not move at once.
_limit = threading.Lock()


def identify(file: BinaryIO) -> Image.Image | None:
    """Opens a picture as `Image.open` does, without Pillow's own limit of pixels.

    That limit is a global of the process; ours is a setting, see `Reading`.

    Returns:
      The picture, of which the header alone was read; None where it is none of ours.
    """
    Image.preinit()
    if not Image.OPEN.keys() >= set(PILLOW_FORMATS):
        Image.init()
    prefix = file.read(16)
    for name in PILLOW_FORMATS:
        # AVIF and JPEG 2000 are not in every build of Pillow.
        factory, accept = Image.OPEN.get(name, (None, None))
        try:
            # Of a few bytes some take more than there are.
            if factory is None or (accept and accept(prefix) is not True):
                continue
            file.seek(0)
            return factory(file, "")
        except (SyntaxError, IndexError, TypeError, struct.error):
            continue
    return None


def load_whole(image: Image.Image) -> None:
    """Decodes a picture whose size was checked already, past Pillow's own limit."""
    if image.width * image.height <= (Image.MAX_IMAGE_PIXELS or 0):
        image.load()
        return
    with _limit:
        before = Image.MAX_IMAGE_PIXELS
        try:
            Image.MAX_IMAGE_PIXELS = None
            image.load()
        finally:
            Image.MAX_IMAGE_PIXELS = before


def name_format(file: BinaryIO) -> str:
    """Names what a file is by how it begins; empty where nobody knows."""
    file.seek(0)
    head = file.read(_HEAD)
    if head[128:132] == b"DICM":
        return DICOM
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        if brand in (b"avif", b"avis"):
            return AVIF
        return HEIC if brand in _HEIC_BRANDS else "a video or another ISO media file"
    if head[:12] == b"\0\0\0\x0cjP  \r\n\x87\n" or head[:4] == b"\xff\x4f\xff\x51":
        return JPEG_2000
    if head.startswith(_TIFFS):
        return TIFF
    known = next((name for sign, name in _OTHERS if head.startswith(sign)), "")
    if known or head.lstrip()[:1] == b"<":
        return known or "a web page"
    # TGA signs at its end.
    size = file.seek(0, io.SEEK_END)
    file.seek(max(size - len(_TGA), 0))
    return "TGA" if file.read() == _TGA else ""


def as_file(data: bytes | BinaryIO) -> BinaryIO:
    """Makes bytes a file; a file is taken from its beginning."""
    file = io.BytesIO(data) if isinstance(data, bytes) else data
    file.seek(0)
    return file
