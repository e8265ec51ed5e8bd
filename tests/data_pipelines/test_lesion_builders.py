"""The datasets of outlined lesions without normal images, as they are distributed."""

import dataclasses
import io
import logging
from collections import Counter

import numpy as np
import pytest
from medical_trees import ORIGINAL, write_original
from PIL import Image

from data_pipelines.catalog import CATALOG
from data_pipelines.errors import DataError
from data_pipelines.masks import decode_original_mask

COUNTS = {"isic": 379, "colondb": 380, "clinicdb": 612, "tn3k": 614}


@pytest.fixture
def small(tmp_path, monkeypatch, put, image, mask):
    """Writes a dataset of three images, as many as published; returns its folder."""

    def written(dataset):
        card = CATALOG[dataset]
        counts = dict.fromkeys(card.classes, (0, 3))
        monkeypatch.setitem(CATALOG, dataset, dataclasses.replace(card, counts=counts))
        folder = tmp_path / "root" / dataset
        write_original(folder, dataset, put, image, mask)
        return folder

    return written


@pytest.mark.parametrize("dataset", COUNTS)
def test_a_copy_of_the_published_size(
    dataset, tmp_path, open_dataset, put, image, mask, caplog
):
    write_original(tmp_path / "root" / dataset, dataset, put, image, mask)
    with caplog.at_level(logging.WARNING):
        source = open_dataset(dataset, strict=True)
    labels = Counter(entry.label for entry in source.index)
    assert labels == {1: COUNTS[dataset]}
    assert source.strays == () and not caplog.records
    assert source.has_masks and all(source.mask(i) for i in range(len(source)))


@pytest.mark.parametrize(
    ("dataset", "name", "defect", "path"),
    [
        (
            "isic",
            "skin",
            "lesion",
            "ISBI2016_ISIC_Part1_Test_Data/ISIC_0000000.jpg",
        ),
        ("colondb", "colon", "polyp", "CVC-ColonDB/images/0.png"),
        ("clinicdb", "colon", "polyp", "Original/0.tif"),
        ("tn3k", "thyroid", "nodule", "tn3k/test-image/0000.jpg"),
    ],
)
def test_entries(dataset, name, defect, path, small, open_dataset):
    small(dataset)
    source = open_dataset(dataset)
    entry = source.index[0]
    assert (entry.path, entry.defect, entry.label) == (path, defect, 1)
    assert source.classes == (entry.class_name,) == (name,)
    assert source.prompt_names == {name: name}


@pytest.mark.parametrize(
    ("dataset", "images", "masks", "top"),
    [
        ("colondb", "images/{}.png", "masks/{}.png", ""),
        (
            "colondb",
            "CVC-ColonDB/images/{}.png",
            "CVC-ColonDB/masks/{}.png",
            "TestDataset",
        ),
        ("colondb", "Original/{}.png", "Ground Truth/{}.png", "CVC-ColonDB"),
        ("clinicdb", "TIF/Original/{}.tif", "TIF/Ground Truth/{}.tif", ""),
        ("clinicdb", "PNG/Original/{}.png", "PNG/Ground Truth/{}.png", "archive"),
        ("clinicdb", "images/{}.png", "masks/{}.png", "CVC-ClinicDB"),
        ("tn3k", "test-image/{:04d}.jpg", "test-mask/{:04d}.jpg", ""),
    ],
)
def test_other_copies(
    dataset, images, masks, top, tmp_path, open_dataset, put, image, mask
):
    folder = tmp_path / "root" / dataset / top
    for number in (1, 2, 10):
        put(folder / images.format(number), image(number))
        put(folder / masks.format(number), mask())
    source = open_dataset(dataset)
    # By name, 10 stands before 2.
    assert [entry.path for entry in source.index] == [
        images.format(number)
        for number in ((1, 2, 10) if dataset == "tn3k" else (1, 10, 2))
    ]
    assert source[2]["image"] == image(10 if dataset == "tn3k" else 2)
    assert source.strays == ()


