"""Every dataset of the catalogue, from its original layout to a row of the report."""

import dataclasses
import json
from pathlib import Path

import industrial_trees as trees
import medical_trees
import pytest

from data_pipelines.catalog import CATALOG
from kanoclip_jax import engine

# They have no normal images.
LESIONS = ("isic", "colondb", "clinicdb", "tn3k")
IDS = [name for name in CATALOG if CATALOG[name].domain != "synthetic"]


def write_visa(folder: Path) -> None:
    rows = ["object, split, label, image, mask"]
    for name, (normal, anomalous) in CATALOG["visa"].counts.items():
        for label, count in (("Normal", normal), ("Anomaly", anomalous)):
            for i in range(count):
                image = f"{name}/Data/Images/{label}/{i:03d}.JPG"
                trees.put(folder / image, trees.picture(trees.SIZE, "JPEG"))
                mask = f"{name}/Data/Masks/Anomaly/{i:03d}.png"
                if label == "Anomaly":
                    trees.put(folder / mask, trees.mask(trees.SIZE, "PNG"))
                mask = mask if label == "Anomaly" else ""
                rows.append(f"{name}, test, {label.lower()}, {image}, {mask}")
    trees.put(folder / "split_csv/1cls.csv", "\n".join(rows).encode())


def write_all(root: Path) -> None:
    """All original layouts, as large as the cards say."""
    for name, counts in CATALOG["mvtec"].counts.items():
        folder = root / "mvtec" / name
        trees.write_mvtec_like(folder, *counts, kinds=("good", "crack"))
    write_visa(root / "visa")
    trees.write_mpdd(root)
    trees.write_btad(root)
    trees.write_dagm(root, *CATALOG["dagm"].classes)
    classes = len(CATALOG["dtd_synthetic"].classes)
    trees.write_dtd(root, 2 * classes, 3 * classes)
    trees.write_sdd(root / "sdd", parts=5, defective=3, both=0)
    trees.write_sdd_anomalyclip(root)
    for name in IDS:
        if CATALOG[name].domain == "medical":
            medical_trees.write_original(
                root / name,
                name,
                trees.put,
                lambda value, kind="PNG": trees.picture(trees.SIZE, kind, value),
                lambda: trees.mask(trees.SIZE, "PNG"),
            )


@pytest.fixture
def small_catalogue(monkeypatch) -> None:
    """Two normal images, where there are any, and three anomalous ones in a class."""
    for name in IDS:
        card = CATALOG[name]
        counts = dict.fromkeys(card.classes, (0 if name in LESIONS else 2, 3))
        small = dataclasses.replace(card, counts=counts, total=None)
        monkeypatch.setitem(CATALOG, name, small)


@pytest.mark.slow
def test_from_the_original_layout_to_the_report(
    small_catalogue, settings, tmp_path, capsys
) -> None:
    write_all(tmp_path / "root")
    config = settings(
        model__knpl=False,
        model__vv=False,
        model__cmci=False,
        model__adapter=False,
        data__root=str(tmp_path / "root"),
        data__prepared=str(tmp_path / "prepared"),
        train__dataset="mvtec",
        eval__datasets=",".join(name for name in IDS if name != "mvtec"),
        eval__batch_size=16,
    )
    assert engine.run("prepare", config, tmp_path / "run") == 0
    shown = capsys.readouterr().out.splitlines()
    assert "  bottle           2          3      2 / 3" in shown
    assert engine.run("eval", config, tmp_path / "run") == 0
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert list(report["datasets"]) == [name for name in IDS if name != "mvtec"]
    for name, result in report["datasets"].items():
        card = CATALOG[name]
        assert list(result["classes"]) == list(card.classes)
        for row in result["classes"].values():
            # A quarter of the good thirds of five strips, and the defective ones.
            counts = {"sdd_thirds": (3, 3)} | dict.fromkeys(LESIONS, (0, 3))
            assert (row["normal"], row["anomalous"]) == counts.get(name, (2, 3)), name
            for metric in ("image_auroc", "image_ap", "image_f1max"):
                assert (row[metric] is None) == (name in LESIONS), name
            assert (row["pixel_aupro"] is not None) == card.has_masks, name
    page = (tmp_path / "run" / "report.md").read_text()
    assert "Beside the paper" in page and "BraTS 2021" in page
