"""Bars: a line of a terminal's width, wherever training is."""

import io
import logging

import absl.logging
import pytest

from kanoclip_jax.engine import bars, terminal
from kanoclip_jax.engine.writer import Log


@pytest.mark.parametrize(
    ("step", "where"),
    [(0, "1/4"), (24, "1/4"), (25, "2/4"), (99, "4/4"), (100, "4/4")],
)
def test_where_a_step_is(step, where):
    assert bars.epoch_of(step, 100, 4) == f"epoch {where}"


def test_the_longest_line_has_80_columns(monkeypatch, tmp_path):
    monkeypatch.delenv("COLUMNS", raising=False)
    shown = io.StringIO()
    monkeypatch.setattr("sys.stderr", shown)
    with bars.progress("folder:/home/somebody/pictures/of/parts", 10**6) as bar:
        bar.update(10**6)
    with Log(tmp_path, first=0, steps=10, batch_size=8000, epochs=10) as log:
        for step in range(1, 11):
            log.count(step)
            log.write(step, {"dice": 1.0, "focal": 2.0, "loss": 1234.5678})
    with bars.progress("checking features", 2, in_logs=False) as bar:
        bar.update(2)
    assert "checking features" not in shown.getvalue()
    lines = shown.getvalue().replace("\n", "\r").split("\r")
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("…ody/pictures/of/parts: 100%") for line in lines)
    assert any("epoch 10/10: 100%" in x and "loss 1234.568]" in x for x in lines)
    # Until the first step there is what it waits for.
    waits = [x for x in lines if "compiling" in x]
    assert waits and all(x.startswith("epoch 1/10:   0%") for x in waits)
    # All terms are on disk.
    assert '"dice": 1.0' in (tmp_path / "metrics.jsonl").read_text()


def test_warnings_read_as_errors_do(monkeypatch, capsys):
    """Where nobody has set up logging, as pytest has."""
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    terminal.log_in_words()
    absl.logging.warning("%s differs", "mpdd")
    assert capsys.readouterr().err == "warning: mpdd differs\n"
