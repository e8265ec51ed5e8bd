"""A folder of odd files, at the command line: good ones predicted, bad ones named."""

import csv
import io
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[3]
LONG = "ü" * 120 + ".png"


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def bomb() -> bytes:
    """A PNG of a few bytes that says that it has 3.6 billion pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + data + chunk(b"IEND", b"")


def write_good(folder: Path) -> dict[str, tuple[int, int]]:
    """Pictures of every kind; their names, and heights and widths as they are seen."""
    rng = np.random.default_rng(0)
    colour = Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8))
    grey = colour.convert("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    sizes = {}

    def put(name: str, data: bytes, height: int = 20, width: int = 30) -> None:
        path = folder / os.fsdecode(name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        sizes[str(path)] = (height, width)

    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        put(f"mode_{mode}.png", encode(colour.convert(mode)))
    put("mode_I16.png", encode(deep))
    put("mode_I16.tif", encode(deep, "TIFF"))
    put("mode_I.pgm", b"P5 30 20 65535\n" + np.asarray(deep).astype(">u2").tobytes())
    put("mode_CMYK.jpg", encode(colour.convert("CMYK"), "JPEG"))
    put("mode_YCbCr.jpeg", encode(colour, "JPEG"))
    put("transparent.png", encode(colour.convert("P"), transparency=b"\0\1" * 9))
    for kind in ("WEBP", "BMP", "GIF", "PPM"):
        put(f"a.{kind.lower()}", encode(colour, kind))
    put("a.pgm", encode(grey, "PPM"))
    put("phone.jpg", encode(colour, "MPO", save_all=True, append_images=[colour]))
    for orientation in range(2, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        shape = (30, 20) if orientation > 4 else (20, 30)
        put(f"exif_{orientation}.jpg", encode(colour, "JPEG", exif=exif), *shape)
    put("exif_damaged.jpg", encode(colour, "JPEG", exif=b"Exif\0\0nothing"))
    put("1x1.png", encode(Image.new("RGB", (1, 1), (9, 8, 7))), 1, 1)
    put("thin.png", encode(Image.new("L", (1, 900), 7)), 900, 1)
    large = Image.linear_gradient("L").resize((8000, 6000)).convert("RGB")
    put("8000x6000.jpg", encode(large, "JPEG"), 6000, 8000)
    put("jpeg_called.png", encode(colour, "JPEG"))
    put("deeper/SHOUTED.PNG", encode(colour))
    put("deeper__SHOUTED.PNG", encode(grey))
    put("日本語 ünï 😀 'quoted'.png", encode(colour))
    put("two\nlines.png", encode(colour))
    put(LONG, encode(colour))
    put(b"latin\xe4.png", encode(colour))
    (folder / "link.png").symlink_to(folder / "mode_L.png")
    sizes[str(folder / "link.png")] = (20, 30)
    return sizes


def write_bad(folder: Path) -> dict[str, str]:
    """Files that are no pictures; their names, and words that say why."""
    rng = np.random.default_rng(1)
    noise = Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8))
    moving = {"save_all": True, "append_images": [noise.rotate(90)]}
    files = {
        "truncated.png": (encode(noise)[:2000], "truncated"),
        "truncated.jpg": (encode(noise, "JPEG")[:700], "truncated"),
        "cut_in_header.png": (encode(noise)[:20], "cannot be decoded"),
        "empty.png": (b"", "is empty (0 bytes)"),
        "text.png": (b"just words\n" * 50, "not an image"),
        "bomb.png": (bomb(), "allowed are 178956970"),
        "program.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "not an image"),
        "floating.tif": (encode(Image.new("F", (5, 5)), "TIFF"), "float32"),
        "signed.tiff": (encode(Image.new("I", (5, 5)), "TIFF"), "data.value_range"),
        "moving.gif": (encode(noise, "GIF", **moving), "holds 2 pictures"),
        "phone.heic": (b"\0\0\0\x18ftypheic" + bytes(40), "HEIC"),
        "pointer.png": (
            b"version https://git-lfs.github.com/spec/v1\n",
            "git lfs pull",
        ),
        "forbidden.png": (encode(noise), "Permission denied"),
    }
    for name, (data, _) in files.items():
        (folder / name).write_bytes(data)
    (folder / "forbidden.png").chmod(0)
    (folder / "locked").mkdir(mode=0)
    os.mkfifo(folder / "pipe.png")
    (folder / "dangling.png").symlink_to(folder / "nowhere.png")
    (folder / "itself.png").symlink_to(folder / "itself.png")
    words = {name: word for name, (_, word) in files.items()} | {
        "locked": "Permission denied",
        "pipe.png": "not a regular file",
        "dangling.png": "No such file",
        "itself.png": "symbolic links",
    }
    return {str(folder / name): word for name, word in words.items()}


def write_nothing(folder: Path) -> None:
    """What a folder of pictures may also hold."""
    (folder / "notes.txt").write_text("no picture")
    (folder / "._a.png").write_bytes(b"a desktop's")
    (folder / "loop").symlink_to(folder)
    (folder / "folder.png").mkdir()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    yield folder
    for name in ("locked", "forbidden.png"):
        (folder / name).chmod(0o700)


# The command, and then its own peak of memory: what the system tells of a child counts
# what its parent held when it was forked.
RUN = """
import sys
import launch

