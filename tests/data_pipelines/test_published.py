"""Copies that are not the published dataset: told as warnings, refused where strict."""

import dataclasses
import pickle

import pytest

from data_pipelines.builders import prepared
from data_pipelines.builders.published import compare_counts
from data_pipelines.catalog import CATALOG
from data_pipelines.errors import DataError
from data_pipelines.records import Entry
from data_pipelines.sources import open_source

FEW = "mvtec class bottle has 2 normal and 1 anomalous images, published are 20 and 63"


@pytest.fixture
def bottle(tmp_path, mvtec_class):
    return mvtec_class(tmp_path / "root/mvtec", "bottle", 2, 1)


@pytest.fixture
def open_mvtec(tmp_path):
    def opened(**options):
        root, copies = str(tmp_path / "root"), str(tmp_path / "prepared")
        return open_source("mvtec", root=root, prepared=copies, **options)

    return opened


def test_differences_are_warned_of(bottle, open_mvtec, caplog):
    source = open_mvtec(classes=("bottle",))
    assert source.differences == (FEW,) and FEW in caplog.text
    assert pickle.loads(pickle.dumps(source)).differences == (FEW,)


def test_a_dataset_is_warned_of_in_one_line(
    bottle, open_mvtec, mvtec_class, put, caplog
):
    mvtec_class(bottle.parent, "cable", 1, 1)
    put(bottle / "test/stray.png", b"")
    open_mvtec()
    (record,) = caplog.records
    said = record.getMessage()
    assert said.startswith(f"{FEW}; 1 more such difference; mvtec in ")
    assert "lacks the classes capsule, carpet, grid and 10 more; mvtec: left " in said
    assert said.endswith("layout: bottle/test/stray.png")


def test_strict_counts_differences_missing_classes_and_skipped_files(
    bottle, open_mvtec, put
):
    put(bottle / "test/good/000.png", b"")
    with pytest.raises(DataError) as caught:
        open_mvtec(strict=True, skip_bad_files=True)
    message = str(caught.value)
    assert message.startswith("mvtec class bottle has 1 normal and 1 anomalous images,")
    assert "(16 differences" in message and "\n" not in message
    assert message.endswith("accept it with --config.data.strict=False")


def test_only_missing_classes(bottle, open_mvtec, mvtec_class):
    mvtec_class(bottle.parent, "bottle", 20, 63)
    assert len(open_mvtec(classes=("bottle",), strict=True)) == 83
    with pytest.raises(DataError, match=r"lacks the class cable \(14 differences"):
        open_mvtec(strict=True)


def test_a_strict_failure_keeps_the_copy(bottle, open_mvtec, monkeypatch):
    with pytest.raises(DataError):
        open_mvtec(strict=True)
    monkeypatch.setattr(prepared, "_prepare", None)
    assert len(open_mvtec()) == 3
    with pytest.raises(DataError):
        open_mvtec(strict=True)


def test_totals_are_compared_where_all_classes_are_there():
    card = dataclasses.replace(CATALOG["btad"], counts={}, total=(3, 1))
    entries = [Entry("", name, "good", 0) for name in card.classes]
    assert list(compare_counts(card, [*entries, Entry("", "01", "ko", 1)])) == []
    assert list(compare_counts(card, entries)) == [
        "btad has 3 normal and 0 anomalous images, published are 3 and 1"
    ]
    assert list(compare_counts(card, entries[:2])) == []


def test_strays_are_named_and_kept_when_pickled(bottle, open_mvtec, put, image, caplog):
    for i in range(7):
        put(bottle / f"test/{i}.png", image(i))
    put(bottle.parent / "botle/test/good/0.png", image(0))
    source = open_mvtec()
    assert source.strays[:2] == ("botle", "bottle/test/0.png")
    assert len(source.strays) == 8 and len(source) == 3
    assert "botle, bottle/test/0.png, " in caplog.text
    assert "and 3 more" in caplog.text
    assert pickle.loads(pickle.dumps(source)).strays == source.strays


def test_strays_do_not_ask_for_another_copy(bottle, open_mvtec, put, monkeypatch):
    open_mvtec()
    put(bottle / "test/stray.png", b"")
    monkeypatch.setattr(prepared, "_prepare", None)
    assert open_mvtec().strays == ("bottle/test/stray.png",)


def test_an_extra_top_folder_changes_nothing(bottle, open_mvtec):
    index = open_mvtec().index
    inner = bottle.parent / "mvtec_anomaly_detection"
    inner.mkdir()
    bottle.rename(inner / "bottle")
    (inner / "license.txt").write_text("")
    source = open_mvtec()
    assert source.index == index and source.strays == ()


def test_a_users_folder_has_nothing_to_compare(bottle):
    source = open_source(f"folder:{bottle}", root="", prepared="", strict=True)
    assert source.differences == source.strays == ()
