"""Training on several datasets as one: end to end, and what is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_pipelines.errors import DataError
from kanoclip_jax import engine
from kanoclip_jax.engine import feature_cache
from kanoclip_jax.engine.auxiliary import open_auxiliary, refuse_without_masks
from kanoclip_jax.engine.build import load_method, refuse_training_dataset
from kanoclip_jax.engine.checkpoint import find_steps, read_meta
from kanoclip_jax.engine.knowledge.training import training_knowledge
from kanoclip_jax.engine.settings import resolve
from kanoclip_jax.engine.suite import _auxiliary, _checkpoint
from kanoclip_jax.engine.workdir import file_name
from kanoclip_jax.errors import InputError
from kanoclip_jax.knowledge.store import Record, write_records


def write_lesions(folder: Path, count: int, seed: int) -> None:
    """A colonoscopy dataset in miniature: no image is normal."""
    rng = np.random.default_rng(seed)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for i in range(count):
        image = rng.integers(100, 160, (40, 40, 3), np.uint8)
        mask = np.zeros((40, 40), np.uint8)
        mask[8:20, 10:24] = 255
        image[mask > 0] = (200, 40, 60)
        Image.fromarray(image).save(folder / f"images/{i}.png")
        Image.fromarray(mask).save(folder / f"masks/{i}.png")


@pytest.fixture(scope="module")
def root(data_root, tmp_path_factory) -> Path:
    """MVTec AD's two classes beside two datasets of one class, called alike."""
    folder = tmp_path_factory.mktemp("joined")
    (folder / "mvtec").symlink_to(data_root / "mvtec")
    write_lesions(folder / "colondb", 5, seed=5)
    write_lesions(folder / "clinicdb", 4, seed=6)
    for kind in ("yes", "no"):
        (folder / "br35h" / kind).mkdir(parents=True)
        Image.new("RGB", (40, 40)).save(folder / f"br35h/{kind}/{kind}1.jpg", "JPEG")
    return folder


@pytest.fixture
def joined(settings, root):
    """Settings of a training on several datasets."""

    def make(**overrides):
        given = {"data__root": str(root), "train__dataset": "mvtec,colondb"}
        return settings(**given | overrides)

    return make


@pytest.mark.slow
def test_two_datasets_are_trained_on_as_one(
    joined, tmp_path, capsys, monkeypatch
) -> None:
    light = {
        "model__cmci": False,
        "model__adapter": False,
        "train__epochs": 1,
        "data__prepared": str(tmp_path / "prepared"),
    }
    config, alone = joined(**light), joined(**light, train__dataset="mvtec")
    assert engine.run("train", alone, tmp_path / "alone") == 0
    computed = []
    write = feature_cache.FeatureCache._write

    def counting(self, shard):
        computed.extend(key for key, _ in shard)
        write(self, shard)

    monkeypatch.setattr(feature_cache.FeatureCache, "_write", counting)
    capsys.readouterr()
    assert engine.run("train", config, tmp_path / "both") == 0
    # 21 images of MVTec AD and 5 of CVC-ColonDB, of which the former are known.
    assert "on 26 images, 7 steps of 4" in capsys.readouterr().out
    assert len(computed) == 5
    meta = read_meta(find_steps(tmp_path / "both" / "checkpoints")[0])
    assert meta["dataset"] == "mvtec,colondb"
    assert meta["classes"] == ["bottle", "metal_nut", "colon"]
    saved = json.loads((tmp_path / "both" / "config.json").read_text())
    assert saved["train"]["dataset"] == "mvtec,colondb"
    report = json.loads((tmp_path / "both" / "report.json").read_text())
    (result,) = report["datasets"].values()
    assert result["mean"]["pixel_auroc"] is not None

    # The checkpoint knows what it was trained on, one part as the other.
    config.eval.datasets = "colondb"
    config.checkpoint = str(tmp_path / "both" / "checkpoints")
    with pytest.raises(
        InputError, match=r"colondb was trained on \(colondb with others"
    ):
        engine.run("eval", config, tmp_path / "eval")
    config.eval.datasets = "clinicdb"
    assert engine.run("eval", config, tmp_path / "eval") == 0
    report = json.loads((tmp_path / "eval" / "report.json").read_text())
    mean = report["datasets"]["clinicdb"]["mean"]
    assert mean["image_auroc"] is mean["image_ap"] is mean["image_f1max"] is None
    assert 0 < mean["pixel_auroc"] <= 1 and mean["normal"] == 0
    page = (tmp_path / "eval" / "report.md").read_text()
    assert "| colon |      0 |         4 |" in page and "–" in page


