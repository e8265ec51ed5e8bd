"""Pixel metrics at each image's own size, against scikit-learn on resized maps."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pixel_reference import exact_aupro, flat
from sklearn.metrics import average_precision_score, roc_auc_score

from kanoclip_jax import engine
from kanoclip_jax.engine.restore import load_trained
from kanoclip_jax.engine.settings import resolve
from kanoclip_jax.engine.sharding import Devices
from kanoclip_jax.engine.step import Inference
from kanoclip_jax.engine.workdir import Workdir

BATCH = 3
UNTRAINED = {f"model__{part}": False for part in ("knpl", "vv", "cmci", "adapter")} | {
    "eval__batch_size": BATCH
}
IMAGE = ("image_auroc", "image_ap", "image_f1max", "normal", "anomalous")


def write_pictures(folder: Path, sizes: list[tuple[int, int]]) -> None:
    """Each size (height, width) as a normal picture and one with two scratches."""
    rng = np.random.default_rng(5)
    for kind in ("test/good", "test/scratch", "ground_truth/scratch"):
        (folder / kind).mkdir(parents=True)
    for i, size in enumerate(sizes):
        image = rng.integers(60, 120, (*size, 3), np.uint8)
        Image.fromarray(image).save(folder / f"test/good/{i}.png")
        mask = np.zeros(size, np.uint8)
        mask[5:7, 3:30], mask[20 : 24 + i, 12:18] = 1, 3
        image[mask > 0] = (230, 60, 60)
        Image.fromarray(image).save(folder / f"test/scratch/{i}.png")
        Image.fromarray(mask).save(folder / f"ground_truth/scratch/{i}.png")


def evaluate(config: object, workdir: Path) -> dict:
    assert engine.run("eval", config, workdir) == 0
    report = json.loads((workdir / "report.json").read_text())
    (result,) = report["datasets"].values()
    return result["classes"]["cup"]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    write_pictures(tmp_path / "cup", [(40, 40), (64, 48), (33, 71)])
    return tmp_path / "cup"


def test_metrics_of_pictures_of_several_sizes(settings, pictures, tmp_path):
    config = settings(eval__datasets=f"folder:{pictures}", **UNTRAINED)
    model = evaluate(config, tmp_path / "model")
    config.eval.resolution = "original"
    original = evaluate(config, tmp_path / "original")
    assert [original[name] for name in IMAGE] == [model[name] for name in IMAGE]
    assert list((tmp_path / "original").glob("examples-*.png"))

    trained = load_trained(resolve(config), Workdir(tmp_path), frozenset())
    inference = Inference(trained.method, Devices(BATCH, "batch"), trained.params)
    files = sorted((pictures / "test").rglob("*.png"))
    images = [Image.open(file) for file in files]
    small = [image.resize((32, 32), Image.Resampling.BICUBIC) for image in images]
    batches = [{"image": np.stack(small[i : i + BATCH])} for i in (0, BATCH)]
    found = [
        np.asarray(anomaly_map)
        for _, batch in inference.detections(["cup"], batches)
        for anomaly_map in batch.maps
    ]
    maps, masks = [], []
    for file, image, whole in zip(
        files, images, map(Image.fromarray, found), strict=True
    ):
        maps.append(np.asarray(whole.resize(image.size, Image.Resampling.BILINEAR)))
        truth = pictures / "ground_truth" / file.parent.name / file.name
        mask = np.asarray(Image.open(truth)) if truth.exists() else 0 * maps[-1]
        masks.append(mask > 0)
    scores, truth = flat(maps), flat(masks)
    assert scores.size == 2 * (40 * 40 + 64 * 48 + 33 * 71)
    assert original["pixel_auroc"] == pytest.approx(
        roc_auc_score(truth, scores), abs=1e-5
    )
    assert original["pixel_ap"] == pytest.approx(
        average_precision_score(truth, scores), abs=5e-5
    )
    assert original["pixel_aupro"] == pytest.approx(exact_aupro(maps, masks), abs=1e-5)
    assert abs(original["pixel_auroc"] - model["pixel_auroc"]) > 1e-3


def test_pictures_of_the_models_size_lose_nothing(settings, tmp_path):
    write_pictures(tmp_path / "cup", [(32, 32), (32, 32)])
    config = settings(eval__datasets=f"folder:{tmp_path / 'cup'}", **UNTRAINED)
    model = evaluate(config, tmp_path / "model")
    config.eval.resolution = "original"
    assert evaluate(config, tmp_path / "original") == model


def test_without_masks_there_is_nothing_to_resize(settings, tmp_path):
    write_pictures(tmp_path / "cup", [(40, 40), (33, 71)])
    (tmp_path / "cup/ground_truth").rename(tmp_path / "elsewhere")
    config = settings(eval__datasets=f"folder:{tmp_path / 'cup'}", **UNTRAINED)
    config.eval.resolution = "original"
    row = evaluate(config, tmp_path / "out")
    assert row["pixel_auroc"] is None and row["normal"] == row["anomalous"] == 2