status = launch.main(["launch.py", *sys.argv[1:]])
if sys.platform == "linux":
    print(next(line for line in open("/proc/self/status") if "VmHWM" in line))
sys.exit(status)
"""


def without_privileges() -> list[str]:
    """A prefix that makes permissions count for the superuser, too."""
    if os.geteuid():
        return []
    if not shutil.which("setpriv"):
        pytest.skip("permissions mean nothing to the superuser, and setpriv is absent")
    drop = "-dac_override,-dac_read_search"
    return ["setpriv", f"--bounding-set={drop}", f"--inh-caps={drop}"]


@pytest.mark.slow
def test_every_good_file_is_predicted_and_every_bad_one_named(folder, tmp_path):
    good, bad = write_good(folder), write_bad(folder)
    write_nothing(folder)
    assert len(good) + len(bad) >= 40
    workdir = tmp_path / "out"
    command = [
        *without_privileges(),
        *(sys.executable, "-c", RUN, "--config=configs/demo.py:none"),
        *("--mode=predict", f"--workdir={workdir}", "--config.clip.image_size=64"),
        f"--config.predict.input={folder}",
        f"--config.data.prepared={tmp_path / 'prepared'}",
    ]
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    summary = f"{len(good)} predicted, {len(bad)} failed"
    assert summary in done.stdout and "Traceback" not in done.stderr
    assert done.stderr.count("failed: ") == len(bad)

    lines = [
        json.loads(line)
        for line in (workdir / "predictions.jsonl").read_bytes().splitlines()
    ]
    assert {line["path"] for line in lines} == good.keys() | bad.keys()
    assert len(lines) == len(good) + len(bad)
    for line in lines:
        if line["path"] in bad:
            assert bad[line["path"]] in line["error"]
            continue
        assert 0 <= line["score"] <= 1
        height, width = good[line["path"]]
        shape = np.load(workdir / line["map"], mmap_mode="r").shape
        assert shape == (height, width)
        assert Image.open(workdir / line["overlay"]).size == (width, height)
    for key in ("map", "overlay"):
        assert len({line.get(key) for line in lines}) == len(good) + 1
    with (workdir / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(lines)
    assert sum(row["error"] != "" for row in rows) == len(bad)
    assert Image.open(workdir / "highest.png").width > 800
    if sys.platform == "linux":
        # What JAX takes, and a few times the largest picture's 48 million pixels.
        (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", done.stdout)
        assert int(peak) < 2.5e6