@pytest.mark.slow
def test_a_suite_of_two_joined_trainings(joined, root, tmp_path, data_root) -> None:
    """As AdaCLIP: a part of the first set is evaluated after training on the second."""
    mine = f"folder:{data_root / 'mine'}"
    config = joined(
        train__second_dataset=f"{mine},clinicdb",
        eval__datasets=f"{mine},colondb,mvtec",
        train__epochs=1,
        rows="probe",
    )
    config.row_settings.probe.model.taps = "2,4"
    config.row_settings.probe.train.epochs = 1
    assert engine.run("train", config, tmp_path) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert list(report["datasets"]) == [mine, "colondb", "mvtec"]
    assert report["datasets"]["colondb"]["mean"]["image_auroc"] is None
    assert "colondb" in (tmp_path / "report.html").read_text()
    runs = sorted(path.name for path in (tmp_path / "probe" / "111").iterdir())
    first, second = sorted(runs, key=lambda name: not name.endswith("mvtec+colondb"))
    assert first == "trained_on_mvtec+colondb"
    assert second == f"trained_on_{file_name(mine)}+clinicdb"
    for run, names in ((first, [mine]), (second, ["colondb", "mvtec"])):
        own = json.loads((tmp_path / "probe" / "111" / run / "report.json").read_text())
        assert list(own["datasets"]) == names


def test_what_a_target_is_evaluated_with(joined) -> None:
    config = resolve(joined(train__second_dataset="visa,clinicdb"))
    assert _auxiliary(config, "mvtec") == "visa,clinicdb"
    assert _auxiliary(config, "colondb") == "visa,clinicdb"
    assert _auxiliary(config, "visa") == "mvtec,colondb"
    assert _auxiliary(config, "mpdd") == "mvtec,colondb"


def test_a_checkpoint_of_a_joined_training(joined) -> None:
    config = resolve(joined(checkpoint_mvtec="A", checkpoint_visa="B"))
    assert _checkpoint(config, "mvtec,colondb") == "A"
    assert _checkpoint(config, "colondb,visa") == "B"
    assert _checkpoint(config, "clinicdb") == ""
    with pytest.raises(
        InputError, match="checkpoint_mvtec and checkpoint_visa are both"
    ):
        _checkpoint(config, "mvtec,visa")


def test_a_second_set_with_a_target_is_refused_before_anything(
    joined, tmp_path
) -> None:
    config = joined(
        train__second_dataset="clinicdb,mvtec", eval__datasets="mvtec", rows="kanoclip"
    )
    with pytest.raises(
        InputError, match=r"mvtec was trained on \(mvtec with others: cl"
    ):
        engine.run("train", config, tmp_path)
    assert not list(tmp_path.iterdir())


def test_every_part_is_checked_against_the_targets(joined, root) -> None:
    for target in ("mvtec", "colondb", f"folder:{root / 'colondb'}"):
        config = resolve(joined(eval__datasets=f"clinicdb,{target}"))
        with pytest.raises(InputError, match="mvtec,colondb.*not zero-shot"):
            refuse_training_dataset(config, "mvtec,colondb")
    config = resolve(joined(eval__datasets="clinicdb"))
    refuse_training_dataset(config, "mvtec,colondb")
    refuse_training_dataset(config, "")


@pytest.mark.parametrize("key", ["train__dataset", "train__second_dataset"])
def test_a_dataset_comes_once(key, joined) -> None:
    with pytest.raises(InputError, match=r"second_dataset|dataset names mvtec 2 times"):
        resolve(joined(**{key: "mvtec, colondb,mvtec"}))
    assert resolve(joined(**{key: " mvtec , colondb,"})).train[
        key.removeprefix("train__")
    ] == ("mvtec,colondb")


def test_a_dataset_comes_once_under_any_name(joined, root, data_root) -> None:
    config = resolve(joined())
    again = f"folder:{data_root / 'mvtec'}"
    with pytest.raises(InputError, match=f"mvtec and {again} are one dataset"):
        open_auxiliary(config, f"mvtec,{again}", ())


def test_every_part_needs_masks(joined) -> None:
    source = open_auxiliary(resolve(joined()), "colondb,br35h", ())
    with pytest.raises(InputError, match="br35h has no masks"):
        refuse_without_masks(source)


