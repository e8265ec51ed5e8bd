"""The medical datasets, each from a synthetic tree as it is distributed."""

import dataclasses
import io
import logging
import os
from collections import Counter

import numpy as np
import pytest
from medical_trees import ORIGINAL, write_headct, write_original
from PIL import Image

from data_pipelines.catalog import CATALOG
from data_pipelines.errors import DataError
from data_pipelines.masks import decode_mask
from data_pipelines.sources import open_source
from data_pipelines.transforms import decode_image

BMAD = ("brainmri", "liverct", "resc")
WITHOUT_MASKS = ("br35h", "brainmri_kaggle", "headct", "covid19")


@pytest.fixture
def small(tmp_path, monkeypatch, put, image, mask):
    """Writes a dataset with 2 normal and 3 anomalous images, as many as published."""

    def written(dataset):
        card = CATALOG[dataset]
        counts = dict.fromkeys(card.classes, (2, 3))
        monkeypatch.setitem(CATALOG, dataset, dataclasses.replace(card, counts=counts))
        folder = tmp_path / "root" / dataset
        write_original(folder, dataset, put, image, mask)
        # Links share their content, and a test changes one file.
        for path in [path for path in folder.rglob("*") if path.is_file()]:
            data = path.read_bytes()
            path.unlink()
            path.write_bytes(data)
        return folder

    return written


def count(source):
    labels = Counter(entry.label for entry in source.index)
    return labels[0], labels[1]


@pytest.mark.parametrize("dataset", (*BMAD, *WITHOUT_MASKS))
def test_a_copy_of_the_published_size(
    dataset, tmp_path, open_dataset, put, image, mask
):
    write_original(tmp_path / "root" / dataset, dataset, put, image, mask)
    source = open_dataset(dataset, strict=True)
    assert [count(source)] == list(CATALOG[dataset].counts.values())


@pytest.mark.parametrize(
    ("dataset", "normal", "anomalous"),
    [
        ("brainmri", 640, 3075),
        ("liverct", 833, 660),
        ("resc", 1041, 764),
        ("br35h", 1500, 1500),
        ("brainmri_kaggle", 98, 155),
        ("headct", 100, 100),
        ("covid19", 1341, 219),
    ],
)
def test_published_counts(dataset, normal, anomalous):
    assert list(CATALOG[dataset].counts.values()) == [(normal, anomalous)]


@pytest.mark.parametrize("dataset", (*BMAD, *WITHOUT_MASKS))
def test_nothing_is_strange_in_an_original(dataset, small, open_dataset, caplog):
    small(dataset)
    with caplog.at_level(logging.WARNING):
        source = open_dataset(dataset, strict=True)
    assert count(source) == (2, 3)
    assert not caplog.records and not source.strays
    assert source.has_masks == (dataset in BMAD)
    masked = [bool(source.mask(i)) for i in range(len(source))]
    assert masked == [bool(e.label) and source.has_masks for e in source.index]


@pytest.mark.parametrize(
    ("dataset", "prompt"),
    [
        ("brainmri", "brain MRI scan"),
        ("liverct", "liver CT scan"),
        ("resc", "retinal OCT scan"),
        ("br35h", "brain MRI scan"),
        ("brainmri_kaggle", "brain MRI scan"),
        ("headct", "head CT scan"),
        ("covid19", "chest X-ray"),
    ],
)
def test_prompt_names(dataset, prompt):
    assert list(CATALOG[dataset].classes.values()) == [prompt]


