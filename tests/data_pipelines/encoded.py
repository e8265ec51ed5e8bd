"""Encoded pictures of every kind of numbers, made without the code under test."""

import io
import struct
import zlib

import numpy as np
import tifffile
from PIL import Image


def shades() -> np.ndarray:
    """A picture in 0..1, as 8 bits have it: no smooth part, no symmetry."""
    levels = np.random.default_rng(0).integers(0, 256, (24, 20)).astype(np.float64)
    levels[:2, :3] = [[0, 255, 7], [128, 1, 254]]
    return levels / 255


def eight(picture: np.ndarray) -> np.ndarray:
    return np.round(picture * 255).astype(np.uint8)


def deep(picture: np.ndarray, bits: int) -> np.ndarray:
    """Unsigned values of some depth, in 16 bits or more."""
    kind = np.uint16 if bits <= 16 else np.uint32
    return np.round(picture * (2**bits - 1)).astype(kind)


def colours(picture: np.ndarray) -> np.ndarray:
    return np.dstack([picture, picture[::-1], picture[:, ::-1]])


def pillow(pixels: np.ndarray | Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(pixels) if isinstance(pixels, np.ndarray) else pixels
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(pixels: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    colour = pixels.ndim == 3 and 3 in (pixels.shape[0], pixels.shape[2])
    options = {"photometric": "rgb" if colour else "minisblack"} | options
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def png16(pixels: np.ndarray, significant: bytes = b"", paeth: bool = False) -> bytes:
    """A PNG of 16 bits with 1 to 4 channels, which Pillow cannot write.

    `paeth` filters each row with type 4, of which the distance is a whole pixel.
    """
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    raw = pixels.astype(">u2").reshape(height, -1).view(np.uint8)
    rows = _paeth(raw.astype(int), 2 * channels) if paeth else raw
    kind = 4 if paeth else 0
    data = b"".join(bytes((kind,)) + row.astype(np.uint8).tobytes() for row in rows)
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0))]
    if significant:
        chunks.append((b"sBIT", significant))
    chunks += [(b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body))
        + name
        + body
        + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


def _paeth(raw: np.ndarray, distance: int) -> np.ndarray:
    padded = np.pad(raw, ((1, 0), (distance, 0)))
    left, up = padded[1:, :-distance], padded[:-1, distance:]
    corner = padded[:-1, :-distance]
    guess = left + up - corner
    apart = np.stack([abs(guess - left), abs(guess - up), abs(guess - corner)])
    nearest = np.choose(apart.argmin(axis=0), [left, up, corner])
    return (raw - nearest) % 256