def test_classes_are_of_any_part(joined) -> None:
    config = resolve(joined())
    source = open_auxiliary(config, "mvtec,colondb,clinicdb", ("bottle", "colon"))
    assert source.classes == ("bottle", "colondb/colon", "clinicdb/colon")
    assert open_auxiliary(config, "mvtec", ("bottle",)).dataset == "mvtec"
    with pytest.raises(DataError, match="none of mvtec, colondb has a class 'bottel'"):
        open_auxiliary(config, "mvtec,colondb", ("bottel",))
    with pytest.raises(InputError, match=r"config\.train\.dataset"):
        open_auxiliary(config, "", ())


def test_a_file_s_name(data_root) -> None:
    mine = f"folder:{data_root / 'mine'}"
    assert file_name("mvtec") == "mvtec"
    assert file_name("mvtec,colondb") == "mvtec+colondb"
    assert file_name(f"mvtec,{mine}") == f"mvtec+{file_name(mine)}"


def test_preparation_prepares_every_part(joined, capsys) -> None:
    config = joined(train__second_dataset="clinicdb", eval__datasets="br35h")
    assert engine.run("prepare", config, Path("unused")) == 0
    shown = capsys.readouterr().out
    for line in ("mvtec", "colondb", "clinicdb", "br35h (no masks)"):
        assert line in shown.splitlines()
    assert "  colon       0          5    0 / 380" in shown.splitlines()


def test_knowledge_is_each_part_s_own(joined, tmp_path) -> None:
    config = resolve(joined())
    clip = load_method(config).clip
    parts = {
        name: training_knowledge(config, open_auxiliary(config, name, ()), clip).means
        for name in ("mvtec", "colondb", "clinicdb")
    }
    source = open_auxiliary(config, "mvtec,colondb,clinicdb", ())
    means, digest = training_knowledge(config, source, clip)
    np.testing.assert_allclose(
        means, np.concatenate(list(parts.values())), rtol=0, atol=1e-6
    )
    # Sentences on file are for the dataset that they name, or for all of that name.
    records = [
        Record("colondb", "colon", "llm", text="A red spot."),
        Record("clinicdb", "colon", "llm", text="A pale bump."),
        Record("mvtec", "bottle", "llm", text="A crack."),
        Record("other", "metal_nut", "llm", text="A scratch."),
    ]
    write_records(tmp_path / "own.jsonl", records)
    own = resolve(joined(knowledge__path=str(tmp_path / "own.jsonl")))
    told, other = training_knowledge(own, source, clip)
    assert other != digest and np.abs(told[2] - told[3]).max() > 1e-3


def test_knowledge_of_several_goes_into_one_file(joined, tmp_path, capsys) -> None:
    config = joined(eval__datasets="br35h", knowledge__dataset="mvtec,colondb")
    assert engine.run("knowledge", config, tmp_path) == 0
    path = tmp_path / "knowledge" / "mvtec+colondb.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert {(r["dataset"], r["class"]) for r in lines} == {
        ("mvtec", "bottle"),
        ("mvtec", "metal_nut"),
        ("colondb", "colon"),
    }
    config.eval.datasets = "br35h,colondb"
    with pytest.raises(InputError, match="colondb is evaluated on"):
        engine.run("knowledge", config, tmp_path)
    config.eval.datasets = "br35h"
    config.knowledge.action = "inspect"
    with pytest.raises(InputError, match="mvtec,colondb are several datasets"):
        engine.run("knowledge", config, tmp_path)


@pytest.mark.slow
def test_the_command_line_trains_on_several(
    root, data_root, tiny_directory, tmp_path
) -> None:
    done = subprocess.run(
        [
            sys.executable,
            Path(__file__).parents[2] / "launch.py",
            "--config=configs/base.py:probe",
            f"--workdir={tmp_path / 'run'}",
            f"--config.clip.name={tiny_directory}",
            "--config.clip.image_size=32",
            "--config.model.taps=2,4",
            f"--config.data.root={root}",
            f"--config.data.prepared={tmp_path / 'prepared'}",
            "--config.train.dataset=colondb,mvtec",
            "--config.train.classes=bottle,colon",
            "--config.train.epochs=1",
            "--config.train.batch_size=4",
            f"--config.eval.datasets=clinicdb,folder:{data_root / 'mine'}",
            "--config.eval.batch_size=4",
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "on 16 images, 4 steps of 4" in done.stdout
    meta = read_meta(find_steps(tmp_path / "run" / "checkpoints")[0])
    assert meta["dataset"] == "colondb,mvtec"
    assert meta["classes"] == ["colon", "bottle"]
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert len(report["datasets"]) == 2
