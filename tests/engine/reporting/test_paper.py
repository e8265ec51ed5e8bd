"""The paper's figures: complete, in fractions, and where they belong."""

import numpy as np
import pytest

from data_pipelines.catalog import CATALOG
from kanoclip_jax.configs import crane as crane_config
from kanoclip_jax.engine.reporting import paper, report, tables


def test_the_paper_s_own_rows() -> None:
    rows = paper.figures("mvtec")
    assert next(iter(rows)) == "CLIP" and list(rows)[-1] == "KAnoCLIP"
    assert rows["KAnoCLIP"] == (0.931, 0.943)
    assert paper.figures("headct")["AnomalyCLIP"] == (0.934, None)
    assert paper.figures("sdd_thirds") == paper.figures("sdd")
    assert paper.figures("folder:/mine") == {}
    assert paper.ablation("knpl", "visa") == (0.786, 0.912)
    assert paper.ablation("knpl", "mpdd") is None


def test_every_dataset_of_the_paper_has_seven_rows() -> None:
    known = [name for name in CATALOG if paper.figures(name)]
    assert len(set(known)) == 14
    for name in known:
        rows = paper.figures(name)
        assert len(rows) == 7
        masks = CATALOG[name].has_masks
        assert all((row.pixel_auroc is not None) == masks for row in rows.values())


def test_another_paper_s_table() -> None:
    (table,) = paper.elsewhere("dtd_synthetic")
    assert table.name == "Crane" and "2504.11055" in table.source
    assert table.rows["Crane+"] == {
        "image_auroc": 0.958,
        "image_ap": 0.982,
        "image_f1max": 0.946,
        "pixel_auroc": 0.988,
        "pixel_aupro_200": 0.96,
        "pixel_f1max": 0.718,
    }
    assert paper.elsewhere("brainmri") == paper.elsewhere("folder:/mine") == []
    # One method, two papers: KAnoCLIP's first.
    assert paper.figures_of("APRIL-GAN", "dagm") == (0.944, 0.924)
    (crane,) = paper.elsewhere("dagm")
    assert crane.rows["APRIL-GAN"]["pixel_auroc"] == 0.824
    assert paper.figures_of("Crane", "isic") == (None, 0.881)
    assert paper.figures_of("Crane", "liverct") is None


@pytest.mark.parametrize(
    ("method", "industrial", "brain", "outlined"),
    [
        (
            "Crane",
            [92.6, 93.7, 90.3, 96.1, 89.0, 51.9],
            [95.7, 96.2, 92.2],
            [83.5, 66.6, 48.2],
        ),
        (
            "Crane+",
            [92.5, 93.5, 90.1, 96.4, 92.3, 54.0],
            [95.7, 96.7, 91.4],
            [86.4, 72.0, 51.8],
        ),
    ],
)
def test_crane_s_rows_average_to_its_own_averages(
    method, industrial, brain, outlined
) -> None:
    """Whose figures have one more digit than those of the rows."""
    names = crane_config.DATASETS.split(",")
    assert len(names) == 14 and set(names) <= set(CATALOG)
    rows = [list(paper.elsewhere(name)[0].rows[method].values()) for name in names]

    def average(chosen, metrics):
        return 100 * np.mean([row[metrics] for row in chosen], axis=0)

    exact = {"rtol": 0, "atol": 0.101}
    np.testing.assert_allclose(average(rows[:7], slice(6)), industrial, **exact)
    np.testing.assert_allclose(average(rows[7:10], slice(3)), brain, **exact)
    np.testing.assert_allclose(average(rows[10:], slice(3, 6)), outlined, **exact)
    for name, row in zip(names, rows, strict=True):
        assert all(value is not None for value in row[3:]) == CATALOG[name].has_masks
        assert (row[0] is None) == (name in names[10:])


def test_crane_s_suite() -> None:
    config = crane_config.get_config()
    assert config.rows == "crane,crane_plus"
    assert (config.train.dataset, config.train.second_dataset) == ("mvtec", "visa")


def result(image: float | None, pixel: float | None) -> dict:
    row = dict.fromkeys(tables.COLUMNS, None) | {"normal": 1, "anomalous": 2}
    row |= {"image_auroc": image, "pixel_auroc": pixel}
    return {"classes": {"tubes": row}, "mean": row}


def made_of(datasets: dict, method: str, title: str, **changes: object) -> dict:
    """A report of which only what a test is about differs."""
    return report.make_report(
        datasets,
        method=method,
        title=title,
        parameters=1234,
        checkpoint=None,
        clip={"name": "demo", "fingerprint": "f" * 64},
        train_seconds=1,
        eval_seconds=1,
        **{"images_per_second": None, "absent": {}} | changes,
    )


