"""The report as a page: whole, exact, safe, bounded, and alone."""

import base64
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from kanoclip_jax.engine.reporting import page, report, tables
from kanoclip_jax.engine.reporting.cases import KINDS
from kanoclip_jax.engine.reporting.page import Seen
from kanoclip_jax.metrics.report import ClassMetrics

VOID = {"meta", "link", "img", "br", "path", "rect"}
NASTY = "<b>x</b>"
MOST = 8_000_000


class Page(HTMLParser):
    """Reads a page; fails where an element is not closed.

    Attributes:
        tables: rows of cells' texts, head first.
        elements: every tag with its attributes.
        text: all that is not script or style.
    """

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"th", "td"} & set(self._open):
            self.tables[-1][-1][-1] += data
        if self._open and self._open[-1] not in ("script", "style"):
            self.text += data

    def links(self) -> set[str]:
        return {a["href"] for tag, a in self.elements if tag == "a"}

    def ids(self) -> list[str]:
        return [a["id"] for _, a in self.elements if "id" in a]


def row(value: float, **changes: float | None) -> dict:
    steps = np.arange(len(tables.COLUMNS)) / 1000
    values = dict(zip(tables.COLUMNS, (value + steps).tolist(), strict=True))
    return values | {"normal": 3, "anomalous": 4} | changes


def made(datasets: dict) -> dict:
    results = {
        dataset: report.with_facts(dataset, {"classes": rows, "mean": row(0.5)}, [])
        for dataset, rows in datasets.items()
    }
    return report.make_report(
        results,
        method="kanoclip",
        title="KAnoCLIP",
        parameters=1234,
        images_per_second=5.678,
        checkpoint="/run/checkpoints/7",
        clip={"name": "demo", "fingerprint": "f" * 64},
        train_seconds=1,
        eval_seconds=2,
        absent={"btad": f"{NASTY} is not there"},
    )


def evidence(pictures: int = 400, path: str = "good/0.png") -> dict:
    """Of one class, with noisy curves and four cases of each kind."""
    rng = np.random.default_rng(0)
    rate = np.linspace(0, 1, 256)
    rough = {"x": rate.tolist(), "y": rng.random(256).tolist()}
    names = ("image_roc", "pixel_roc", "image_precision_recall")
    curves = dict.fromkeys((*names, "pixel_precision_recall", "region_overlap"), rough)
    counts = rng.integers(1, 9999, 50).tolist()
    histogram = {"edges": np.linspace(0, 1, 51).tolist()}
    histogram |= {"normal": counts, "anomalous": counts[::-1]}
    data = base64.b64encode(rng.bytes(pictures)).decode()
    names = ("image", "mask", "map", "overlay")
    case = {"path": path, "defect": NASTY, "score": 0.1234}
    case["pictures"] = dict.fromkeys(names, data)
    return {
        "curves": curves,
        "histograms": {"image": histogram, "pixel": histogram},
        "cases": {kind: [case] * 4 for kind in KINDS},
    }


@pytest.fixture(scope="module")
def small() -> tuple[dict, str]:
    result = made(
        {
            "mpdd": {"tubes": row(0.771), NASTY: row(0.8, pixel_aupro=None)},
            "folder:/a&b": {"cup": row(0.9)},
        }
    )
    seen = {"mpdd": Seen({"tubes": evidence(), NASTY: evidence(path=NASTY)}, ".")}
    return result, page.render(result, seen)


def test_every_figure_of_the_report_is_in_a_table(small) -> None:
    result, source = small
    by_class = {table[1][0]: table for table in Page(source).tables}
    for dataset in result["datasets"].values():
        first = next(iter(dataset["classes"]))
        head, *rows = by_class[first]
        assert head == ["class", "normal", "anomalous", *tables.COLUMNS.values()]
        expected = [*dataset["classes"].items(), ("mean", dataset["mean"])]
        for cells, (name, values) in zip(rows, expected, strict=True):
            assert cells[:3] == [name, "3", "4"]
            for cell, key in zip(cells[3:], tables.COLUMNS, strict=True):
                value = values[key]
                assert cell == ("–" if value is None else f"{100 * value:.1f}")
    assert by_class["mpdd"][1][-2] == "50.0 / 50.3"
    assert by_class["CLIP (paper)"][-1] == [
        "KAnoCLIP (here)", "50.0", "50.3", "−27.8", "−48.0"
    ]  # fmt: skip


