"""Which images a sheet of examples shows, and what it says of them."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from data_pipelines.sources import Entry
from kanoclip_jax.engine.reporting import examples as module
from kanoclip_jax.engine.reporting.examples import Examples
from kanoclip_jax.viz import Bar, Panel, Scale

BARS = {name: Bar(Scale(0.5, 1.0), None) for name in ("cup", "nut")}


def source_of(normal: int, anomalous: int, names: tuple[str, ...] = ("cup",)):
    index = [
        Entry(f"{name}/{kind}/{i}.png", name, kind, int(kind == "bad"))
        for name in names
        for kind, count in (("good", normal), ("bad", anomalous))
        for i in range(count)
    ]
    return SimpleNamespace(classes=names, index=tuple(index), dataset="folder:/mine")


def fill(examples: Examples, count: int, scores: list[float], masked: bool = True):
    for i in range(count):
        mask = np.zeros((1, 8, 8), np.uint8)
        mask[0, 2:4, 2:4] = masked and i >= count - len(scores)
        score = ([0.1] * (count - len(scores)) + scores)[i]
        batch = {
            "image": np.full((1, 8, 8, 3), 100, np.uint8),
            "mask": mask,
            "index": np.array([i]),
        }
        examples.add(batch, 0, np.full((8, 8), score, np.float32), score)


@pytest.fixture
def drawn(monkeypatch) -> list[list[list[Panel]]]:
    """The rows of each sheet."""
    rows: list = []
    sheet = module.contact_sheet
    monkeypatch.setattr(
        module, "contact_sheet", lambda r, **k: rows.append(r) or sheet(r, **k)
    )
    return rows


def test_a_class_shows_the_highest_the_median_the_lowest_and_a_normal_one(
    drawn, tmp_path
):
    examples = Examples(source_of(3, 5))
    fill(examples, 8, [0.6, 0.9, 0.7, 0.55, 0.8])
    path = examples.save(tmp_path, BARS)
    ((row,),) = drawn
    captions = [panel.caption for panel in row]
    assert captions == [
        *("bad/1.png\ntrue outline", "score 0.900"),
        *("bad/2.png\ntrue outline", "score 0.700"),
        *("bad/3.png\ntrue outline", "score 0.550"),
        *("good/1.png\nnormal", "score 0.100"),
    ]
    with Image.open(path) as sheet:
        assert sheet.size[0] == 8 * 168 + 8


def test_an_anomaly_without_a_mask_is_not_shown_as_normal(drawn, tmp_path):
    examples = Examples(source_of(1, 1))
    fill(examples, 2, [0.9], masked=False)
    examples.save(tmp_path, BARS)
    ((row,),) = drawn
    assert row[0].caption == "bad/0.png\nbad, no mask"
    assert row[2].caption == "good/0.png\nnormal"


def test_what_is_looked_at_depends_on_the_dataset_alone(drawn, tmp_path):
    """Nine of a hundred, evenly, the first and the last among them; no more is kept."""
    one, other = (Examples(source_of(0, 100)) for _ in range(2))
    scores = np.random.default_rng(0).random(100).tolist()
    fill(one, 100, scores)
    fill(other, 100, scores)
    assert sorted(one._seen) == [0, 12, 25, 37, 50, 62, 74, 87, 99]
    half = Examples(source_of(0, 100))
    half._seen = {i: other._seen.pop(i) for i in (0, 50, 99)}
    half.merge(other)
    first, second = (e.save(tmp_path / "..", BARS).read_bytes() for e in (one, half))
    assert first == second
    kept = sorted(scores[i] for i in one._seen)
    shown = [panel.caption for panel in drawn[0][0][1::2]]
    assert shown == [f"score {kept[i]:.3f}" for i in (8, 4, 0)]


def test_of_few_images_none_is_shown_twice_and_of_none_there_is_no_sheet(
    drawn, tmp_path
):
    assert Examples(source_of(2, 2)).save(tmp_path, BARS) is None
    examples = Examples(source_of(0, 1, ("cup", "nut")))
    fill(examples, 1, [0.9])
    examples.save(tmp_path, BARS)
    ((row,),) = drawn
    assert len(row) == 2


@pytest.mark.parametrize(
    ("count", "said"), [(24, ""), (26, "the first 24 of 26 classes")]
)
def test_of_many_classes_the_sheet_says_how_many_it_shows(
    count, said, monkeypatch, tmp_path
):
    feet: list[str] = []
    sheet = module.contact_sheet
    monkeypatch.setattr(
        module, "contact_sheet", lambda r, **k: feet.append(k["foot"]) or sheet(r, **k)
    )
    names = tuple(f"class {i:02}" for i in range(count))
    examples = Examples(source_of(0, 1, names))
    fill(examples, count, [0.9] * count)
    examples.save(tmp_path, {name: BARS["cup"] for name in names})
    assert feet[0].partition(";")[0] == said
