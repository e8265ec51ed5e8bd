"""Short forms are the long ones; nothing runs here."""

from pathlib import Path

import pytest

from kanoclip_jax.command.arguments import Arguments, Flag, nearest, take_apart
from kanoclip_jax.command.refusals import refuse_flags
from kanoclip_jax.command.run import _takes_nothing
from kanoclip_jax.command.spelling import Command, spell
from kanoclip_jax.errors import InputError


def apart(*given: str) -> Arguments:
    return take_apart(given, _takes_nothing)


def spelt(*given: str) -> Command:
    return spell(apart(*given))


def test_words_and_flags_are_told_apart_as_absl_does() -> None:
    found = apart("a", "--x=1=2", "-y=", "--workdir", "b", "--debug", "c", "--", "--d")
    assert found.words == ("a", "c", "--d")
    flags = [Flag("x", "1=2"), Flag("y", ""), Flag("workdir", "b"), Flag("debug")]
    assert list(found.flags) == flags
    assert list(map(str, flags)) == ["--x=1=2", "--y=", "--workdir=b", "--debug"]


def test_switches_take_no_value_from_the_next_argument() -> None:
    given = (
        "--config.predict.maps",
        "a",
        "--noconfig.predict.overlays",
        "b",
        "--nodebug",
    )
    assert apart(*given, "c").words == ("a", "b", "c")
    assert apart("--config.train.epochs", "3", "-1").words == ("-1",)
    # Numbers whose defaults are 1 and 0.
    numbers = apart("--config.predict.min_area", "3", "--config.watch.limit", "9")
    flags = [Flag("config.predict.min_area", "3"), Flag("config.watch.limit", "9")]
    assert numbers == Arguments((), tuple(flags))


@pytest.mark.parametrize(
    ("short", "long"),
    [
        (
            "predict photos --checkpoint=D --class-name=metal_nut --threshold .5",
            (
                "--mode=predict --config.predict.input=photos --config.checkpoint=D "
                "--config.predict.class_name=metal_nut --config.predict.threshold=.5"
            ),
        ),
        (
            "watch photos --checkpoint=D --coco=rle",
            (
                "--mode=watch --config.predict.input=photos --config.checkpoint=D "
                "--config.predict.coco=rle"
            ),
        ),
        (
            "predict photos --method=median --image-size=128",
            (
                "--config=base:median --mode=predict --config.predict.input=photos "
                "--config.clip.image_size=128"
            ),
        ),
        ("train --data=D", "--config=mvtec --mode=train --config.data.root=D"),
        ("train demo --epochs=1", "--config=demo --config.train.epochs=1"),
        (
            "train --data=D --method crane",
            "--config=mvtec:crane --config.data.root=D",
        ),
        (
            "eval a/b folder:c mpdd --checkpoint=D --batch_size=2",
            (
                "--mode=eval --config.eval.datasets=folder:a/b,folder:c,mpdd "
                "--config.checkpoint=D --config.eval.batch_size=2"
            ),
        ),
        (
            "calibrate good --checkpoint=D --rate=0.05 --batch-size=2",
            (
                "--mode=calibrate --config.calibrate.input=good --config.checkpoint=D "
                "--config.calibrate.target_rate=0.05 --config.predict.batch_size=2"
            ),
        ),
        (
            "watch in --checkpoint=D",
            "--mode=watch --config.checkpoint=D --config.predict.input=in",
        ),
        ("export --checkpoint=D", "--mode=export --config.checkpoint=D"),
        ("prepare --data=D", "--config=mvtec --mode=prepare --config.data.root=D"),
        (
            "predict photos --config=demo --method=none",
            "--config=demo:none --mode=predict --config.predict.input=photos",
        ),
        (
            "predict photos --checkpoint=D.pth --method=crane_plus",
            (
                "--mode=predict --config.predict.input=photos --config.checkpoint=D.pth "
                "--config.method=crane_plus"
            ),
        ),
    ],
)
def test_short_forms_are_the_long_ones(short: str, long: str) -> None:
    one, other = spelt(*short.split()), spelt(*long.split())
    assert (one.mode, one.config) == (other.mode, other.config)
    assert sorted(one.settings) == sorted(other.settings)


