"""Documents of the wrong shape, at every door that reads one: refused in one line."""

import copy
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_clip
from ml_collections import FrozenConfigDict
from sample_documents import CHECKPOINT, EVIDENCE, LINE, REPORT, THRESHOLD

from data_pipelines import documents
from data_pipelines.builders import copies, meta
from data_pipelines.documents import Choice, Row, Span
from data_pipelines.errors import DataError
from kanoclip_jax.backbones import dino_files, openclip, weights
from kanoclip_jax.backbones.locate import INDEX
from kanoclip_jax.engine import shapes
from kanoclip_jax.engine.prediction.calibration import read_calibrations
from kanoclip_jax.engine.prediction.predictions import Predictions
from kanoclip_jax.engine.reporting import evidence
from kanoclip_jax.engine.reporting.report import to_markdown, to_terminal
from kanoclip_jax.engine.workdir import Workdir
from kanoclip_jax.engine.writer import MetricWriter
from kanoclip_jax.errors import InputError
from kanoclip_jax.knowledge.store import read_records

_EACH = 45
_SETTINGS = {"class_name": "nut", "thresholds": [0.25, 0.25], "maps": True}
_RUN = {"method": "kanoclip", "rows": [], "seeds": 1, "row_settings": {}, "seed": 3}


def _report(folder: Path) -> Any:
    found = Workdir(folder).report()
    return found and [to_markdown(found), to_terminal(found), found]


def _predictions(folder: Path) -> Any:
    log = Predictions(folder, _SETTINGS)
    try:
        log.write_table()
        log.highest(2)
        return log.begin([Path("/p/a.png")]) and list(log.lines())
    finally:
        log.close()


def _metrics(folder: Path) -> Any:
    MetricWriter(folder, 5).close()
    return (folder / "metrics.jsonl").read_text()


def _shaped(name: str, shape: Any) -> Callable[[Path], Any]:
    return lambda folder: documents.read(folder / name, shape, "make it anew")


# By file: what it holds (a line of it, of .jsonl), and who reads it.
DOORS: dict[str, tuple[Any, Callable[[Path], Any]]] = {
    "meta.json": (
        {"test": {"nut": [{"img_path": "a.png", "mask_path": "", "anomaly": 0}]}},
        lambda folder: list(map(repr, meta._read_rows(folder / "meta.json"))),
    ),
    "calibration.json": (
        {
            "v": 1,
            "calibrations": [
                {"class_name": "nut", "identity": {"a": 1}, "facts": {}}
                | {"image": THRESHOLD, "pixel": THRESHOLD}
            ],
        },
        lambda folder: list(map(vars, read_calibrations(folder / "calibration.json"))),
    ),
    "predictions.jsonl": (LINE, _predictions),
    "predictions.settings.json": (_SETTINGS, _predictions),
    "report.json": (REPORT, _report),
    "evidence.json": (EVIDENCE, evidence.load),
    "run/config.json": (
        _RUN,
        lambda folder: Workdir(folder / "run").claim(FrozenConfigDict(_RUN)),
    ),
    "metrics.jsonl": ({"step": 3, "loss": 0.5}, _metrics),
    "metadata": (CHECKPOINT, _shaped("metadata", shapes.CHECKPOINT)),
    "manifest.json": (
        {"formats": {"onnx": {"files": {"model.onnx": "ab"}}}},
        _shaped("manifest.json", shapes.FORMATS),
    ),
    "k.jsonl": (
        {"v": 1, "dataset": "d", "class": "c", "source": "llm", "text": "A dent."}
        | {"image": None, "sample": 1},
        lambda folder: list(map(vars, read_records(folder / "k.jsonl"))),
    ),
    "copy/index.json": (
        {
            "classes": ["nut"],
            "missing": [],
            "skipped": ["x.png is no image"],
            "records": [["nut/a.png", "nut", "good", 0, "ab"]],
            "masks": [""],
        },
        lambda folder: copies.read_index(folder / "copy"),
    ),
    "dino/config.json": (
        {"model_type": "dinov2", "num_hidden_layers": 2, "num_attention_heads": 6}
        | {"layer_norm_eps": 1e-6, "hidden_act": "gelu"},
        lambda folder: dino_files._described(folder / "dino" / "config.json"),
    ),
    "config.json": (
        tiny_clip.change(),
        lambda folder: weights._read_config(folder).to_dict(),
    ),
    "preprocessor_config.json": (
        {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "size": 8},
        weights._preprocessing,
    ),
    "open_clip_config.json": (
        {
            "model_cfg": openclip.PUBLISHED["ViT-B-16-plus-240"],
            "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
        },
        lambda folder: [
            openclip.read_config(folder).to_dict(),
            weights._preprocessing(folder),
        ],
    ),
    INDEX: (
        {"weight_map": {"a": "model-1.safetensors"}, "metadata": {"total_size": 4}},
        # The shards are not there; what they are called is checked before.
        lambda folder: documents.read(folder / INDEX, {"weight_map": {...: str}}, ""),
    ),
}
_WRONG = (
    *(None, True, 0, -1, 1.5, 1e308, 10**30, 10**50, float("nan"), float("-inf")),
    *("", "x", "0.5", "\x1b[2J", "\udc80", "\ud800", "../../x", "a\0b"),
    *([], {}, [1], ["x", 2], {"a": [1]}, [[[]]] * 3),
)


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every container of a document, with each of its keys."""
    pairs = node.items() if isinstance(node, dict) else enumerate(node)
    for key, inner in pairs:
        yield node, key
        if isinstance(inner, dict | list):
            yield from _places(inner)


def mutate(content: Any, draw: random.Random) -> tuple[str, bytes]:
    """A document with one fault, and what was done."""
    changed = copy.deepcopy(content)
    holder, key = draw.choice(list(_places(changed)))
    kind = draw.choice(
        ("wrong",) * 6 + ("drop", "twice", "cut", "deep", "whole", "flip")
    )
    if kind == "wrong":
        holder[key] = draw.choice(_WRONG)
    elif kind == "drop":
        del holder[key]
    elif kind == "deep":
        holder[key] = "@"
    elif kind == "whole":
        changed = draw.choice(_WRONG)
    text = json.dumps(changed)
    if kind == "deep":
        levels = draw.choice((70, 900, 100_000))
        text = text.replace('"@"', "[" * levels + "]" * levels, 1)
    elif kind == "twice" and isinstance(key, str):
        text = text.replace(f'"{key}":', f'"{key}": 1, "{key}":', 1)
    elif kind == "cut":
        text = text[: draw.randrange(len(text))]
    data = text.encode()
    if kind == "flip":
        at = draw.randrange(len(data))
        data = data[:at] + bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1 :]
    return f"{kind} at {key!r}", data


def prepare(folder: Path, name: str, data: bytes) -> None:
    """A folder with one file, and what must lie beside it."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    if name.endswith(".jsonl"):
        data += b"\n"
    (folder / name).write_bytes(data)
    beside = {
        "predictions.jsonl": "predictions.settings.json",
        "predictions.settings.json": "predictions.jsonl",
    }.get(name)
    if beside:
        (folder / beside).write_text(json.dumps(DOORS[beside][0]) + "\n")