def test_what_users_name_is_text(small) -> None:
    source = small[1]
    assert NASTY not in source
    text = Page(source).text
    assert f"{NASTY} is not there" in text and "folder:/a&b" in text
    assert "b" not in {tag for tag, _ in Page(source).elements}


def test_nothing_is_fetched(small) -> None:
    read = Page(small[1])
    for tag, attributes in read.elements:
        for name in ("src", "srcset", "data", "poster", "background", "action"):
            assert attributes.get(name, "data:").startswith("data:")
        if "href" in attributes:
            assert attributes["href"].startswith("#" if tag == "a" else "data:")
    assert not re.search(r"url\(|@import|fetch\(|://", small[1])
    (policy,) = [
        a["content"]
        for tag, a in read.elements
        if a.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_classes_with_evidence_are_linked(small) -> None:
    read = Page(small[1])
    ids = read.ids()
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in read.links()} <= set(ids)
    # Two classes of five plots; the dataset without evidence has its table alone.
    assert sum(tag == "svg" for tag, _ in read.elements) == 10
    cases = [a for tag, a in read.elements if tag == "img"]
    assert len(cases) == 2 * 4 * 4 * 4
    assert "0.123" in read.text


def test_the_size_is_bounded(monkeypatch) -> None:
    """With pictures that leave no room, for one class, as many as are shown, and more."""
    heavy = evidence(pictures=3_250)
    drawn = list(page._plots(heavy))
    monkeypatch.setattr(page, "_plots", lambda _: drawn)
    for count in (1, 60, 1000):
        rows = {f"class {number:04}": row(number / 2000) for number in range(count)}
        result = made({"folder:/mine": rows})
        seen = {"folder:/mine": Seen(dict.fromkeys(rows, heavy), ".")}
        source = page.render(result, seen)
        assert len(source.encode()) < MOST
        read = Page(source)
        assert len(read.tables[0]) == count + 2
        shown = sum(tag == "svg" for tag, _ in read.elements) / 5
        assert shown == min(count, 60)
        assert sum(tag == "img" for tag, _ in read.elements) >= 16 * shown
        assert ("60 of the 1000 classes" in read.text) == (count == 1000)
    assert "s0c0" in read.ids() and "s0c60" not in read.ids()


def test_wrong_cases_come_first_where_there_is_little_room(monkeypatch) -> None:
    monkeypatch.setattr(page, "PICTURES", 2 * 4 * 536 + 2 * 10)
    monkeypatch.setattr(page, "_plots", lambda _: [])
    seen = {"folder:/mine": Seen({"cup": evidence()}, ".")}
    text = Page(page.render(made({"folder:/mine": {"cup": row(0.5)}}), seen)).text
    assert "missed first" in text and "false alarms first" in text
    assert "Anomalous, highest" not in text and "Normal, lowest" not in text


def test_a_suite_s_page_links_its_runs() -> None:
    result = made({"folder:/mine": {"cup": row(0.5)}})
    runs = ["my row/111", "full/111"]
    seen = {"folder:/mine": Seen({"cup": evidence()}, "full/111")}
    read = Page(page.render(result, seen, runs))
    assert {"my%20row/111/report.html", "full/111/report.html"} <= read.links()
    assert "are of the run full/111" in read.text


def test_a_class_without_images_or_masks_is_shown() -> None:
    nothing = ClassMetrics(has_masks=False)
    normal = ClassMetrics(has_masks=False)
    normal.update(0.5, 0, np.float32([[0.1]]), np.int32([[0]]))
    cases: dict = {kind: [] for kind in KINDS}
    seen = {
        name: json.loads(json.dumps(report.evidence.of_class(metrics, cases)))
        for name, metrics in (("none", nothing), ("normal", normal))
    }
    undefined = row(0.5) | dict.fromkeys(tables.COLUMNS)
    result = made({"folder:/mine": {"none": undefined, "normal": undefined}})
    read = Page(page.render(result, {"folder:/mine": Seen(seen, ".")}))
    assert sum(tag == "svg" for tag, _ in read.elements) == 1
    assert read.tables[0][1][3:] == ["–"] * 8
