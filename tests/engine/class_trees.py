"""Pictures on disk in MVTec AD's layout."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_class(folder: Path, normal: int, anomalous: int, seed: int) -> None:
    """One MVTec-like class: grey noise, and a bright square where it is anomalous."""
    rng = np.random.default_rng(seed)
    for kind, count in (("good", normal), ("spot", anomalous)):
        (folder / "test" / kind).mkdir(parents=True)
        for i in range(count):
            image = rng.integers(60, 120, (40, 40, 3), np.uint8)
            if kind == "spot":
                top, left = rng.integers(2, 24, 2)
                image[top : top + 12, left : left + 12] = (230, 60, 60)
                mask = np.zeros((40, 40), np.uint8)
                mask[top : top + 12, left : left + 12] = 255
                truth = folder / "ground_truth" / kind
                truth.mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask).save(truth / f"{i:03}_mask.png")
            Image.fromarray(image).save(folder / "test" / kind / f"{i:03}.png")