def test_ours_stand_beside_the_paper_s() -> None:
    full = report.with_facts("mpdd", result(0.8, 0.98), ["tubes: 1 / 2, not 32 / 69"])
    made = made_of(
        {"mpdd": full},
        "kanoclip",
        "KAnoCLIP",
        images_per_second=5.678,
        absent={"btad": "BTAD is not there"},
    )
    lines = report.to_markdown(made).splitlines()

    def cells(start: str) -> list[str]:
        (line,) = (x for x in lines if x.startswith(f"| {start}"))
        return [cell.strip() for cell in line.strip("|").split("|")]

    assert cells("mpdd")[-3:] == ["77.8 / 98.3", "80.0 / 98.0", "+2.2 / −0.3"]
    assert cells("KAnoCLIP (paper)")[1:3] == ["77.8", "98.3"]
    assert cells("KAnoCLIP (here)")[1:] == ["80.0", "98.0", "+2.2", "−0.3"]
    assert any("not the published one" in x and "not 32 / 69" in x for x in lines)
    assert "- btad: BTAD is not there" in lines


def test_ours_stand_beside_another_paper_s() -> None:
    facts = report.with_facts("clinicdb", result(None, 0.9), [])
    row = {
        "datasets": {"clinicdb": facts},
        "std": {"clinicdb": result(None, None)},
        "runs": {"111": "x"},
        "title": "Crane+",
        "parameters": 1234,
        "images_per_second": None,
    }
    made = made_of({"clinicdb": facts}, "crane_plus", "Crane+")
    rows = {"crane": row | {"title": "Crane"}, "crane_plus": row}
    for content in (made, made | {"rows": rows, "std": row["std"]}):
        shown = report.to_markdown(content)
        lines = [
            [cell.strip() for cell in line.strip("|").split("|")]
            for line in shown.splitlines()
        ]
        # The first table of a row is of AUROC.
        cells = {line[0]: line[1:] for line in reversed(lines)}
        assert cells["Crane+ (Crane's paper)"] == [*"–––", "88.3", "74.5", "47.9"]
        assert cells["Crane+ (here)"] == [*"–––", "90.0", "–", "–"]
        assert cells["Crane+, Δ"] == [*"–––", "+1.7", "–", "–"]
        assert "Crane's paper: Crane, arXiv 2504.11055, Table 1" in shown
    assert cells["Crane+"][:3] == ["– / 90.0", "– / 88.3", "– / +1.7"]
    assert "Crane's figures: Crane, arXiv" in shown
    # Of a method that the paper does not have, nothing is shown.
    assert "Crane" not in report.to_markdown(made | {"title": "KAnoCLIP"})


def test_medical_figures_are_no_diagnosis() -> None:
    def page(dataset: str) -> list[str]:
        facts = report.with_facts(dataset, result(0.8, 0.9), [])
        made = made_of({dataset: facts}, "kanoclip", "KAnoCLIP")
        return report.to_markdown(made).splitlines()

    (foot,) = [line for line in page("mpdd") if "not a medical device" in line]
    assert page("mpdd")[-1] == page("brainmri")[-1] == foot
    assert f"- {foot}" in page("brainmri")


def test_medical_tables_say_that_protocols_are_mixed() -> None:
    notes = report.with_facts("brainmri", result(0.8, 0.9), [])["notes"]
    assert any("BraTS" in note for note in notes)
    assert any("MVFA" in note and "target" in note for note in notes)
    assert "notes" not in report.with_facts("folder:/mine", result(0.8, None), [])


def test_the_ablation_stands_beside_table_3() -> None:
    rows = {
        name: {
            "datasets": {"mvtec": result(0.9, 0.9), "folder:x": result(0.5, None)},
            "std": {"mvtec": result(0.01, 0.02), "folder:x": result(0.1, None)},
            "title": "KAnoCLIP",
            "parameters": 1234,
            "images_per_second": 5.678,
        }
        for name in ("none", "adapter")
    }
    head, none, _ = tables.ablation(rows)
    assert head[1:] == [
        "mvtec",
        "paper",
        "Δ",
        "folder:x",
        "img/s",
        "parameters",
    ]
    assert none == [
        "KAnoCLIP: none",
        "90.0 ± 1.0 / 90.0 ± 2.0",
        "66.8 / 55.4",
        "+23.2 / +34.6",
        "50.0 ± 10.0 / –",
        "5.68",
        "1,234",
    ]


def test_a_mean_says_over_how_many_classes_it_is() -> None:
    made = result(0.8, None)
    made["classes"]["nut"] = made["classes"]["tubes"] | {"image_auroc": None}
    (note,) = report.with_facts("folder:/mine", made, [])["notes"]
    assert "image metrics are over 1 of 2 classes: not of nut, where" in note
    made["classes"]["tubes"]["pixel_auroc"] = 0.5
    notes = report.with_facts("folder:/mine", made, [])["notes"]
    assert "pixel metrics are over 1 of 2 classes: not of nut, where" in notes[1]
