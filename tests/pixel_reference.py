"""Pixel metrics from all scores at once, and the maps to try them on."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage
from skimage import measure
from sklearn.metrics import auc


def draw_maps(kind: str, rate: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Eight maps of 128 x 128 and their masks; every fourth image is normal."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.standard_normal((8, 128, 128)), (0, 4, 4))
    masks = field > np.quantile(field, 1 - rate * 4 / 3)
    masks[::4] = False
    noise = ndimage.gaussian_filter(rng.standard_normal(masks.shape), (0, 2, 2))
    signal = ndimage.gaussian_filter(masks.astype(float), (0, 2, 2))
    logits = 2.2 * signal + 0.8 * noise / noise.std()
    smooth = (logits - logits.min()) / np.ptp(logits)
    maps = {
        "white": rng.random(masks.shape),
        "white with signal": 0.8 * rng.random(masks.shape) + 0.2 * masks,
        "smooth": smooth,
        "narrow at 0": 0.05 * smooth,
        "narrow at 1/2": 0.475 + 0.05 * smooth,
        "narrow at 1": 0.95 + 0.05 * smooth,
        "two levels": (smooth > 0.5).astype(float),
        "eight levels": np.round(smooth * 7) / 7,
        "256 narrow levels": 0.6 + np.round(smooth * 255) / 255 * 0.05,
        "crowded at 0": 1 / (1 + np.exp(9 - 2 * logits)),
        "crowded at 1": 1 / (1 + np.exp(-7 - 1.5 * logits)),
        "narrow and crowded": 0.05 * np.exp(12 * (smooth - 1)),
    }
    return maps[kind].astype(np.float32), masks


def label_regions(masks: np.ndarray) -> np.ndarray:
    """8-connected regions of each image, numbered from 1."""
    return np.stack([ndimage.label(mask, np.ones((3, 3)))[0] for mask in masks]).astype(
        np.int32
    )


def flat(images: Sequence[np.ndarray]) -> np.ndarray:
    """All pixels of images of any sizes."""
    return np.concatenate([image.ravel() for image in images])


def exact_aupro(
    maps: Sequence[np.ndarray], masks: Sequence[np.ndarray], limit: float = 0.3
) -> float:
    """MVTec AD's definition: sort all pixels, sum what each adds to the curve."""
    regions = [ndimage.label(mask, np.ones((3, 3)))[0] for mask in masks]
    normal = flat(regions) == 0
    adds_rate = normal / np.count_nonzero(normal)
    count = sum(int(image.max()) for image in regions)
    adds_overlap = flat(
        [
            sum(
                (image == label) / np.count_nonzero(image == label) / count
                for label in range(1, image.max() + 1)
            )
            + np.zeros(image.shape)
            for image in regions
        ]
    )
    order = np.argsort(-flat(maps), kind="stable")
    scores = flat(maps)[order]
    ends = np.append(scores[1:] != scores[:-1], True)
    rate = np.append(0, np.cumsum(adds_rate[order])[ends])
    overlap = np.append(0, np.cumsum(adds_overlap[order])[ends])
    area = 0.0
    for i in range(len(rate) - 1):
        width = rate[i + 1] - rate[i]
        if rate[i + 1] <= limit:
            area += width * (overlap[i] + overlap[i + 1]) / 2
        elif rate[i] < limit:
            part = limit - rate[i]
            height = overlap[i] + (overlap[i + 1] - overlap[i]) * part / width
            area += part * (overlap[i] + height) / 2
    return area / limit


def peers_aupro(maps: np.ndarray, masks: np.ndarray) -> float:
    """What AnomalyCLIP's `cal_pro_score` computes, threshold by threshold."""
    regions = [
        region.coords
        for image in masks
        for region in measure.regionprops(measure.label(image.astype(int)))
    ]
    owners = [
        i
        for i, image in enumerate(masks)
        for _ in measure.regionprops(measure.label(image.astype(int)))
    ]
    lowest, highest = float(maps.min()), float(maps.max())
    rates, overlaps = [], []
    for i in range(200):
        above = maps > np.float64(lowest + (highest - lowest) * i / 200)
        covered = [
            above[owner][tuple(coords.T)].mean()
            for owner, coords in zip(owners, regions, strict=True)
        ]
        overlaps.append(np.mean(covered))
        rates.append(above[~masks].mean())
    rate, overlap = np.array(rates), np.array(overlaps)
    overlap, rate = overlap[rate < 0.3], rate[rate < 0.3]
    return float(auc((rate - rate.min()) / np.ptp(rate), overlap))
