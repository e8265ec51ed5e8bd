"""The paper's figures: complete, in fractions, and where they belong."""

from data_pipelines.catalog import CATALOG
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


def result(image: float, pixel: float | None) -> dict:
    row = dict.fromkeys(tables.COLUMNS, None) | {"normal": 1, "anomalous": 2}
    row |= {"image_auroc": image, "pixel_auroc": pixel}
    return {"classes": {"tubes": row}, "mean": row}


def test_ours_stand_beside_the_paper_s() -> None:
    full = report.with_facts("mpdd", result(0.8, 0.98), ["tubes: 1 / 2, not 32 / 69"])
    made = report.make_report(
        {"mpdd": full},
        method="kanoclip",
        title="KAnoCLIP",
        parameters=1234,
        images_per_second=5.678,
        checkpoint=None,
        clip={"name": "demo", "fingerprint": "f" * 64},
        train_seconds=1,
        eval_seconds=1,
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