@pytest.mark.parametrize("name", DOORS)
def test_faults_are_refused_in_one_line(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, door = DOORS[name]
    draw = random.Random(name)
    refused = 0
    for number in range(_EACH):
        what, data = mutate(content, draw)
        folder = tmp_path / str(number)
        prepare(folder, name, data)
        try:
            door(folder)
        except (InputError, DataError) as error:
            refused += 1
            assert str(error).isprintable(), what
            assert str(folder) in str(error), what
        except BaseException as error:
            error.add_note(f"{name}, {number}: {what}: {data[:200]!r}")
            raise
    said = capsys.readouterr().out
    if name in ("report.json", "evidence.json"):
        # These are made again, or done without, and that is said.
        refused = said.count(f"{name}")
    assert refused >= _EACH // 3 or name == "metrics.jsonl"


@pytest.mark.parametrize("name", DOORS)
def test_what_means_the_same_is_read_the_same(name: str, tmp_path: Path) -> None:
    content, door = DOORS[name]
    plain = json.dumps(content)
    texts = {"plain": plain.encode()}
    if not name.endswith(".jsonl"):
        texts |= {
            "spaced": json.dumps(content, indent=3).encode(),
            "marked": b"\xef\xbb\xbf" + plain.encode(),
            "escaped": plain.replace("n", "\\u006e", 1).encode(),
        }
    found = []
    for kind, data in texts.items():
        prepare(tmp_path / kind, name, data)
        found.append(repr(door(tmp_path / kind)).replace(f"/{kind}/", "/"))
    # Of an escaped `n` in `null` nothing is JSON.
    assert set(found[:3]) == {found[0]}


SHAPE = {
    "v": Choice((1,)),
    "a": [{"t": Span(0, 1), "n?": (str, None)}],
    "b?": Row((int,)),
}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1]", r"f has \[1\]; allowed is an object: mend it"),
        ('{"v": 1}', "f lacks a; allowed is a list: mend it"),
        ('{"v": true, "a": []}', "f has v = true; allowed is 1"),
        (
            '{"v": 1, "a": [{"t": "x"}]}',
            r'a\[0\]\.t = "x"; allowed is a number from 0 to',
        ),
        ('{"v": 1, "a": [{"t": NaN}]}', "NaN is no number"),
        ('{"v": 1, "a": [{"t": 0, "n": 3}]}', r"n = 3; allowed is a text or null"),
        ('{"v": 1, "a": [], "b": [1, 2]}', r"b = \[1, 2\]; allowed is a list of 1"),
        ('{"v": 1, "v": 1, "a": []}', "the key 'v' twice"),
        ("[" * 100_000, "allowed are 64 levels"),
        ("[" * 65 + "]" * 65, "allowed are 64 levels"),
        ('{"v": 1, "a": [{"t": 1e999}]}', "1e999 is beyond 64 bits"),
        ('{"v": 1, "a": [{"t": 0, "n": "\\ud800"}]}', "half of a surrogate pair"),
        ('{"v": 1, "a": "\x1b[2J"}', "Invalid control character"),
    ],
)
def test_messages_name_key_value_and_what_is_allowed(text: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        documents.parse(text.encode(), "f", SHAPE, "mend it")


def test_a_giant_a_folder_and_a_pipe_are_no_documents(tmp_path: Path) -> None:
    import os

    with (tmp_path / "giant.json").open("wb") as file:
        file.truncate(2 * 2**30)
    os.mkfifo(tmp_path / "pipe.json")
    for name, said in (
        ("giant.json", "has 2048 MB; allowed are 64"),
        ("pipe.json", "no regular file"),
        ("none.json", "No such file"),
        ("a\0b", "cannot be read"),
        ("", "directory"),
    ):
        with pytest.raises(DataError, match=said):
            documents.read(tmp_path / name, dict, "mend it")
