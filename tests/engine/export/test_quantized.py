"""8-bit integers are kept where they say what float32 says, and refused aloud else."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from data_pipelines.pictures import DEFAULT_READING
from kanoclip_jax import engine
from kanoclip_jax.engine.export import progress, quantized, run
from kanoclip_jax.engine.export.quantized import Drift, Pictures, compare
from kanoclip_jax.errors import InputError

KEPT = Drift(
    maps=0.1, mean=0.001, scores=0.01, order=0.02, turned=0.0, pictures=20, time=0.6
)


def test_what_lies_outside_its_bounds_is_named() -> None:
    assert quantized.BOUNDS == {
        "maps": 0.15,
        "mean": 0.01,
        "scores": 0.05,
        "order": 0.05,
        "turned": 0.05,
    }
    assert KEPT.excess == []
    assert KEPT._replace(turned=None).excess == []
    assert str(KEPT) == (
        "maps within 0.1 (mean 0.001), scores within 0.01 of float32's, 2.0% of pairs "
        "in another order, 0.0% of verdicts turned (20 pictures); 0.60 of float32's time "
        "here"
    )
    assert KEPT._replace(maps=0.4, turned=0.25).excess == [
        "a map's pixel by 0.4 (allowed is 0.15)",
        "verdicts (a share) by 0.25 (allowed is 0.05)",
    ]
    # However little scores moved that lie close together.
    assert KEPT._replace(order=0.3, time=9.0).excess == [
        "the order of scores (pairs, a share) by 0.3 (allowed is 0.05)"
    ]
    assert KEPT._replace(maps=float("nan")).excess == [
        "a map's pixel by nan (allowed is 0.15)"
    ]


def answers(offset: float) -> Callable:
    """A model whose map is a picture's level, and the score of class 1 is 0.5 above."""

    def run(images: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        maps = images[..., 0].astype(np.float32) / 100
        maps[images[:, 0, 0, 0] == 30, 1, 1] += offset
        return maps, images[:, 0, 0, 0] / 100 + 0.5 * classes + offset / 4

    return run


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_every_picture_is_compared_once(monkeypatch, batch_size) -> None:
    """Literal differences, however many pictures pass at once."""
    models = {"model.xml": answers(0), "model-int8.xml": answers(0.08)}
    monkeypatch.setattr(
        quantized,
        "load_openvino",
        lambda folder, file="model.xml": models[file],
    )
    levels = np.uint8([10, 20, 30, 40, 50])
    images = np.broadcast_to(levels[:, None, None, None], (5, 4, 4, 3))
    classes = np.int32([0, 1, 0, 1, 0])
    # Scores 0.1, 0.7, 0.3, 0.9, 0.5, each with 0.02 more.
    manifest = {"class_names": ["a", "b"], "thresholds": {"a": {"image": 0.31}}}
    given = Pictures(images, classes, batch_size)
    found = compare(Path(), Path(), given, manifest)
    assert found.maps == pytest.approx(0.08)
    assert found.mean == pytest.approx(0.08 / (5 * 16))
    assert found.scores == pytest.approx(0.02, abs=1e-6)
    assert (found.order, found.pictures) == (0.0, 5)
    assert found.turned == pytest.approx(1 / 3)
    assert found.time > 0
    assert compare(Path(), Path(), given, manifest | {"thresholds": {}}).turned is None


def test_pairs_that_change_places() -> None:
    before = np.float32([0.1, 0.2, 0.3, 0.4])
    after = np.float32([0.1, 0.35, 0.3, 0.4])
    one, two = np.zeros(4, np.int32), np.int32([0, 1, 0, 1])
    assert quantized._reordered(before, before, one) == 0.0
    # 0.2 and 0.3, of six pairs; of two classes, they are no pair.
    assert quantized._reordered(before, after, one) == pytest.approx(1 / 6)
    assert quantized._reordered(before, after, two) == 0.0
    assert quantized._reordered(before, before[::-1], one) == 1.0
    assert quantized._reordered(before, before * np.nan, one) == 1.0
    assert quantized._reordered(before[:1], after[:1], one[:1]) == 0.0


def test_what_moves_too_far_is_left_out_aloud(monkeypatch, capsys) -> None:
    images, manifest = np.zeros((12, 4, 4, 3), np.uint8), {"formats": {}}
    outcome = [(None, KEPT._replace(scores=0.3)), ({"files": {}}, KEPT)]
    monkeypatch.setattr(run, "export_int8", lambda *_: outcome.pop(0))
    refused = run._quantize(None, images, manifest, Path())
    assert (
        "openvino-int8 moves a score by 0.3 (allowed is 0.05), so it is not" in refused
    )
    assert manifest == {"formats": {}}
    assert run._quantize(None, images, manifest, Path()) == ""
    assert manifest["formats"] == {"openvino-int8": {"files": {}}}
    assert "quantizing on 6 pictures" in capsys.readouterr().out


def test_pictures_to_quantize_on(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(quantized.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"needs nncf, openvino: pip install .*int8"):
        quantized.find_pictures(str(tmp_path), 4, DEFAULT_READING)
    monkeypatch.setattr(quantized.importlib.util, "find_spec", lambda _: True)
    monkeypatch.setattr(quantized, "_MOST", 10)
    for level in range(19):
        if level == 9:
            with pytest.raises(InputError, match="names 9 pictures; allowed are 10"):
                quantized.find_pictures(str(tmp_path), 4, DEFAULT_READING)
        Image.new("RGB", (6, 5), (level,) * 3).save(tmp_path / f"{level:02}.png")
    found = quantized.find_pictures(str(tmp_path), 4, DEFAULT_READING)
    assert found.shape == (10, 4, 4, 3)
    assert found[:, 0, 0, 0].tolist() == list(range(0, 19, 2))


@pytest.mark.slow
def test_a_model_in_8_bit_integers(
    quick, quick_checkpoint, data_root, tmp_path
) -> None:
    pytest.importorskip("nncf")
    from kanoclip_jax.engine.export.runner import Detector

    config = quick(
        checkpoint=str(quick_checkpoint),
        export__class_names="cup",
        export__formats="openvino",
        export__int8=str(data_root / "mine"),
        export__serving=True,
    )
    assert engine.run("export", config, tmp_path) == 0
    folder = tmp_path / "export"
    said = json.loads((folder / "manifest.json").read_text())
    assert said["formats"]["openvino-int8"]["drift"]["pictures"] == 9
    assert said["serving"]["models"] == ["probe-cup", "probe-cup-int8"]
    exact, ours = (Detector(folder, precision=p) for p in ("float32", "int8"))
    picture = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    one, other = (d.predict(picture, "cup").anomaly_map for d in (exact, ours))
    assert 0 < np.abs(one - other).max() < 0.15
    alone = Detector(folder / "model-int8.xml")
    assert alone.identity["precision"] == "int8"
    np.testing.assert_array_equal(alone.predict(picture).anomaly_map, other)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_is_drawn_on_terminals_alone(monkeypatch) -> None:
    clock = iter([0.0, 1.0, 1.01, 4.0])
    monkeypatch.setattr(
        progress, "time", SimpleNamespace(monotonic=lambda: next(clock))
    )
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    bar = progress.Progress(3)
    bar.step()
    bar.say("failed: x")
    bar.step()
    bar.step()
    drawn = screen.getvalue()
    first = "\r[########----------------] 1/3, 1.00/s, 0:00:02 left"
    assert drawn == (
        f"{first}\r{'failed: x':<{len(first) - 1}}\n"
        f"\r[{'#' * 24}] 3/3, 0.75/s, 0:00:00 left\n"
    )


def test_no_bar_in_files_nor_where_quiet_is_asked(monkeypatch) -> None:
    for stream, quiet in ((io.StringIO(), False), (Terminal(), True)):
        monkeypatch.setattr(sys, "stderr", stream)
        bar = progress.Progress(1, quiet)
        bar.step()
        bar.say("failed: x")
        assert stream.getvalue() == "failed: x\n"