@pytest.mark.parametrize("masks", ["label", "anomaly_mask"])
@pytest.mark.parametrize("bad", ["Ungood", "ungood"])
@pytest.mark.parametrize("top", ["", "Liver_AD"])
def test_repackaged_bmad(masks, bad, top, tmp_path, open_dataset, put, image, mask):
    test = tmp_path / "root/liverct" / top / "test"
    put(test / "good/img/8_332.png", image(1))
    put(test / f"{bad}/img/10_455.png", image(2))
    put(test / f"{bad}/img/10_45.png", image(3))
    put(test / f"{bad}/{masks}/10_45.png", mask())
    put(test / f"{bad}/{masks}/10_455.PNG", mask())
    source = open_dataset("liverct")
    assert [(e.path, e.class_name, e.defect, e.label) for e in source.index] == [
        ("test/good/img/8_332.png", "liver", "good", 0),
        (f"test/{bad}/img/10_45.png", "liver", "Ungood", 1),
        (f"test/{bad}/img/10_455.png", "liver", "Ungood", 1),
    ]
    assert [source.mask(i) for i in range(3)] == [b"", mask(), mask()]
    assert source[1]["image"] == image(3)


def test_grey_images_are_decoded_to_rgb(small, open_dataset, put):
    folder = small("brainmri")
    grey = Image.fromarray(np.full((4, 6), 9, np.uint8))
    buffer = io.BytesIO()
    grey.save(buffer, "PNG")
    put(folder / ORIGINAL["brainmri"][0].format(0), buffer.getvalue())
    record = open_dataset("brainmri")[0]
    assert decode_image(record["image"], "x", 2).tolist() == [[[9, 9, 9]] * 2] * 2


