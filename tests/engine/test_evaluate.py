"""Evaluation from a checkpoint, its report, and what it refuses."""

import json
import re
from pathlib import Path

import pytest

from kanoclip_jax import engine
from kanoclip_jax.errors import InputError

METRICS = {
    "image_auroc",
    "image_ap",
    "image_f1max",
    "pixel_auroc",
    "pixel_ap",
    "pixel_f1max",
    "pixel_aupro",
    "pixel_aupro_200",
}


@pytest.fixture(scope="module")
def trained(
    tiny_directory, data_root, prepared, tmp_path_factory
) -> tuple[Path, object]:
    from kanoclip_jax.configs import base

    config = base.get_config()
    config.clip.name = str(tiny_directory)
    config.clip.image_size = 32
    config.model.update(
        {
            "bica_width": 16,
            "bica_heads": 2,
            "bica_groups": 2,
            "context_length": 4,
            "taps": "2,4",
        }
    )
    config.model.update({"bica_stride": 2})
    config.data.update({"root": str(data_root), "prepared": str(prepared)})
    config.train.update({"epochs": 1, "batch_size": 4})
    config.eval.datasets = f"folder:{data_root / 'mine'}"
    workdir = tmp_path_factory.mktemp("trained")
    assert engine.run("train", config, workdir) == 0
    return workdir, config


def test_a_checkpoint_alone_reproduces_the_report(trained, tmp_path, capsys):
    workdir, config = trained
    # Settings that the run had and this command does not repeat.
    config = config.copy_and_resolve_references()
    config.clip.image_size = 64
    config.model.sigma = 1.0
    config.checkpoint = str(workdir / "checkpoints")
    assert engine.run("eval", config, tmp_path) == 0
    assert "clip.image_size=32, model.sigma=4.0" in capsys.readouterr().out
    first = json.loads((workdir / "report.json").read_text())
    second = json.loads((tmp_path / "report.json").read_text())
    assert first["datasets"] == second["datasets"]
    assert first["checkpoint"] == second["checkpoint"]
    assert first["seconds"]["train"] == second["seconds"]["train"] > 0
    trained_on = {"dataset": "mvtec", "epochs": 1, "seed": 111}
    assert first["trained"] == second["trained"] == trained_on
    assert first["image_size"] == second["image_size"] == 32
    assert set(second["made"]) == {"date", "version", "commit", "device", "command"}
    page = (tmp_path / "report.md").read_text()
    assert "- trained on: `mvtec`, 1 epoch, seed 111\n" in page
    assert "- image size: 32 × 32 pixels\n" in page


def test_the_report_keeps_its_contract(trained, data_root):
    workdir, _ = trained
    report = json.loads((workdir / "report.json").read_text())
    facts = {"method", "title", "parameters", "images_per_second", "checkpoint"}
    facts |= {"row", "trained", "image_size", "made"}
    assert set(report) == facts | {"datasets", "clip", "seconds", "digest"}
    assert report["title"] == "KAnoCLIP" and report["parameters"] > 1000
    assert set(report["clip"]) == {"name", "fingerprint"}
    (result,) = report["datasets"].values()
    assert list(report["datasets"]) == [f"folder:{data_root / 'mine'}"]
    assert set(result["classes"]) == {"cup", "plate"}
    assert result["classes"]["cup"]["normal"] == 6
    assert result["classes"]["cup"]["anomalous"] == 5
    for values in (*result["classes"].values(), result["mean"]):
        assert set(values) == METRICS | {"normal", "anomalous"}
        assert all(0 <= values[name] <= 1 for name in METRICS)
    for name in METRICS:
        classes = [values[name] for values in result["classes"].values()]
        assert result["mean"][name] == pytest.approx(sum(classes) / 2)


def test_the_pages_hold_the_tables(trained):
    workdir, _ = trained
    text = (workdir / "report.md").read_text()
    assert "| class" in text and "| cup" in text and "| mean" in text
    page = (workdir / "report.html").read_text()
    report = json.loads((workdir / "report.json").read_text())
    (result,) = report["datasets"].values()
    for values in (*result["classes"].values(), result["mean"]):
        for name in METRICS:
            assert f"<td>{100 * values[name]:.1f}</td>" in page


def test_the_page_shows_what_was_seen(trained):
    """Five plots of each class; all images of such small classes, none of them twice."""
    workdir, _ = trained
    page = (workdir / "report.html").read_text()
    assert page.count("<svg ") == 10
    for path in ("cup/test/spot/", "plate/test/good/"):
        found = sorted(re.findall(f"{path}(\\d+).png", page))
        assert found == ["000", "001", "002", "003", "004"][: len(found)]
        assert len(found) == (5 if path.startswith("cup") else 4)
    assert page.count("data:image/jpeg") == 4 * (5 + 4) + 3 * (6 + 4)


def test_the_training_dataset_is_refused_under_any_name(trained, data_root, tmp_path):
    workdir, config = trained
    config = config.copy_and_resolve_references()
    config.checkpoint = str(workdir / "checkpoints")
    for name in ("mvtec", f"folder:{data_root / 'mvtec'}"):
        config.eval.datasets = name
        with pytest.raises(InputError, match="allow_training_dataset"):
            engine.run("eval", config, tmp_path)
    config.eval.allow_training_dataset = True
    assert engine.run("eval", config, tmp_path) == 0


def test_a_checkpoint_of_another_clip_is_refused(trained, tmp_path, tiny_directory):
    workdir, config = trained
    config = config.copy_and_resolve_references()
    config.checkpoint = str(workdir / "checkpoints")
    config.clip.name = "demo"
    overrides = frozenset({"clip.name", "clip.image_size"})
    with pytest.raises(InputError, match="was trained with the CLIP"):
        engine.run("eval", config, tmp_path, overrides)


def test_a_checkpoint_of_another_architecture_says_where(trained, tmp_path):
    workdir, config = trained
    config = config.copy_and_resolve_references()
    config.checkpoint = str(workdir / "checkpoints")
    config.model.bica_width = 32
    with pytest.raises(InputError, match=r"another architecture.*shapes differ"):
        engine.run("eval", config, tmp_path, frozenset({"model.bica_width"}))
    config.model.bica_width = 16
    config.model.adapter = False
    with pytest.raises(InputError, match="only in the checkpoint: adapter/"):
        engine.run("eval", config, tmp_path, frozenset({"model.adapter"}))


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_a_folder_without_checkpoints_is_refused(settings, tmp_path, name):
    config = settings(checkpoint=str(tmp_path / name))
    with pytest.raises(InputError, match="is no checkpoint"):
        engine.run("eval", config, tmp_path)


def test_no_evaluation_dataset_is_refused(settings, tmp_path):
    with pytest.raises(InputError, match="eval.datasets is empty"):
        engine.run("train", settings(eval__datasets=""), tmp_path)
