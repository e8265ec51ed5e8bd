"""Names that others wrote, in a terminal, a table, Markdown, a page and a comparison."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from data_pipelines import pipeline
from data_pipelines.errors import AbsentError, DataError, reason_of
from data_pipelines.names import (
    canonical,
    markdown,
    markdown_code,
    printable,
    readable,
    table_cell,
)
from data_pipelines.pictures import DEFAULT_READING, read_picture
from data_pipelines.tables import read_rows
from kanoclip_jax.backbones.locate import DEMO
from kanoclip_jax.backbones.tokenizer import Tokenizer
from kanoclip_jax.engine.prediction.predictions import Predictions
from kanoclip_jax.engine.reporting.page import render
from kanoclip_jax.engine.reporting.report import to_markdown, to_terminal
from kanoclip_jax.engine.terminal import Plain
from kanoclip_jax.errors import InputError

HOSTILE = (
    "\x1b]0;title\x07\x1b[2J",
    "a\rb\nc\td",
    "photo\u202egnp.exe",
    "\u2066x\u2069\u200f",
    "\x9b31m",
    "caf\udce9",
    "a\0b",
)
COMMANDS = {chr(n) for n in (*range(32), *range(127, 160))} | set("\u202e\u2066\u200f")


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_shown_on_one_line_and_command_nothing(name: str) -> None:
    for kind in (InputError, DataError, AbsentError):
        shown = str(kind(f"{name} is bad"))
        assert shown == printable(name) + " is bad"
        assert not set(shown) & COMMANDS
        shown.encode()
    assert printable(printable(name)) == printable(name)
    assert not set(str(table_cell(name))) & COMMANDS
    buffer = io.BytesIO()
    stream = Plain(io.TextIOWrapper(buffer, encoding="utf-8", line_buffering=True))
    print(name, file=stream, flush=True)
    written = buffer.getvalue().decode()
    # Ends of lines, tabs and returns are what progress bars are made of.
    assert not set(written) & (COMMANDS - set("\r\n\t"))


def test_letters_of_all_scripts_are_shown_as_they_are() -> None:
    for name in ("Ölwanne", "螺丝", "می‌خواهم", "क्‍ष", "a　b", "🙂"):
        assert printable(name) == name


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_is_a_formula(start: str) -> None:
    cell = table_cell(f"{start}cmd|'/C calc'!A0")
    assert str(cell).startswith("'")
    assert table_cell(-1.5) == -1.5
    assert table_cell("a=b") == "a=b"


def test_markdown_has_no_marks_but_ours() -> None:
    assert markdown("a|b<script>`x`*y*[z](u)\\\n") == (
        r"a\|b\<script\>\`x\`\*y\*\[z\](u)\\\\n"
    )
    assert markdown("metal_nut, 3 % (no)") == "metal_nut, 3 % (no)"
    assert markdown_code("demo") == "`demo`"
    assert markdown_code("a`b``c") == "``` a`b``c ```"


NAMES = (
    "Metal Plate",
    "metal_plate",
    "  metal   plate ",
    "METAL\tPLATE",
    "metal plate",
)
OTHERS = (
    "metalplate",
    "metal plates",
    "É",
    "é",
    "ΣΑΣ",
    "σας",
    "Straße",
    "İ",
    "A.B",
    "a b",
)


def test_names_are_one_as_for_the_tokenizer() -> None:
    tokenizer = Tokenizer(DEMO, 77)

    def tokens(name: str) -> tuple[int, ...]:
        found = tokenizer([f"a photo of a damaged {readable(name)}."])
        return tuple(found.ids[0, : found.end[0]].tolist())

    assert {canonical(name) for name in NAMES} == {"metal plate"}
    every = NAMES + OTHERS
    for one in every:
        for other in every:
            same = tokens(one) == tokens(other)
            assert (canonical(one) == canonical(other)) == same, (one, other)


def _report(name: str) -> dict:
    values = {
        f"{what}_{metric}": 0.5
        for what in ("image", "pixel")
        for metric in ("auroc", "ap", "f1max", "aupro", "aupro_200")
    } | {"normal": 1, "anomalous": 1}
    return {
        "datasets": {
            name: {"classes": {name: values}, "mean": values, "notes": [f"<b>{name}"]}
        },
        "method": "clip",
        "title": "CLIP",
        "parameters": 0,
        "checkpoint": name,
        "images_per_second": 1.0,
        "clip": {"name": name, "fingerprint": "ab"},
        "seconds": {"train": 0.0, "eval": 1.0},
        "absent": {name: name},
    }


@pytest.mark.parametrize("name", [*HOSTILE, "a|b", "<script>x</script>", "`x` `y"])
def test_reports_hold_names_as_text(name: str) -> None:
    made = _report(name)
    text, shown, page = to_markdown(made), to_terminal(made), render(made, {})
    for found in (text, shown, page):
        assert not set(found) & (COMMANDS - {"\n"})
    assert "<script>x" not in page.split("</style>")[-1].replace("<script>\n", "")
    assert r"\<b\>" in text and "&lt;b&gt;" in page
    tables = [line for line in text.splitlines() if line.startswith("| ")]
    bars = {line.replace(r"\|", "").count("|") for line in tables}
    assert bars == {12}


def test_the_table_of_predictions_is_safe_to_open(tmp_path: Path) -> None:
    log = Predictions(tmp_path, {"class_name": "=1+1"})
    known = {"class_name": "=1+1", "score": 0.5, "label": "normal"}
    log.append(Path("/p/\x1b[2Ja.png"), known, None)
    log.append(Path("/p/b.png"), {"class_name": "@x", "error": "-bad\n"}, None)
    log.write_table()
    log.close()
    text = (tmp_path / "predictions.csv").read_text()
    _, first, second = csv.reader(io.StringIO(text))
    assert first[:3] == [r"/p/\x1b[2Ja.png", "'=1+1", "0.5"]
    assert second[1] == "'@x" and second[-2] == r"'-bad\n"


def test_the_same_name_in_other_letters_continues(tmp_path: Path) -> None:
    log = Predictions(tmp_path, {"class_name": "Metal_Plate"})
    log.append(Path("/p/a.png"), {"score": 0.5}, None)
    log.close()
    Predictions(tmp_path, {"class_name": "metal plate"}).close()
    with pytest.raises(InputError, match="made with another class_name"):
        Predictions(tmp_path, {"class_name": "metal plates"})


def test_a_name_that_no_file_can_have_is_that_pictures_error() -> None:
    with pytest.raises(DataError, match=r"a\\x00b.png .*NUL"):
        read_picture("a\0b.png")
    assert reason_of(MemoryError(), "a\nb") == (
        r"a\nb does not fit the memory that is left; shrink it or cut it up"
    )


def test_csv_of_a_dataset_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "split.csv"
    path.write_text("image,label\n" + "x" * 200_000 + ",1\n")
    with pytest.raises(DataError, match=r"split\.csv line \d: field larger"):
        list(read_rows(path, ("image", "label"), "expected image and label"))


def test_a_picture_that_no_memory_holds_is_that_pictures_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_room(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(pipeline, "read_picture", no_room)
    load = pipeline._LoadFiles(("a.png", "b.png"), 8, 2, DEFAULT_READING)
    batch = load.map(np.arange(2))
    for name, said in zip(("a.png", "b.png"), batch["error"], strict=True):
        assert said.startswith(f"{name} does not fit the memory")
