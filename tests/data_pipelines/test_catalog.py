"""The cards against the published totals, and what an unknown name is told."""

import pytest

from data_pipelines.catalog import CATALOG, find_card, nearest, select_classes
from data_pipelines.errors import DataError


@pytest.mark.parametrize(
    ("dataset", "classes", "normal", "anomalous"),
    [
        ("mvtec", 15, 467, 1258),
        ("visa", 12, 962, 1200),
        ("mpdd", 6, 176, 282),
        ("btad", 3, 451, 290),
        ("sdd", 1, 347, 52),
        ("sdd_thirds", 1, 286, 54),
        ("sdd_anomalyclip", 1, 181, 74),
        ("dagm", 10, 6996, 1054),
    ],
)
def test_counts_add_up_to_the_published_totals(dataset, classes, normal, anomalous):
    card = CATALOG[dataset]
    assert len(card.classes) == classes
    assert tuple(card.counts) == tuple(card.classes)
    assert sum(n for n, _ in card.counts.values()) == normal
    assert sum(a for _, a in card.counts.values()) == anomalous


def test_counts_without_classes():
    card = CATALOG["dtd_synthetic"]
    assert len(card.classes) == 12 and not card.counts
    assert card.total == (357, 947)


def test_prompt_names():
    assert CATALOG["mvtec"].classes["metal_nut"] == "metal nut"
    assert CATALOG["mvtec"].classes["grid"] == "metal grid"
    assert CATALOG["visa"].classes["pcb3"] == "printed circuit board"
    assert CATALOG["visa"].classes["pipe_fryum"] == "pipe fryum"


def test_prompt_names_do_not_name_a_state():
    names = [name for card in CATALOG.values() for name in card.classes.values()]
    assert not [name for name in names if "normal" in name or "defect" in name]


def test_texture_surfaces_are_disjoint():
    train, evaluate = CATALOG["textures_train"], CATALOG["textures_eval"]
    assert train.classes and evaluate.classes
    assert not set(train.classes) & set(evaluate.classes)


@pytest.mark.parametrize(
    ("typed", "meant"), [("mvtek", "mvtec"), ("VISA", "visa"), ("texture_eval", "eval")]
)
def test_unknown_id_names_the_nearest_and_folder(typed, meant):
    with pytest.raises(DataError, match=rf"{typed}.*{meant}.*folder:PATH"):
        find_card(typed)


def test_nothing_near_lists_all():
    assert nearest("zzz", ("a1", "b2")) == "allowed are a1, b2"


def test_classes_keep_the_dataset_order():
    assert select_classes("d", ("c", "a"), ("a", "b", "c")) == ("a", "c")
    assert select_classes("d", (), ("a", "b")) == ("a", "b")
    with pytest.raises(DataError, match="d has no class 'botle'.*'bottle'"):
        select_classes("d", ("botle",), ("bottle", "cable"))
