"""The industrial datasets' original layouts as tiny trees, written from their cards."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from data_pipelines.catalog import CATALOG

SIZE = (6, 4)
STRIP = (5, 13)


def encode(pixels: np.ndarray, kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, kind)
    return file.getvalue()


def picture(size: tuple[int, int], kind: str, value: int = 90) -> bytes:
    """A grey one-channel image of (width, height)."""
    return encode(np.full(size[::-1], value), kind)


def mask(size: tuple[int, int], kind: str, rows: slice = slice(0, 2)) -> bytes:
    """A mask whose rows of one column are set."""
    pixels = np.zeros(size[::-1])
    pixels[rows, 1] = 255
    return encode(pixels, kind)


def put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def write_mvtec_like(
    folder: Path,
    normal: int,
    anomalous: int,
    *,
    kinds: tuple[str, str],
    formats: tuple[str, str] = ("png", "png"),
    ending: str = "_mask",
    name: Callable[[int], str] = "{:03d}".format,
) -> None:
    """One class in MVTec's layout with kinds (normal, anomalous)."""
    good, bad = kinds
    image = picture(SIZE, formats[0].upper())
    outline = mask(SIZE, formats[1].upper())
    put(folder / f"train/{good}/{name(0)}.{formats[0]}", image)
    for i in range(normal):
        put(folder / f"test/{good}/{name(i)}.{formats[0]}", image)
    for i in range(anomalous):
        put(folder / f"test/{bad}/{name(i)}.{formats[0]}", image)
        put(folder / f"ground_truth/{bad}/{name(i)}{ending}.{formats[1]}", outline)


def write_mpdd(root: Path) -> Path:
    for name, counts in CATALOG["mpdd"].counts.items():
        write_mvtec_like(root / "mpdd" / name, *counts, kinds=("good", "scratches"))
    return root / "mpdd"


def write_btad(root: Path) -> Path:
    formats = {"01": ("bmp", "png"), "02": ("png", "png"), "03": ("bmp", "bmp")}
    top = root / "btad/BTech_Dataset_transformed"
    for name, counts in CATALOG["btad"].counts.items():
        write_mvtec_like(
            top / name,
            *counts,
            kinds=("ok", "ko"),
            formats=formats[name],
            ending="",
            name="{:04d}".format,
        )
    return top


def write_sdd_anomalyclip(root: Path) -> Path:
    folder = root / "sdd_anomalyclip/electrical commutators"
    (counts,) = CATALOG["sdd_anomalyclip"].counts.values()
    write_mvtec_like(
        folder,
        *counts,
        kinds=("good", "defect"),
        ending="",
        name=lambda i: f"kos{i // 24 + 1:02d}_Part{i // 3 % 8}_{i % 3}",
    )
    return folder


def write_dtd(root: Path, normal: int, anomalous: int) -> Path:
    """As many images in all, dealt out to the classes."""
    top = root / "dtd_synthetic/DTD-Synthetic"
    classes = list(CATALOG["dtd_synthetic"].classes)
    for i, name in enumerate(classes):
        counts = (len(range(i, total, len(classes))) for total in (normal, anomalous))
        write_mvtec_like(top / name, *counts, kinds=("good", "bad"))
    return top


def write_dagm(root: Path, *classes: str) -> Path:
    """DAGM's test split: the defective images lie among the others."""
    top = root / "dagm/DAGM_KaggleUpload"
    image, outline = picture(SIZE, "PNG"), mask(SIZE, "PNG")
    for name in classes:
        normal, anomalous = CATALOG["dagm"].counts[name]
        first = normal + anomalous + 1
        lines = ["1"]
        for i in range(normal + anomalous):
            stem, is_bad = f"{first + i:04d}", i % 2 == 0 and i < 2 * anomalous
            put(top / name / f"Test/{stem}.PNG", image)
            label = f"{stem}_label.PNG" if is_bad else "0"
            lines.append(
                f"{first + i}\t{int(is_bad)}\t{stem}.PNG\t{int(is_bad)}\t{label}"
            )
            if is_bad:
                put(top / name / f"Test/Label/{label}", outline)
        put(top / name / "Test/Label/Labels.txt", "\r\n".join(lines).encode())
        put(top / name / "Train/0001.PNG", image)
    return top


def write_sdd(
    folder: Path, parts: int = 399, defective: int = 52, both: int = 2
) -> Path:
    """KolektorSDD: the first parts are defective, `both` of them in two thirds."""
    image = picture(STRIP, "JPEG")
    empty = encode(np.zeros(STRIP[::-1]), "BMP")
    thirds = [slice(0, 2), slice(4, 6), slice(8, 13), slice(3, 5)]
    for i in range(parts):
        stem = folder / f"kos{i // 8 + 1:02d}/Part{i % 8}"
        rows = thirds[3] if i < both else thirds[i % 3]
        put(stem.with_suffix(".jpg"), image)
        label = mask(STRIP, "BMP", rows) if i < defective else empty
        put(stem.with_name(f"{stem.name}_label.bmp"), label)
    return folder