def test_every_value_of_a_mask_is_foreground(small, open_dataset, put):
    values = np.tile(np.arange(6, dtype=np.uint8) * 9 // 5, (4, 1))
    assert values[0].tolist() == [0, 1, 3, 5, 7, 9]
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    put(small("resc") / ORIGINAL["resc"][2].format(0), buffer.getvalue())
    mask = decode_mask(open_dataset("resc").mask(2), "9_0.png", 6)
    assert mask.tolist() == [[0, 1, 1, 1, 1, 1]] * 6


def test_headct_is_labelled_by_number(tmp_path, open_dataset, put, image):
    folder = tmp_path / "root/headct"
    write_headct(folder, put, image, [1, 0, 1])
    (folder / "head_ct/head_ct/002.png").rename(folder / "head_ct/head_ct/2.PNG")
    put(folder / "head_ct/head_ct/007.png", image(7))
    source = open_dataset("headct")
    assert [(e.path, e.defect, e.label) for e in source.index] == [
        ("head_ct/head_ct/001.png", "good", 0),
        ("head_ct/head_ct/000.png", "hemorrhage", 1),
        ("head_ct/head_ct/2.PNG", "hemorrhage", 1),
    ]
    assert source[1]["image"] == image(0)
    assert source.strays == ("head_ct/head_ct/007.png",)


@pytest.mark.parametrize("top", ["", "head_ct", "archive/head_ct"])
def test_headct_below_extra_folders(top, tmp_path, open_dataset, put, image):
    write_headct(tmp_path / "root/headct" / top, put, image, [1, 0])
    assert count(open_dataset("headct")) == (1, 1)


@pytest.mark.parametrize("row", ["x,1", "3,2", "0,1", "3"])
def test_headct_damaged_rows(row, tmp_path, open_dataset, put, image):
    folder = tmp_path / "root/headct"
    write_headct(folder, put, image, [1, 0])
    with (folder / "labels.csv").open("a") as file:
        file.write(f"\n{row}\n")
    with pytest.raises(DataError, match=rf"labels\.csv line 4 reads '{row}'; allowed"):
        open_dataset("headct")


def test_headct_files(tmp_path, open_dataset, put, image):
    folder = tmp_path / "root/headct"
    write_headct(folder, put, image, [0, 1, 1])
    put(folder / "head_ct/head_ct/0.png", image(0))
    with pytest.raises(DataError, match=r"0\.png and 000\.png have the same number"):
        open_dataset("headct")
    (folder / "head_ct/head_ct/0.png").unlink()
    (folder / "head_ct/head_ct/001.png").unlink()
    with pytest.raises(DataError, match=r"001\.png is named in labels\.csv but"):
        open_dataset("headct")
    assert len(open_dataset("headct", skip_bad_files=True)) == 2
    (folder / "labels.csv").unlink()
    with pytest.raises(
        DataError, match=r"labels\.csv is missing: expected ROOT/headct"
    ):
        open_dataset("headct")


def write_later_covid19(root, put, image):
    top = root / "covid19/COVID-19_Radiography_Dataset"
    for name in ("COVID", "Normal", "Lung_Opacity", "Viral Pneumonia"):
        put(top / f"{name}/images/{name}-1.png", image(1))
        put(top / f"{name}/masks/{name}-1.png", image(255))
        put(top / f"{name}.metadata.xlsx", b"a spreadsheet")


def test_later_covid19_masks_are_lungs(tmp_path, open_dataset, put, image):
    write_later_covid19(tmp_path / "root", put, image)
    source = open_dataset("covid19")
    assert [(e.path, e.defect, e.label) for e in source.index] == [
        ("Normal/images/Normal-1.png", "good", 0),
        ("COVID/images/COVID-1.png", "covid-19", 1),
    ]
    assert not source.strays and not source.has_masks and not source.mask(1)
    (difference,) = source.differences
    assert difference == (
        "covid19 class chest has 1 normal and 1 anomalous images, published are 1341 "
        "and 219"
    )


def test_covid19_includes_what_is_asked_for(tmp_path, open_dataset, put, image):
    write_later_covid19(tmp_path / "root", put, image)
    both = open_dataset("covid19", covid19_include=("lung_opacity", "viral_pneumonia"))
    assert [(e.path, e.defect) for e in both.index[2:]] == [
        ("Viral Pneumonia/images/Viral Pneumonia-1.png", "viral_pneumonia"),
        ("Lung_Opacity/images/Lung_Opacity-1.png", "lung_opacity"),
    ]
    assert [e.label for e in both.index] == [0, 1, 1, 1]
    assert len(open_dataset("covid19", covid19_include=("lung_opacity",))) == 3
    assert len(open_dataset("covid19")) == 2


def test_covid19_refuses_other_inclusions(small, open_dataset):
    small("covid19")
    with pytest.raises(DataError, match="has 'flu'; allowed are viral_pneumonia and"):
        open_dataset("covid19", covid19_include=("flu",))
    with pytest.raises(DataError, match="no folder 'lung_opacity'.*covid19_include"):
        open_dataset("covid19", covid19_include=("lung_opacity",))
    included = open_dataset("covid19", covid19_include=("viral_pneumonia",))
    assert count(included) == (2, 4)


def test_kaggles_duplicate_is_read_once(small, open_dataset, put, image):
    folder = small("brainmri_kaggle")
    for path in list((folder / "brain_tumor_dataset").rglob("*.*")):
        put(folder / path.parent.name / path.name, path.read_bytes())
    put(folder / "yes/Y0.png", image(3))
    source = open_dataset("brainmri_kaggle")
    assert count(source) == (2, 4) and not source.strays
    assert all(entry.path.startswith(("no/", "yes/")) for entry in source.index)


def test_every_real_file_is_read(shared, tmp_path):
    source = open_source(
        "brainmri_kaggle", root=str(shared), prepared=str(tmp_path), strict=True
    )
    assert count(source) == (98, 155) and not source.has_masks
    on_disk = [p for p in (shared / "brainmri_kaggle").rglob("*") if p.is_file()]
    assert {entry.path for entry in source.index} == {
        path.relative_to(shared / "brainmri_kaggle").as_posix() for path in on_disk
    }
    assert {path.suffix for path in on_disk} == {".jpg", ".JPG", ".jpeg", ".png"}
    assert all(source[i]["image"] and not source.mask(i) for i in range(len(source)))


STRAYS = {
    "brainmri": "Brain_AD/BraTS2021_slice/test/{}",
    "liverct": "Liver_AD/hist_DIY/test/img/{}",
    "resc": "Retina_RESC_AD/RESC/Test/test/{}",
    "br35h": "{}",
    "brainmri_kaggle": "brain_tumor_dataset/{}",
    "covid19": "COVID-19 Radiography Database/{}",
}


@pytest.mark.parametrize("dataset", STRAYS)
def test_what_is_unknown_is_named_not_anomalous(
    dataset, small, open_dataset, put, image, caplog
):
    folder = small(dataset)
    for name in ("augmented/0.png", "0.png", ".DS_Store", "Thumbs.db", "pred/1.png"):
        put(folder / STRAYS[dataset].format(name), image(0))
    with caplog.at_level(logging.WARNING):
        source = open_dataset(dataset)
    assert count(source) == (2, 3) and not source.differences
    assert sorted(path.rsplit("/")[-1] for path in source.strays) == [
        "0.png",
        "augmented",
    ]
    (warning,) = caplog.records
    named = ", ".join(source.strays)
    assert warning.getMessage().endswith(f"what is not part of its layout: {named}")


@pytest.mark.parametrize("damage", ["truncated", "empty"])
@pytest.mark.parametrize("dataset", ["liverct", "br35h", "covid19"])
def test_bad_images_stop_or_are_counted(dataset, damage, small, open_dataset):
    path = small(dataset) / ORIGINAL[dataset][1].format(1)
    path.write_bytes(path.read_bytes()[: 50 if damage == "truncated" else 0])
    said = "cannot be decoded" if damage == "truncated" else r"is empty \(0 bytes\)"
    with pytest.raises(DataError, match=rf"{said}.*config\.data\.skip_bad_files=True"):
        open_dataset(dataset)
    source = open_dataset(dataset, skip_bad_files=True)
    assert count(source) == (2, 2) and path.name in source.skipped[0]
    with pytest.raises(DataError, match=r"has 2 normal and 2 anomalous.*data\.strict"):
        open_dataset(dataset, skip_bad_files=True, strict=True)


@pytest.mark.parametrize("dataset", BMAD)
def test_a_mask_of_another_name_is_not_taken(dataset, small, open_dataset):
    label = small(dataset) / ORIGINAL[dataset][2].format(2)
    label.rename(label.with_stem("other"))
    with pytest.raises(DataError, match=r"_2\.png is anomalous but has no mask"):
        open_dataset(dataset)


def test_a_folder_replaced_by_a_file(small, open_dataset, put):
    folder = small("br35h")
    for path in (folder / "yes").iterdir():
        path.unlink()
    (folder / "yes").rmdir()
    put(folder / "yes", b"not a folder")
    source = open_dataset("br35h")
    assert count(source) == (2, 0) and source.strays == ("yes",)
    assert "2 normal and 0 anomalous" in source.differences[0]


def test_an_unreadable_folder(small, open_dataset, monkeypatch):
    folder = small("br35h") / "yes"
    iterdir = type(folder).iterdir

    def refused(self):
        if self == folder:
            raise PermissionError(13, "Permission denied", os.fspath(self))
        return iterdir(self)

    monkeypatch.setattr(type(folder), "iterdir", refused)
    with pytest.raises(DataError) as caught:
        open_dataset("br35h")
    assert str(caught.value) == (
        f"{folder} cannot be read (Permission denied); make it readable for this user"
    )


@pytest.mark.parametrize("dataset", (*BMAD, *WITHOUT_MASKS))
def test_an_absent_dataset_is_told_about(dataset, open_dataset):
    card = CATALOG[dataset]
    with pytest.raises(DataError) as caught:
        open_dataset(dataset)
    message = str(caught.value)
    for part in (card.title, card.licence, card.size, card.homepage, "meta.json"):
        assert part in message
    assert "\n" not in message
