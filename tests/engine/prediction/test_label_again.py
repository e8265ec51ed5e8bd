"""Other thresholds label again what is predicted: no picture passes the model twice."""

import json
import re
from pathlib import Path

import pytest
from painted import Painted, paint, run_predict

from kanoclip_jax.engine.prediction.results import Results
from kanoclip_jax.errors import InputError

LIMITS = (0.5, 0.4)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for number, grey in enumerate((100, 140, 200)):
        paint(folder / f"{number}.png", [(2, 3, 6, 5, grey), (12, 1, 1, 1, 120)])
    return folder


def lines_of(workdir: Path) -> list[dict]:
    text = (workdir / "predictions.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def files_of(workdir: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(workdir)): path.read_bytes()
        for path in workdir.rglob("*.*")
        if path.name != ".lock"
    }


def sorted_lines(files: dict[str, bytes]) -> dict[str, bytes | list[bytes]]:
    """Lines say the same in whatever order, and so do their keys."""
    said = [json.loads(line) for line in files["predictions.jsonl"].splitlines()]
    for line in said:
        del line["crc32"]
    return files | {"predictions.jsonl": said}


@pytest.mark.parametrize("limits", [LIMITS, (0.6, 0.4), (0.5, 0.6)])
def test_what_is_labelled_again_is_as_predicted_anew(
    photos, tmp_path, monkeypatch, capsys, limits
):
    former = None if limits == LIMITS else LIMITS
    run_predict(monkeypatch, Painted(former), photos, tmp_path / "out")
    capsys.readouterr()
    detector = Painted(limits, min_area=2)
    assert run_predict(monkeypatch, detector, photos, tmp_path / "out") == 0
    assert detector.seen == 0
    said = capsys.readouterr().out
    assert "3 pictures labelled again\n" in said
    assert "0 predicted, 0 failed, 3 done before: in all" in said
    run_predict(monkeypatch, Painted(limits, min_area=2), photos, tmp_path / "new")
    again, anew = (sorted_lines(files_of(tmp_path / name)) for name in ("out", "new"))
    assert again == anew
    assert run_predict(monkeypatch, detector, photos, tmp_path / "out") == 0
    assert "labelled again" not in capsys.readouterr().out


def test_a_kill_in_between_loses_nothing(photos, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    run_predict(monkeypatch, Painted(None), photos, out)
    again, count = Results._again, 0

    def killed(self, line):
        nonlocal count
        count += 1
        if count == 2:
            raise KeyboardInterrupt
        return again(self, line)

    with monkeypatch.context() as patch:
        patch.setattr(Results, "_again", killed)
        with pytest.raises(KeyboardInterrupt):
            run_predict(monkeypatch, Painted(LIMITS), photos, out)
    assert [line["label"] for line in lines_of(out)] == [None] * 3 + ["normal"]
    # Of what is not labelled yet, the file of regions says nothing.
    assert len(json.loads((out / "coco.json").read_text())["images"]) == 1
    capsys.readouterr()
    detector = Painted(LIMITS)
    run_predict(monkeypatch, detector, photos, out)
    assert "2 pictures labelled again" in capsys.readouterr().out
    assert detector.seen == 0
    labels = {Path(k["path"]).name: k["label"] for k in lines_of(out)}
    assert labels == {"0.png": "normal", "1.png": "anomalous", "2.png": "anomalous"}


def test_what_keeps_no_map_is_predicted_anew_or_refused(
    photos, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "out"
    run_predict(monkeypatch, Painted(None), photos, out)
    (out / "maps" / "1.png.npy").write_bytes(b"damaged")
    with pytest.raises(
        InputError, match=r"1 predictions .*1\.png.*name their pictures"
    ):
        run_predict(monkeypatch, Painted(LIMITS), photos / "0.png", out)
    capsys.readouterr()
    detector = Painted(LIMITS)
    assert run_predict(monkeypatch, detector, photos, out) == 0
    assert "; 1 keep no map and are predicted anew" in capsys.readouterr().out
    assert detector.seen == 1 and len(lines_of(out)) == 3


def test_a_picture_that_is_gone_keeps_its_scores(photos, tmp_path, monkeypatch):
    out = tmp_path / "out"
    run_predict(monkeypatch, Painted(None), photos, out)
    (photos / "2.png").unlink()
    for _ in range(2):
        detector = Painted(LIMITS)
        run_predict(monkeypatch, detector, photos, out)
        assert detector.seen == 0 and len(lines_of(out)) == 3
    (gone,) = (line for line in lines_of(out) if line["path"].endswith("2.png"))
    assert gone["label"] == "anomalous" and gone["overlay"] is None
    assert gone["regions"][0]["box"] == [2, 3, 6, 5]


def test_lines_of_an_earlier_version_are_labelled_again(photos, tmp_path, monkeypatch):
    """Their boxes were left, top, right and bottom; thresholds lay beside them."""
    out = tmp_path / "out"
    run_predict(monkeypatch, Painted(LIMITS), photos, out)
    expected = {line["path"]: line for line in lines_of(out)}
    younger = ("crc32", "thresholds", "min_area", "width", "height")
    old = [
        {k: v for k, v in line.items() if k not in younger} for line in lines_of(out)
    ]
    for line in old:
        line |= {"box": [2, 3, 8, 8], "regions": [], "class_name": "Plate"}
    text = "".join(f"{json.dumps(line)}\n" for line in old)
    (out / "predictions.jsonl").write_text(text)
    settings = {"class_name": "Plate", "thresholds": [*LIMITS], "min_area": 1}
    settings |= {"maps": True, "overlays": True, "model": "painted"}
    (out / "predictions.settings.json").write_text(json.dumps(settings))
    detector = Painted(LIMITS)
    run_predict(monkeypatch, detector, photos, out)
    found = {line["path"]: line for line in lines_of(out)}
    assert detector.seen == 0
    for path, line in found.items():
        assert {**line, "crc32": ""} == {**expected[path], "crc32": ""}


@pytest.mark.parametrize("name", ["Metal_Plate", "metal  plate", "METAL PLATE"])
def test_a_class_has_one_name(photos, tmp_path, monkeypatch, name):
    out = tmp_path / "out"
    run_predict(
        monkeypatch, Painted(LIMITS), photos / "0.png", out, class_name="metal_plate"
    )
    run_predict(monkeypatch, Painted(LIMITS), photos, out, class_name=name)
    assert {line["class_name"] for line in lines_of(out)} == {"metal plate"}
    table = (out / "predictions.csv").read_text()
    assert len(re.findall(",metal plate,", table)) == 3
    (category,) = json.loads((out / "coco.json").read_text())["categories"]
    assert category["name"] == "metal plate"
    assert Painted(LIMITS).predict(photos / "0.png", name).class_name == "metal plate"