@pytest.mark.parametrize(
    ("given", "workdir"),
    [
        (
            "--config=configs/mvtec.py:none --mode=predict --config.predict.input=a",
            "mvtec",
        ),
        ("predict a/photos --checkpoint=/x/mvtec/checkpoints", "mvtec/photos"),
        ("watch a/photos --checkpoint=/x/mvtec/checkpoints/200", "mvtec/photos"),
        ("predict a/*.png --checkpoint=w/crane.pth", "crane/a"),
        ("predict a/one.png --method=median", "median/one"),
        ("calibrate good --method=median", "median"),
        ("eval parts/ --checkpoint=/x/kanoclip/111/checkpoints", "kanoclip-111/parts"),
        ("eval mpdd --data=D --checkpoint=/x/mvtec/checkpoints", "mvtec"),
        ("export --checkpoint=/x/mvtec/checkpoints", "mvtec"),
        ("train --data=D", "mvtec"),
        ("train visa --data=D", "visa"),
        ("train --data=D --method=probe", "probe"),
    ],
)
def test_results_go_where_model_and_pictures_say(given: str, workdir: str) -> None:
    assert spelt(*given.split()).workdir == Path("runs", workdir)


def test_results_go_where_the_folders_above_say(tmp_path, monkeypatch) -> None:
    (tmp_path / "mvtec" / "in").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "mvtec" / "in")
    found = spelt("predict", "..", "--checkpoint=../checkpoints").workdir
    assert found == Path("runs", "mvtec", "mvtec")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("predict photos", "--checkpoint=DIR, or a method without training"),
        ("predict a.jpg b.jpg --checkpoint=D", "put a glob in quotes"),
        ("watch a b --checkpoint=D", "'b' is not understood. watch takes one folder"),
        ("predict a --checkpoint=D --rate=1", "--rate is a flag of calibrate"),
        ("predikt a", "Did you mean predict?"),
        ("--mode=fly --config=demo", "Allowed: train, eval, predict"),
        ("train demo visa", "'demo' is not understood"),
        ("--mode=train --config.checkpoint=D", "--config is missing"),
    ],
)
def test_what_cannot_be_meant_is_refused(given: str, words: str) -> None:
    with pytest.raises(InputError) as refused:
        spelt(*given.split())
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            "predict a --ckeckpoint=D",
            "--ckeckpoint is no flag. Did you mean --checkpoint? `kanoclip predict --h",
        ),
        ("--versoin", "Did you mean --version? `kanoclip --help`"),
        (
            "predict a --checkpoint=D --threshold",
            "--threshold lacks its value: a score",
        ),
        ("predict a --config", "--config lacks its value: a configuration's name"),
        ("predict a --workdir", "--workdir lacks its value: Where results go"),
        ("-v", "-v lacks its value"),
    ],
)
def test_flags_that_are_none_are_named_first(given: str, words: str) -> None:
    with pytest.raises(InputError) as refused:
        refuse_flags(apart(*given.split()), _takes_nothing)
    assert words in str(refused.value)


def test_flags_that_are_some_are_let_through() -> None:
    given = "predict a --checkpoint=D --config.any=1 --noconfig.any --rate=1 --nodebug"
    refuse_flags(apart(*given.split(), "--x=1", "--undefok=x"), _takes_nothing)


def test_only_what_is_near_is_suggested() -> None:
    assert (
        nearest("anomalclip", ["anomalyclip", "clip"]) == " Did you mean anomalyclip?"
    )
    assert nearest("foo", ["anomalyclip", "clip"]) == ""
