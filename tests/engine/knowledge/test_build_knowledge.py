"""Knowledge built for a folder of three classes by models on the loopback."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from chat_server import Asked, Reply, answering, failing
from class_trees import write_class
from PIL import Image

from kanoclip_jax import engine
from kanoclip_jax.engine.build import load_method, open_dataset
from kanoclip_jax.engine.knowledge import asking
from kanoclip_jax.engine.knowledge.training import training_knowledge
from kanoclip_jax.engine.settings import resolve
from kanoclip_jax.errors import InputError
from kanoclip_jax.knowledge.ledger import key_of
from kanoclip_jax.knowledge.providers import retry
from kanoclip_jax.knowledge.store import Record, read_records

ROOT = Path(__file__).parents[3]
KEY = "sk-marked-0123456789abcdef"
CLASSES = {"cup": "cup", "metal_lid": "metal lid", "plate": "plate"}


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes, each with two normal and two anomalous images and their masks."""
    root = tmp_path_factory.mktemp("parts")
    for seed, name in enumerate(CLASSES):
        write_class(root / name, 2, 2, seed)
    return root


@pytest.fixture
def asks(settings, parts, chat, monkeypatch) -> Callable:
    """Makes a configuration that asks the server; keywords as in `settings`."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.01)

    def make(**overrides: object):
        server = {
            "knowledge__dataset": f"folder:{parts}",
            "knowledge__provider": "openai",
            "knowledge__base_url": chat.base_url,
            "knowledge__llm": "talker",
            "knowledge__vqa": "seer",
            "knowledge__retries": 2,
        }
        return settings(**(server | overrides))

    return make


def records_of(workdir: Path) -> list[Record]:
    (path,) = (workdir / "knowledge").iterdir()
    return read_records(path)


def test_three_classes_are_asked_about(asks, chat, parts, tmp_path, capsys):
    assert engine.run("knowledge", asks(), tmp_path) == 0
    language = [a for a in chat.asked if a.content["model"] == "talker"]
    vision = [a for a in chat.asked if a.content["model"] == "seer"]
    assert len(language) + len(vision) == len(chat.asked)
    assert sorted((a.text, a.content["seed"]) for a in language) == [
        (f"Describe what an abnormal image of {name} looks like?", seed)
        for name in CLASSES.values()
        for seed in (111, 112, 113, 114, 115)
    ]
    assert {a.content["temperature"] for a in language} == {0.7}
    assert Counter(a.text.partition(".")[0] for a in vision) == {
        f"Identify anomalies in the input image of the specified class ({name})": 2
        for name in CLASSES.values()
    }
    assert {a.content["temperature"] for a in vision} == {0}
    records = records_of(tmp_path)
    assert Counter(r.source for r in records) == {"llm": 15, "vqa": 6}
    assert {r.image for r in records if r.source == "vqa"} == {
        f"{name}/test/spot/{i:03}.png" for name in CLASSES for i in range(2)
    }
    assert {(r.provider, r.model, r.dataset) for r in records} == {
        ("openai", "talker", f"folder:{parts}"),
        ("openai", "seer", f"folder:{parts}"),
    }
    assert len({r.text for r in records}) == 21
    assert all(len(r.created) == 10 for r in records)
    said = capsys.readouterr().out
    (path,) = (tmp_path / "knowledge").iterdir()
    assert "15 llm, 6 vqa" in said
    assert f"--config.knowledge.path={path}" in said


def test_each_answer_is_about_the_picture_that_was_sent(asks, chat, parts, tmp_path):
    assert engine.run("knowledge", asks(knowledge__llm=""), tmp_path) == 0
    assert len(chat.asked) == 6
    for record in records_of(tmp_path):
        # The server's answers end with the hash of the picture.
        (asked,) = [a for a in chat.asked if f"{a.question[3][:8]}." in record.text]
        sent = np.int32(asked.image.convert("RGB"))
        original = np.int32(Image.open(parts / record.image))
        assert sent.shape == (40, 40, 3)
        assert np.abs(sent - original).mean() < 5


def test_what_is_answered_is_not_asked_again(asks, chat, tmp_path):
    assert engine.run("knowledge", asks(knowledge__vqa=""), tmp_path) == 0
    assert engine.run("knowledge", asks(), tmp_path) == 0
    assert engine.run("knowledge", asks(knowledge__n=7), tmp_path) == 0
    assert set(chat.answered.values()) == {1}
    assert len(chat.asked) == 3 * 7 + 6
    assert len({key_of(r) for r in records_of(tmp_path)}) == 27
    assert engine.run("knowledge", asks(knowledge__llm="another"), tmp_path) == 0
    assert len(chat.asked) == 27 + 15


FAILURES = {
    "429": failing(429, f"slow down, {KEY}", Retry_After="0"),
    "500": failing(500, f"broken by {KEY}"),
    "stall": Reply(stall=True),
    "malformed": Reply(body=f'{{"choices": "{KEY}'),
    "empty": answering(""),
    "refusal": answering(f"I'm sorry, but I can't help {KEY} with that."),
    "400": failing(400, f"bad {KEY}"),
}


def fail(asked: Asked, before: int) -> Reply:
    """The first language questions about a class each fail in a way of their own."""
    if asked.content["model"] == "seer":
        return answering(f"A dent called {KEY}.")
    kinds = [*FAILURES.values(), answering(f"A dent called {KEY}.")]
    return kinds[asked.content["seed"] - 111]


def test_every_failure_is_told_and_mended_by_the_next_run(asks, chat, tmp_path, capsys):
    chat.reply = fail
    config = asks(knowledge__n=8, knowledge__timeout=0.2, knowledge__retries=1)
    assert engine.run("knowledge", config, tmp_path) == 1
    told = capsys.readouterr().out
    assert "21 questions failed, 0 were not asked" in told
    for kind in (
        "3 × HTTP 429",
        "3 × HTTP 500",
        "3 × no answer within 0.2 s",
        "3 × malformed answer",
        "3 × empty answer",
        "3 × refusal",
        "3 × HTTP 400",
    ):
        assert kind in told
    assert Counter(r.source for r in records_of(tmp_path)) == {"llm": 3, "vqa": 6}
    # Five kinds were asked twice, a refusal and a bad request once.
    assert len(chat.asked) == 3 * (5 * 2 + 2) + 9
    chat.reply = lambda *_: answering("A dent.")
    assert engine.run("knowledge", config, tmp_path) == 0
    assert {chat.answered[a.question] for a in chat.asked} <= {1, 2, 3}
    assert len({key_of(r) for r in records_of(tmp_path)}) == 30


def test_no_key_in_any_file_or_stream(asks, chat, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("OPENAI_LOG", "debug")
    config = asks(knowledge__n=8, knowledge__timeout=0.2, knowledge__retries=1)
    chat.reply = fail
    assert engine.run("knowledge", config, tmp_path) == 1
    errors = ""
    for status in (401, 404):
        chat.reply = lambda *_, status=status: failing(status, f"{KEY} is unknown")
        with pytest.raises(InputError) as caught:
            engine.run("knowledge", config, tmp_path)
        # What --debug shows.
        errors += "".join(traceback.format_exception(caught.value))
    assert {asked.key for asked in chat.asked} == {f"Bearer {KEY}"}
    out, err = capfd.readouterr()
    assert "refusal" in out and "question" in err
    assert "HTTP 401" in errors and "HTTP 404" in errors
    assert any("called ***" in record.text for record in records_of(tmp_path))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    for text in (out, err, errors, *(path.read_text() for path in files)):
        assert "sk-marked" not in text
        assert "0123456789abcdef" not in text


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def begin(chat, parts: Path, workdir: Path) -> subprocess.Popen:
    """The command in a process of its own, to be killed or interrupted."""
    return subprocess.Popen(
        [
            sys.executable,
            "launch.py",
            "--config=configs/demo.py",
            "--mode=knowledge",
            f"--workdir={workdir}",
            f"--config.knowledge.dataset=folder:{parts}",
            "--config.knowledge.provider=openai",
            f"--config.knowledge.base_url={chat.base_url}",
            "--config.knowledge.llm=talker",
            "--config.knowledge.vqa=seer",
        ],
        cwd=ROOT,
        env=os.environ | {"XDG_CACHE_HOME": str(workdir / "cache")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def test_killed_and_started_again(asks, chat, parts, tmp_path, capsys):
    """SIGKILL after seven answers; what was under way was never answered."""
    guard, count = threading.Lock(), iter(range(1000))

    def reply(asked: Asked, before: int) -> Reply:
        with guard:
            stall = next(count) >= 7
        return Reply(stall=True) if stall else answering(f"About {asked.question}.")

    chat.reply = reply
    process = begin(chat, parts, tmp_path)
    folder = tmp_path / "knowledge"
    with process:
        try:
            # Four more questions are under way: the default concurrency.
            wait_until(lambda: len(chat.asked) == 11)
            wait_until(lambda: len(records_of(tmp_path)) == 7)
            with pytest.raises(InputError, match="is held by --mode=knowledge"):
                engine.run("knowledge", asks(), tmp_path)
        finally:
            process.kill()
    assert sum(chat.answered.values()) == 7
    (path,) = folder.iterdir()
    with path.open("ab") as file:
        file.write(b'{"v": 1, "dataset": "fold')
    chat.reply = lambda asked, _: answering(f"Later, about {asked.question}.")
    assert engine.run("knowledge", asks(), tmp_path) == 0
    assert "unfinished last line (25 bytes) was cut off" in capsys.readouterr().out
    assert len(chat.answered) == 21
    assert set(chat.answered.values()) == {1}
    records = records_of(tmp_path)
    assert len(records) == len({key_of(r) for r in records}) == 21
    assert sum(r.text.startswith("About") for r in records) == 7


def test_an_interrupt_keeps_the_answers_under_way(asks, chat, parts, tmp_path):
    started, interrupted, count = threading.Event(), threading.Event(), iter(range(99))

    def reply(asked: Asked, before: int) -> Reply:
        number = next(count)
        if number == 6:
            started.wait(10)
            process.send_signal(signal.SIGINT)
            interrupted.set()
        if number >= 3:
            interrupted.wait(10)
            time.sleep(0.3)
        return answering("A dent.")

    chat.reply = reply
    process = begin(chat, parts, tmp_path)
    started.set()
    with process:
        assert process.wait(60) == 130
    # Whatever was asked before the interrupt reached the threads is answered and kept.
    kept = len(records_of(tmp_path))
    assert kept == sum(chat.answered.values()) == len(chat.asked)
    assert 7 <= kept < 7 + 4
    chat.reply = lambda *_: answering("A dent.")
    assert engine.run("knowledge", asks(), tmp_path) == 0
    assert len(chat.asked) == 21


def test_an_interrupt_does_not_wait_for_a_stalled_server(chat, parts, tmp_path):
    chat.reply = lambda *_: Reply(stall=True)
    process = begin(chat, parts, tmp_path)
    with process:
        try:
            wait_until(lambda: len(chat.asked) == 4)
            start = time.monotonic()
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 130
        finally:
            process.kill()
    assert time.monotonic() - start < asking._GRACE + 5


def test_a_server_that_is_gone_is_left_alone(asks, chat, tmp_path, capsys):
    chat.reply = lambda *_: failing(500, "broken")
    config = asks(knowledge__retries=0, knowledge__concurrency=1, knowledge__n=10)
    assert engine.run("knowledge", config, tmp_path) == 1
    told = capsys.readouterr().out
    # One more may have begun before the twentieth was counted.
    assert 20 <= len(chat.asked) <= 22
    assert f"{36 - len(chat.asked)} were not asked" in told
    assert "--config.knowledge.path" not in told


def test_evaluation_datasets_are_refused(asks, chat, settings, data_root, tmp_path):
    mine = data_root / "mine"
    (tmp_path / "link").symlink_to(mine)
    for dataset, targets in (
        (f"folder:{mine}", f"folder:{mine}"),
        (f"folder:{tmp_path / 'link'}", f"folder:{mine}"),
        (f"folder:{mine}", "visa,mine"),
        (f"folder:{mine / 'cup'}", f"folder:{mine}"),
        (f"folder:{mine}", f"folder:{mine / 'cup'}"),
        ("", "mvtec"),
        (f"folder:{data_root / 'mvtec'}", "mvtec"),
    ):
        config = asks(knowledge__dataset=dataset, eval__datasets=targets)
        with pytest.raises(InputError, match="allow_evaluation_dataset=True"):
            engine.run("knowledge", config, tmp_path)
    assert chat.asked == []
    assert not (tmp_path / "knowledge").exists()
    config = settings(
        knowledge__dataset=f"folder:{mine}",
        knowledge__provider="template",
        knowledge__allow_evaluation_dataset=True,
    )
    assert engine.run("knowledge", config, tmp_path) == 0
    assert {r.source for r in records_of(tmp_path)} == {"template"}


def test_the_training_dataset_is_the_default(settings, tmp_path):
    config = settings(train__classes="metal_nut")
    assert engine.run("knowledge", config, tmp_path) == 0
    records = read_records(tmp_path / "knowledge" / "mvtec.jsonl")
    assert {r.class_name for r in records} == {"metal_nut"}
    assert {r.provider for r in records} == {"bundled"}
    config = settings(train__classes="metal_nut", knowledge__provider="template")
    assert engine.run("knowledge", config, tmp_path) == 0
    records = read_records(tmp_path / "knowledge" / "mvtec.jsonl")[len(records) :]
    assert [r.image for r in records] == [
        f"metal_nut/test/spot/{i:03}.png" for i in range(6)
    ]
    assert all("anomaly (spot)" in r.text and r.created for r in records)


def test_folders_of_one_name_have_files_of_their_own(settings, tmp_path):
    for parent in ("a", "b"):
        write_class(tmp_path / parent / "things" / "cup", 1, 1, seed=1)
        config = settings(
            knowledge__dataset=f"folder:{tmp_path / parent / 'things'}",
            knowledge__provider="template",
        )
        assert engine.run("knowledge", config, tmp_path / "run") == 0
    names = [path.name for path in (tmp_path / "run" / "knowledge").iterdir()]
    assert len(names) == 2
    assert all(name.startswith("things-") for name in names)


def test_template_needs_masks(settings, parts, tmp_path):
    folder = tmp_path / "bare"
    shutil.copytree(parts, folder, ignore=shutil.ignore_patterns("ground_truth"))
    config = settings(
        knowledge__dataset=f"folder:{folder}", knowledge__provider="template"
    )
    with pytest.raises(InputError, match="has no masks"):
        engine.run("knowledge", config, tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"knowledge__llm": "", "knowledge__vqa": ""}, r"--config\.knowledge\.llm"),
        ({"knowledge__base_url": "https://u:secret@h/v1"}, "OPENAI_API_KEY"),
        ({"knowledge__base_url": "https://h/v1?key=secret"}, "OPENAI_API_KEY"),
        (
            {"knowledge__base_url": "localhost:8000"},
            "'localhost:8000'; allowed is http",
        ),
        ({"knowledge__base_url": "http://h:port/v1"}, "'http://h:port/v1'"),
        ({"knowledge__provider": "oracle"}, "bundled, openai, template"),
        ({"knowledge__n": 0}, "knowledge.n is 0"),
        ({"knowledge__retries": -1}, "knowledge.retries is -1"),
    ],
)
def test_settings_that_cannot_be_meant(asks, tmp_path, changes, words):
    with pytest.raises(InputError, match=words) as caught:
        engine.run("knowledge", asks(**changes), tmp_path)
    assert "secret" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_the_hosted_server_needs_a_key(asks, tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    config = asks(knowledge__base_url="https://api.openai.com/v1")
    with pytest.raises(InputError, match="set the environment variable OPENAI_API_KEY"):
        engine.run("knowledge", config, tmp_path)


def test_a_server_of_ones_own_needs_no_key(asks, chat, tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    assert engine.run("knowledge", asks(), tmp_path) == 0
    assert {asked.key for asked in chat.asked} == {"Bearer none"}


@pytest.mark.slow
def test_a_copy_of_the_file_trains_the_same(asks, settings, tmp_path):
    written = asks(knowledge__dataset="mvtec", knowledge__n=2)
    assert engine.run("knowledge", written, tmp_path) == 0
    file = tmp_path / "knowledge" / "mvtec.jsonl"
    copy = Path(shutil.copy(file, tmp_path / "copy.jsonl"))
    found = []
    for path in (file, copy):
        config = resolve(settings(knowledge__path=str(path)))
        source = open_dataset(config, "mvtec", ())
        found.append(training_knowledge(config, source, load_method(config).clip))
    assert found[0].digest == found[1].digest
    np.testing.assert_array_equal(found[0].means, found[1].means)
