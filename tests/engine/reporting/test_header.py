"""The head of a report: facts of new ones, of suites, and of those that lack some."""

from importlib import metadata

import numpy as np

import kanoclip_jax
from kanoclip_jax.engine.circumstances import of_now, of_training, versions
from kanoclip_jax.engine.reporting.header import facts, title_of

OLD = {
    "method": "kanoclip",
    "checkpoint": "/run/checkpoints/7",
    "clip": {"name": "demo", "fingerprint": "f" * 64},
    "seconds": {"train": 61.2, "eval": 2},
}
MADE = {"date": "2026-11-27 07:40 UTC", "version": "1.0", "commit": "5e25-dirty"}
MADE |= {"device": "cpu", "command": "python launch.py --config=configs/mvtec.py"}
TRAINED = {"dataset": "mvtec", "epochs": 4, "seed": 111}


def test_an_older_report_says_what_it_knows() -> None:
    assert title_of(OLD) == "kanoclip"
    assert list(map(tuple, facts(OLD, lambda name: f"`{name}`"))) == [
        ("backbone", "CLIP `demo`, weights `ffffffffffffffff`"),
        ("checkpoint", "`/run/checkpoints/7`"),
        ("time", "training 61 s, evaluation 2 s"),
    ]


def test_a_report_says_what_was_trained_when_and_by_what() -> None:
    new = {"title": "KAnoCLIP", "row": "vv", "trained": TRAINED, "image_size": 518}
    said = dict(facts(OLD | new | {"made": MADE}))
    assert title_of(OLD | new) == "KAnoCLIP: vv"
    assert said["trained on"] == "mvtec, 4 epochs, seed 111"
    assert said["image size"] == "518 × 518 pixels"
    assert said["time"] == "training 61 s, evaluation 2 s, on cpu"
    assert said["version"] == "1.0, commit 5e25 with local changes"
    assert (said["date"], said["command"]) == (MADE["date"], MADE["command"])
    none = OLD | {"checkpoint": None, "title": "untrained KAnoCLIP", "row": "none"}
    assert title_of(none) == "untrained KAnoCLIP: none"
    assert dict(facts(none))["trained on"] == "nothing: there is nothing to train"


def test_rows_say_where_they_differ() -> None:
    def row(title: str, epochs: int | None, size: int) -> dict:
        own = [TRAINED | {"epochs": epochs}, TRAINED | {"dataset": "visa"}]
        trained = own if epochs else [None]
        runs = {"111": "a", "112": "b"} if epochs else {"111": "a"}
        return {"title": title, "trained": trained, "image_size": size, "runs": runs}

    rows = {
        "clip": row("CLIP", None, 518),
        "mvfa": row("MVFA", 50, 240),
        "kanoclip": row("KAnoCLIP", 4, 518),
    }
    said = dict(facts(OLD | {"rows": rows}))
    assert said["rows"] == "clip, mvfa, kanoclip" and said["seeds"] == "111, 112"
    on = "mvtec or visa, 50 epochs (MVFA); 4 epochs (KAnoCLIP)"
    assert said["trained on"] == on
    sizes = "518 × 518 pixels (CLIP, KAnoCLIP); 240 × 240 pixels (MVFA)"
    assert said["image size"] == sizes
    old = {"kanoclip": {"title": "KAnoCLIP", "runs": {"9": "a", "10": "b"}}}
    said = dict(facts(OLD | {"rows": old}))
    assert (said["rows"], said["seeds"]) == ("kanoclip", "9, 10")
    assert "trained on" not in said and "image size" not in said


def test_circumstances(monkeypatch) -> None:
    monkeypatch.setattr("sys.argv", ["/home/me/launch.py", "--workdir=my runs"])
    made = of_now()
    assert made["command"] == "python launch.py '--workdir=my runs'"
    assert made["date"].endswith(" UTC") and made["device"]
    monkeypatch.setattr("sys.argv", ["/usr/bin/kanoclip", "train"])
    assert of_now()["command"] == "kanoclip train"
    monkeypatch.setattr("sys.argv", ["/x/kanoclip_jax/__main__.py", "train"])
    assert of_now()["command"] == "python -m kanoclip_jax train"
    meta = {"dataset": "mvtec", "seed": 111, "config": {"train": {"epochs": 4}}}
    assert of_training(meta) == TRAINED
    assert of_training({}) is None
    assert of_training({"dataset": "mvtec"}) == {"dataset": "mvtec"}


def test_a_clone_that_is_installed_nowhere_has_its_version(monkeypatch) -> None:
    real = metadata.version

    def version(name: str) -> str:
        if name == "kanoclip-jax":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", version)
    found = versions(["numpy"])
    assert found["kanoclip-jax"] == kanoclip_jax.__version__ == of_now()["version"]
    assert found["numpy"] == np.__version__
