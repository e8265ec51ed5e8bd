"""Methods beside each other: averages over the same datasets, a table, and charts."""

import pytest

from kanoclip_jax.engine.reporting import comparison, page, report
from kanoclip_jax.engine.reporting.comparison import averages
from kanoclip_jax.engine.reporting.sections import sections
from kanoclip_jax.engine.reporting.tables import named
from kanoclip_jax.engine.summary import mean_and_std


def result(image: float, pixel: float | None) -> dict:
    values = dict.fromkeys(report.tables.COLUMNS, pixel)
    values |= {"image_auroc": image, "image_ap": image, "normal": 3, "anomalous": 4}
    return {"classes": {"cup": values}, "mean": values}


# Of two seeds: on `a` there are masks, on `b` none.
SEEDS = {
    "clip": [
        {"a": result(0.5, 0.4), "b": result(0.7, None)},
        {"a": result(0.5, 0.4), "b": result(0.7, None)},
    ],
    "mvfa": [
        {"a": result(0.6, 0.8), "b": result(0.8, None)},
        {"a": result(0.8, 0.9), "b": result(0.9, None)},
    ],
}
FACTS = {"clip": ("CLIP", 0, 40.0), "mvfa": ("MVFA", 12_582_912, 20.0)}


def made(seeds: dict, facts: dict) -> dict:
    rows = {}
    for row, results in seeds.items():
        of = {name: mean_and_std([r[name] for r in results]) for name in results[0]}
        title, parameters, rate = facts[row]
        rows[row] = {
            "datasets": {name: mean for name, (mean, _) in of.items()},
            "std": {name: std for name, (_, std) in of.items()},
            "runs": {str(111 + seed): "run" for seed in range(len(results))},
            "title": title,
            "parameters": parameters,
            "images_per_second": rate,
        }
    last = rows[list(rows)[-1]]
    return {
        "datasets": last["datasets"],
        "std": last["std"],
        "rows": rows,
        "average": averages(seeds),
        "method": "mvfa",
        "title": last["title"],
        "checkpoint": None,
        "clip": {"name": "demo", "fingerprint": "f" * 64},
        "seconds": {"train": 1.0, "eval": 2.0},
    }


def test_averages_are_of_seeds_and_not_of_deviations() -> None:
    """0.7 and 0.85 are the two seeds' means over both datasets."""
    found = averages(SEEDS)
    own = found["rows"]["mvfa"]
    assert own["mean"]["image_auroc"] == pytest.approx(0.775)
    assert own["std"]["image_auroc"] == pytest.approx(0.15 / 2**0.5)
    # Only one dataset has masks.
    assert found["datasets"]["pixel_auroc"] == ["a"]
    assert own["mean"]["pixel_auroc"] == pytest.approx(0.85)
    assert found["rows"]["clip"]["std"]["image_auroc"] == 0


def test_a_dataset_that_one_row_lacks_counts_for_none() -> None:
    one = {row: results[:1] for row, results in SEEDS.items()}
    one = {**one, "clip": [{"a": result(0.5, None), "b": result(0.7, None)}]}
    found = averages(one)
    assert found["datasets"]["pixel_auroc"] == []
    own = found["rows"]["mvfa"]
    assert own["mean"]["pixel_auroc"] is None and own["std"]["pixel_auroc"] is None
    # Of a single seed there is no deviation.
    assert own["mean"]["image_auroc"] == pytest.approx(0.7)
    assert own["std"]["image_auroc"] is None
    head = comparison.table(made(one, FACTS)["rows"], found)[0]
    assert head == ["average", "parameters", "img/s", "image AUROC", "image AP"]


def test_the_table_has_cost_and_averages() -> None:
    section = next(s for s in sections(made(SEEDS, FACTS)) if s.groups)
    assert section.title == "Methods compared"
    (((head, clip, mvfa), *_),) = section.blocks
    assert head[3:] == [
        "image AUROC",
        "image AP",
        "pixel AUROC",
        "pixel AP",
        "AUPRO@0.3",
    ]
    assert clip[:4] == ["CLIP", "0", "40", "60.0 ± 0.0"]
    assert mvfa[:4] == ["MVFA", "12,582,912", "20", "77.5 ± 10.6"]
    assert mvfa[5] == "85.0 ± 7.1"
    assert section.about == (
        "Averages over a, b; of pixel AUROC over a; of pixel AP over a; of AUPRO@0.3 "
        "over a."
    )
    assert "| MVFA" in report.to_markdown(made(SEEDS, FACTS))


def test_charts_are_of_the_average_and_of_each_dataset() -> None:
    groups = next(s for s in sections(made(SEEDS, FACTS)) if s.groups).groups
    assert [group.title for group in groups] == ["Average", "a", "b"]
    # Three metrics against two costs; where there are no masks, one.
    assert [len(group.charts) for group in groups] == [6, 6, 2]
    speed, size = groups[0].charts[:2]
    assert (speed.across, size.across) == ("images per second", "trained parameters")
    assert speed.up == size.up == "image AUROC"
    assert [(p.name, p.cost) for p in size.points] == [
        ("CLIP", 0),
        ("MVFA", 12_582_912),
    ]
    assert size.points[1].value == pytest.approx(0.775)
    assert size.points[1].spread == pytest.approx(0.15 / 2**0.5)
    only = {row: [{"a": r["a"]} for r in seeds] for row, seeds in SEEDS.items()}
    groups = next(s for s in sections(made(only, FACTS)) if s.groups).groups
    assert [group.title for group in groups] == ["a"]


def test_rows_without_a_rate_stand_in_the_other_charts() -> None:
    facts = FACTS | {"clip": ("CLIP", 0, None)}
    groups = next(s for s in sections(made(SEEDS, facts)) if s.groups).groups
    assert [len(group.charts) for group in groups] == [3, 3, 1]


def test_rows_of_one_method_are_named_by_row() -> None:
    seeds = {**SEEDS, "wide": SEEDS["mvfa"]}
    facts = FACTS | {"wide": FACTS["mvfa"]}
    groups = next(s for s in sections(made(seeds, facts)) if s.groups).groups
    names = [point.name for point in groups[0].charts[0].points]
    assert names == ["CLIP", "MVFA", "MVFA: wide"]


def test_rows_of_one_method_alone_are_not_compared() -> None:
    facts = {row: ("MVFA", 1, 1.0) for row in SEEDS}
    assert not any(section.groups for section in sections(made(SEEDS, facts)))


def test_the_page_draws_them() -> None:
    source = page.render(made(SEEDS, FACTS), {})
    assert source.count("<svg ") == 14
    assert 'aria-label="pixel AUROC by trained parameters"' in source
    assert "Methods compared" in source and "12,582,912" in source
    assert "<svg " not in page.render(
        made(SEEDS, {row: ("MVFA", 1, 1.0) for row in SEEDS}), {}
    )


def test_a_row_that_is_its_method_goes_by_its_title() -> None:
    own = (("median", "patch median"), ("clip_ac", "CLIP-AC"), ("crane_plus", "Crane+"))
    assert [named(row, title) for row, title in own] == [title for _, title in own]
    assert named("soft", "patch median") == "patch median: soft"