def test_the_png_twin_of_clinicdb_is_not_read_twice(
    tmp_path, open_dataset, put, image, mask
):
    folder = tmp_path / "root/clinicdb"
    for kind, suffix in (("TIF", "tif"), ("PNG", "png")):
        put(folder / f"{kind}/Original/1.{suffix}", image(1))
        put(folder / f"{kind}/Ground Truth/1.{suffix}", mask())
    put(folder / "metadata.csv", b"a table")
    source = open_dataset("clinicdb")
    assert [entry.path for entry in source.index] == ["TIF/Original/1.tif"]
    assert source.strays == ()


def test_other_test_sets_beside_colondb_are_left_out(
    tmp_path, open_dataset, put, image, mask
):
    folder = tmp_path / "root/colondb/TestDataset"
    for name in ("CVC-300", "CVC-ColonDB", "Kvasir", "other"):
        put(folder / name / "images/1.png", image(1))
        put(folder / name / "masks/1.png", mask())
    source = open_dataset("colondb")
    assert [entry.path for entry in source.index] == ["CVC-ColonDB/images/1.png"]
    assert source.strays == ("other",)


@pytest.mark.parametrize("dataset", COUNTS)
def test_masks_are_paired_by_name(dataset, small, open_dataset, put, mask):
    """Of a shift by one, as sorted lists would give, nothing comes through."""
    folder = small(dataset)
    label = folder / ORIGINAL[dataset][2].format(0)
    label.rename(label.with_stem(f"{label.stem}x"))
    with pytest.raises(DataError, match=r"0\.\w+ is anomalous but has no mask"):
        open_dataset(dataset)
    source = open_dataset(dataset, skip_bad_files=True)
    assert len(source) == 2 and len(source.skipped) == 1
    assert [path.rsplit("/")[-1] for path in source.strays] == [
        f"{label.stem}x{label.suffix}"
    ]


def test_isic_masks_need_their_ending(small, open_dataset):
    folder = small("isic") / "ISBI2016_ISIC_Part1_Test_GroundTruth"
    for path in list(folder.iterdir()):
        path.rename(folder / path.name.replace("_Segmentation", ""))
    with pytest.raises(DataError, match="ISIC_0000000.jpg is anomalous but has no"):
        open_dataset("isic")


def test_images_without_a_folder_of_masks(tmp_path, open_dataset, put, image):
    put(tmp_path / "root/clinicdb/Original/1.tif", image(1))
    with pytest.raises(DataError, match="has no folder Ground Truth, the masks of Ori"):
        open_dataset("clinicdb")


def test_two_masks_of_one_name(small, open_dataset, put, mask):
    put(small("colondb") / "CVC-ColonDB/masks/0.bmp", mask())
    with pytest.raises(DataError, match="two masks share a stem"):
        open_dataset("colondb")


def test_noise_of_a_jpeg_mask_is_no_nodule(tmp_path, open_dataset, put, image):
    """A square outlined in a lossy file: every pixel above 0 would be far too many."""
    pixels = np.zeros((64, 64), np.uint8)
    pixels[21:43, 21:43] = 255
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=60)
    stored = np.asarray(Image.open(file))
    assert (stored > 0).sum() > 1.2 * (pixels > 0).sum()
    folder = tmp_path / "root/tn3k"
    put(folder / "test-image/0000.jpg", image(9, (64, 64), "JPEG"))
    put(folder / "test-mask/0000.jpg", file.getvalue())
    mask = decode_original_mask(open_dataset("tn3k").mask(0), "0000.jpg")
    assert mask.tolist() == (pixels > 0).astype(int).tolist()


@pytest.mark.parametrize("dataset", COUNTS)
def test_an_absent_dataset_is_told_about(dataset, open_dataset):
    card = CATALOG[dataset]
    with pytest.raises(DataError) as caught:
        open_dataset(dataset)
    message = str(caught.value)
    for part in (card.title, card.licence, card.size, card.homepage, "meta.json"):
        assert part in message
    assert "\n" not in message


def test_a_folder_without_the_dataset(tmp_path, open_dataset, put, image):
    put(tmp_path / "root/isic/other/1.jpg", image(1))
    with pytest.raises(DataError, match="holds none of the classes skin: ISIC 2016"):
        open_dataset("isic")
