"""Rows, seeds and two auxiliary datasets as one table."""

import json

import pytest
from ml_collections import ConfigDict

from data_pipelines.errors import AbsentError
from kanoclip_jax import engine
from kanoclip_jax.configs import ablation, industrial, medical
from kanoclip_jax.engine import train
from kanoclip_jax.engine.settings import resolve
from kanoclip_jax.engine.summary import mean_and_std
from kanoclip_jax.engine.workdir import Workdir
from kanoclip_jax.errors import InputError


@pytest.fixture
def both(settings, data_root):
    """MVTec AD and a folder, each evaluated after training on the other."""
    mine = f"folder:{data_root / 'mine'}"

    def make(**overrides):
        config = settings(
            train__second_dataset=mine,
            eval__datasets=f"mvtec,{mine}",
            train__epochs=1,
            **overrides,
        )
        return config, mine

    return make


@pytest.mark.slow
def test_rows_and_seeds_of_two_trainings(both, tmp_path, capsys, monkeypatch) -> None:
    config, mine = both(seeds=2, rows="clip,probe")
    assert engine.run("train", config, tmp_path) == 0
    shown = capsys.readouterr().out
    report = json.loads((tmp_path / "report.json").read_text())
    assert list(report["rows"]) == ["clip", "probe"]
    assert list(report["datasets"]) == ["mvtec", mine]
    assert report["datasets"] == report["rows"]["probe"]["datasets"]
    assert "Row by row" in shown and "±" in shown
    own = []
    for seed in ("111", "112"):
        run = tmp_path / "probe" / seed / "trained_on_mvtec"
        assert json.loads((run / "config.json").read_text())["seed"] == int(seed)
        own.append(json.loads((run / "report.json").read_text())["datasets"][mine])
        # MVTec AD was not trained on where it is evaluated.
        (other,) = (p for p in run.parent.iterdir() if p != run)
        assert list(json.loads((other / "report.json").read_text())["datasets"]) == [
            "mvtec"
        ]
    first, second = (result["mean"]["pixel_auroc"] for result in own)
    mean = report["datasets"][mine]["mean"]["pixel_auroc"]
    assert first != second
    assert mean == pytest.approx((first + second) / 2)
    spread = report["std"][mine]["mean"]["pixel_auroc"]
    assert spread == pytest.approx(abs(first - second) / 2**0.5)
    # What learns nothing does not depend on the seed: one run, no deviation.
    assert report["rows"]["clip"]["std"][mine]["mean"]["pixel_auroc"] is None
    assert list(report["rows"]["clip"]["runs"]) == ["111"]
    assert not (tmp_path / "clip" / "112").exists()

    # Again: the report, and no step.
    def refuse(*_: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(train.Run, "_train", refuse)
    assert engine.run("train", config, tmp_path) == 0
    assert json.loads((tmp_path / "report.json").read_text()) == report

    # And its checkpoints, by what they were trained on.
    single, _ = both(rows="probe", seed=112)
    run = tmp_path / "probe" / "112" / "trained_on_mvtec"
    single.checkpoint_mvtec = str(run / "checkpoints")
    single.eval.datasets = mine
    assert engine.run("train", single, tmp_path / "given") == 0
    given = json.loads((tmp_path / "given" / "report.json").read_text())
    assert given["datasets"][mine]["mean"] == own[1]["mean"]


def test_one_checkpoint_is_no_row_of_many(both, tmp_path) -> None:
    config, _ = both(rows="vv,adapter", checkpoint_mvtec=str(tmp_path))
    with pytest.raises(InputError, match="checkpoint_mvtec is one checkpoint"):
        engine.run("train", config, tmp_path / "run")
    config, _ = both(rows="vv", checkpoint=str(tmp_path))
    with pytest.raises(InputError, match="checkpoint_mvtec and"):
        engine.run("train", config, tmp_path / "run")


def test_a_row_is_known_and_changes_settings_only(both, tmp_path) -> None:
    config, _ = both(rows="knlp")
    with pytest.raises(InputError, match="row 'knlp' is unknown.*knpl"):
        engine.run("train", config, tmp_path)
    config.rows = "new"
    config.row_settings.new = ConfigDict({"model": {"knlp": False}})
    with pytest.raises(InputError, match=r"row_settings\.new.*knlp"):
        engine.run("train", config, tmp_path)


def test_a_suite_and_a_single_run_do_not_share_a_folder(settings, tmp_path) -> None:
    """Each would write over the other's report."""
    single, suite = resolve(settings()), resolve(settings(seeds=2))
    Workdir(tmp_path / "single").claim(single)
    with pytest.raises(InputError, match="holds a single run, and this is several"):
        engine.run("train", settings(seeds=2), tmp_path / "single")
    Workdir(tmp_path / "suite").claim(suite)
    with pytest.raises(InputError, match="holds several runs .* and this is a single"):
        engine.run("train", settings(), tmp_path / "suite")
    Workdir(tmp_path / "suite").claim(resolve(settings(seeds=3)))


def test_an_absent_dataset_is_listed_not_fatal(settings, tmp_path, data_root, capsys):
    mine = f"folder:{data_root / 'mine'}"
    config = settings(
        eval__datasets=f"btad,{mine}", rows="none", train__second_dataset="visa"
    )
    assert engine.run("train", config, tmp_path) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert list(report["datasets"]) == [mine]
    assert "BTAD" in report["absent"]["btad"]
    assert "not there: btad" in capsys.readouterr().out
    assert "btad" in (tmp_path / "report.md").read_text()
    page = (tmp_path / "report.html").read_text()
    (run,) = tmp_path.glob("none/111/trained_on_*")
    link = f"{run.relative_to(tmp_path).as_posix()}/report.html"
    assert f'href="{link}"' in page and (tmp_path / link).is_file()
    # Its curves and cases are the run's.
    assert page.count("<svg ") == (tmp_path / link).read_text().count("<svg ") == 10
    with pytest.raises(AbsentError, match="btad"):
        engine.run("train", settings(eval__datasets="btad"), tmp_path / "other")


def test_what_is_trained_on_an_absent_dataset_is_listed(settings, tmp_path, data_root):
    """MVTec AD is evaluated after training on VisA, which is not there."""
    mine = f"folder:{data_root / 'mine'}"
    config = settings(
        eval__datasets=f"mvtec,{mine}", rows="probe", train__second_dataset="visa"
    )
    config.row_settings.probe.model.taps = "2,4"
    config.row_settings.probe.train.epochs = 1
    assert engine.run("train", config, tmp_path) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert list(report["datasets"]) == [mine]
    assert "visa" in report["absent"]["mvtec"]


def test_deviations_over_seeds() -> None:
    def result(value: float | None) -> dict:
        row = {"image_auroc": value, "pixel_auroc": None, "normal": 3, "anomalous": 4}
        return {"classes": {"cup": row}, "mean": row, "notes": ["n"]}

    mean, std = mean_and_std([result(0.5), result(0.7), result(0.9)])
    assert mean["mean"] == mean["classes"]["cup"]
    assert mean["mean"]["image_auroc"] == pytest.approx(0.7)
    assert std["mean"]["image_auroc"] == pytest.approx(0.2)
    assert std["mean"]["pixel_auroc"] is None and std["mean"]["normal"] == 3
    assert mean["notes"] == ["n"] and "notes" not in std
    mean, std = mean_and_std([result(0.5)])
    assert mean["mean"]["image_auroc"] == 0.5 and std["mean"]["image_auroc"] is None
    mean, std = mean_and_std([result(0.5), result(None)])
    assert mean["mean"]["image_auroc"] is None and std["mean"]["image_auroc"] is None


def test_the_suites_of_the_paper() -> None:
    table = ablation.get_config()
    assert table.rows == "median,probe,both,none,knpl,vv,cmci,adapter"
    assert (table.train.dataset, table.train.second_dataset) == ("mvtec", "visa")
    assert ablation.get_config("vv").rows == "vv"
    with pytest.raises(ValueError, match="row 'vvv'"):
        ablation.get_config("vvv")
    sets = (
        industrial.get_config().eval.datasets + "," + medical.get_config().eval.datasets
    )
    assert len(set(sets.split(","))) == 12
