"""The COCO file of predictions: valid, exact, and what pycocotools makes of it."""

import json
from pathlib import Path

import numpy as np
import pytest
from painted import Painted, paint, run_predict
from PIL import Image

LIMITS = (0.5, 0.4)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    # A frame around a hole, and a spot that touches it over a corner.
    paint(
        folder / "a" / "bad.png",
        [(2, 3, 6, 5, 200), (4, 5, 2, 1, 10), (8, 8, 1, 1, 180), (12, 1, 2, 2, 120)],
    )
    paint(folder / "good.png", [(5, 5, 3, 3, 110)])
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


def content(workdir: Path) -> dict:
    return json.loads((workdir / "coco.json").read_text(encoding="ascii"))


def test_regions_of_anomalous_pictures_are_annotations(
    photos, tmp_path, monkeypatch, capsys
):
    assert run_predict(monkeypatch, Painted(LIMITS), photos, tmp_path / "out") == 1
    found = content(tmp_path / "out")
    assert set(found) == {"info", "licenses", "categories", "images", "annotations"}
    assert found["info"]["folder"] == str(photos)
    assert "upright" in found["info"]["description"]
    (category,) = found["categories"]
    assert (category["id"], category["name"]) == (1, "plate")
    images = [(i["id"], i["file_name"], i["label"]) for i in found["images"]]
    assert images == [(1, "a/bad.png", "anomalous"), (2, "good.png", "normal")]
    first, second = found["annotations"]
    assert first["bbox"] == [2, 3, 7, 6] and second["bbox"] == [12, 1, 2, 2]
    assert (first["area"], second["area"]) == (29, 4)
    assert (first["score"], second["score"]) == (200 / 256, 120 / 256)
    assert second["segmentation"] == [[12, 1, 14, 1, 14, 3, 12, 3]]
    for number, one in enumerate(found["annotations"], start=1):
        assert (one["id"], one["image_id"], one["category_id"]) == (number, 1, 1)
        assert one["iscrowd"] == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-2] == "2 predicted, 1 failed: 1 anomalous, 1 normal"
    files = "predictions.csv (table), coco.json (2 regions), maps/, overlays/"
    assert said[-1] == f"{tmp_path / 'out'}: {files}"


def test_one_rule_for_boxes_in_every_file(photos, tmp_path, monkeypatch):
    detector = Painted(LIMITS)
    run_predict(monkeypatch, detector, photos, tmp_path / "out")
    text = (tmp_path / "out" / "predictions.jsonl").read_text()
    lines = {Path(k["path"]).name: k for k in map(json.loads, text.splitlines())}
    found = detector.predict(photos / "a" / "bad.png")
    assert found.boxes == ((2, 3, 7, 6), (12, 1, 2, 2)) and found.box == found.boxes[0]
    assert [tuple(r["box"]) for r in lines["bad.png"]["regions"]] == [*found.boxes]
    assert tuple(lines["bad.png"]["box"]) == found.box
    normal = detector.predict(photos / "good.png")
    assert (normal.label, normal.boxes, normal.box) == ("normal", (), None)
    assert lines["good.png"]["regions"] == [] and lines["good.png"]["box"] is None
    table = (tmp_path / "out" / "predictions.csv").read_text().splitlines()
    head = table[0].split(",")
    rows = {Path(r.split(",")[0]).name: dict(zip(head, r.split(","))) for r in table}
    columns = ("regions", "box_x", "box_y", "box_width", "box_height")
    assert [rows["bad.png"][name] for name in columns] == ["2", "2", "3", "7", "6"]
    assert [rows["good.png"][name] for name in columns] == ["0", "", "", "", ""]


def test_run_lengths_or_no_file(photos, tmp_path, monkeypatch):
    out = tmp_path / "out"
    run_predict(monkeypatch, Painted(LIMITS), photos, out, coco="rle")
    first, _ = content(out)["annotations"]
    assert first["segmentation"]["size"] == [16, 16]
    assert isinstance(first["segmentation"]["counts"], str)
    run_predict(monkeypatch, Painted(LIMITS), photos, out, coco="never")
    assert not (out / "coco.json").exists()


def test_without_thresholds_there_is_no_file(photos, tmp_path, monkeypatch, capsys):
    run_predict(monkeypatch, Painted(LIMITS), photos, tmp_path / "out")
    assert (tmp_path / "out" / "coco.json").exists()
    capsys.readouterr()
    run_predict(monkeypatch, Painted(None), photos, tmp_path / "out")
    assert not (tmp_path / "out" / "coco.json").exists()
    out = capsys.readouterr().out
    assert "0 predicted, 1 failed, 2 done before: in all 2 without thresholds" in out
    assert "labels, regions and coco.json need thresholds: calibrate on normal" in out


def test_pictures_are_as_they_were_read(tmp_path, monkeypatch):
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.full((20, 30), 10, np.uint8)
    pixels[:8, :5] = 200
    file = tmp_path / "photos" / "turned.png"
    file.parent.mkdir()
    Image.fromarray(pixels).save(file, exif=exif)
    run_predict(monkeypatch, Painted(LIMITS), file, tmp_path / "out")
    found = content(tmp_path / "out")
    (image,), (one,) = found["images"], found["annotations"]
    assert (image["width"], image["height"]) == (20, 30)
    x, y, width, height = one["bbox"]
    assert x + width == 20 and y == 0 and height < width


@pytest.mark.parametrize("kind", ["polygons", "rle"])
def test_pycocotools_decodes_the_very_masks(photos, tmp_path, monkeypatch, kind):
    coco = pytest.importorskip("pycocotools.coco")
    detector = Painted(LIMITS)
    run_predict(monkeypatch, detector, photos, tmp_path / "out", coco=kind)
    read = coco.COCO(tmp_path / "out" / "coco.json")
    found = detector.predict(photos / "a" / "bad.png")
    masks = [read.annToMask(one) for one in read.loadAnns(read.getAnnIds(imgIds=[1]))]
    np.testing.assert_array_equal(np.sum(masks, axis=0), found.mask)
    np.testing.assert_array_equal(found.mask, found.anomaly_map > LIMITS[1])
    assert read.getAnnIds(imgIds=[2]) == [] and read.getCatIds(["plate"]) == [1]
    # What it takes for results is the list of the same annotations.
    results = read.loadRes(content(tmp_path / "out")["annotations"])
    assert [one["score"] for one in results.anns.values()] == [200 / 256, 120 / 256]
