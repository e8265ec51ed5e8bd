"""AnomalyCLIP's meta.json in place of a dataset's original layout."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines.builders.meta import make_meta_builder
from data_pipelines.catalog import CATALOG
from data_pipelines.errors import DataError


def entry(image, mask="", kind="good", anomaly=0, name="bottle"):
    """An entry as AnomalyCLIP's generators write it."""
    return {
        "img_path": image,
        "mask_path": mask,
        "cls_name": name,
        "specie_name": kind,
        "anomaly": anomaly,
    }


@pytest.fixture
def write_meta(tmp_path, put):
    def written(dataset, test, key="test", top=""):
        meta = {"train": {}, key: test}
        path = tmp_path / "root" / dataset / top / "meta.json"
        return put(path, json.dumps(meta, indent=4).encode())

    return written


@pytest.fixture
def images(tmp_path, put, image, mask):
    """Two classes of MVTec AD, not in its layout."""
    folder = tmp_path / "root/mvtec"
    for name in ("bottle", "grid"):
        for number in range(3):
            put(folder / f"all/{name}{number}.png", image(number))
            put(folder / f"masks/{name}{number}_mask.png", mask())
    return folder


def mvtec_test(**changes):
    test = {
        "grid": [
            entry("all/grid2.png", "masks/grid2_mask.png", "bent", 1, "grid"),
            entry("all/grid0.png", name="grid"),
        ],
        "bottle": [
            entry("all/bottle1.png", "masks/bottle1_mask.png", "crack", 1),
            entry("all/bottle0.png", "masks/bottle0_mask.png"),
        ],
    }
    return test | changes


def test_several_classes(images, write_meta, open_dataset, image, mask):
    write_meta("mvtec", mvtec_test())
    source = open_dataset("mvtec")
    assert source.classes == ("bottle", "grid") and len(source.missing_classes) == 13
    assert source.prompt_names["grid"] == "metal grid"
    assert [(e.path, e.class_name, e.defect, e.label) for e in source.index] == [
        ("all/bottle0.png", "bottle", "good", 0),
        ("all/bottle1.png", "bottle", "crack", 1),
        ("all/grid0.png", "grid", "good", 0),
        ("all/grid2.png", "grid", "bent", 1),
    ]
    assert source[1]["image"] == image(1) and source.mask(1) == mask()
    assert source.mask(0) == b"" and not source.strays
    assert open_dataset("mvtec", classes=("grid",)).classes == ("grid",)
    with pytest.raises(DataError, match="lacks the class 'cable'"):
        open_dataset("mvtec", classes=("grid", "cable"))


def test_an_edited_list_is_prepared_anew(images, write_meta, open_dataset):
    write_meta("mvtec", mvtec_test())
    assert len(open_dataset("mvtec")) == 4
    write_meta("mvtec", mvtec_test(grid=[]))
    assert len(open_dataset("mvtec")) == 2


def test_the_original_layout_wins(images, write_meta, open_dataset, mvtec_class):
    write_meta("mvtec", mvtec_test())
    mvtec_class(images, "bottle", 2, 1)
    assert {e.path.split("/")[1] for e in open_dataset("mvtec").index} == {"test"}


def test_visa_without_its_csv(tmp_path, write_meta, open_dataset, put, image, mask):
    """VisA's folders alone do not make its layout: its csv does."""
    images, masks = "candle/Data/Images", "candle/Data/Masks/Anomaly"
    put(tmp_path / f"root/visa/{images}/Normal/0001.JPG", image(1, kind="JPEG"))
    put(tmp_path / f"root/visa/{images}/Anomaly/000.JPG", image(2, kind="JPEG"))
    put(tmp_path / f"root/visa/{masks}/000.png", mask())
    rows = [
        entry(f"{images}/Anomaly/000.JPG", f"{masks}/000.png", "anomaly", 1, "candle"),
        entry(f"{images}/Normal/0001.JPG", kind="normal", name="candle"),
    ]
    write_meta("visa", {"candle": rows})
    source = open_dataset("visa")
    assert [(e.defect, e.label) for e in source.index] == [("good", 0), ("anomaly", 1)]
    assert source.mask(1) == mask()


@pytest.mark.parametrize("key", ["test", "Test", "TEST"])
@pytest.mark.parametrize("top", ["", "DAGM_KaggleUpload"])
def test_dagm(tmp_path, write_meta, open_dataset, put, image, mask, key, top):
    """DAGM's generator writes `Test`, and knows no kinds."""
    folder = tmp_path / "root/dagm" / top
    put(folder / "textures/0576.PNG", image(1))
    put(folder / "textures/0577.PNG", image(2))
    put(folder / "textures/Label/0576_label.PNG", mask())
    rows = [
        entry("textures/0577.PNG", kind="", name="Class1"),
        entry("textures/0576.PNG", "textures/Label/0576_label.PNG", "", 1, "Class1"),
    ]
    write_meta("dagm", {"Class1": rows}, key, top)
    source = open_dataset("dagm")
    assert [(e.class_name, e.defect, e.label) for e in source.index] == [
        ("Class1", "good", 0),
        ("Class1", "anomaly", 1),
    ]
    assert [source.mask(0), source.mask(1)] == [b"", mask()]


def test_kolektor_is_read_as_listed(tmp_path, write_meta, open_dataset, put, image):
    """Its own builder would want a mask for every part, and look into it."""
    put(tmp_path / "root/sdd_thirds/test/good/kos01_Part1_0.png", image(5))
    rows = [entry("test/good/kos01_Part1_0.png", name="electrical commutators")]
    write_meta("sdd_thirds", {"electrical commutators": rows})
    source = open_dataset("sdd_thirds")
    assert len(source) == 1 and source[0]["image"] == image(5)


@pytest.mark.parametrize("root", ["", "data/br35h/", "./data/br35h//", "ABSOLUTE/"])
def test_one_class_of_another_name_and_its_root(
    tmp_path, write_meta, open_dataset, put, image, root
):
    """br35.py calls the class `brain` and writes its root before every path."""
    folder = tmp_path / "root/headct"
    root = root.replace("ABSOLUTE", str(folder))
    rows = []
    for kind, number in (("hemorrhage", 0), ("hemorrhage", 1), ("good", 2)):
        put(folder / f"brain/test/{kind}/{number}.png", image(number))
        path = f"{root}brain/test/{kind}/{number}.png"
        rows.append(entry(path, "", kind, int(kind != "good"), "brain"))
    write_meta("headct", {"brain": rows})
    source = open_dataset("headct")
    assert source.classes == ("head",) and not source.has_masks
    assert [(e.path, e.defect, e.label) for e in source.index] == [
        ("brain/test/good/2.png", "good", 0),
        ("brain/test/hemorrhage/0.png", "hemorrhage", 1),
        ("brain/test/hemorrhage/1.png", "hemorrhage", 1),
    ]
    assert source[0]["image"] == image(2)


def test_a_prefix_of_some_paths_is_no_root(images, write_meta, open_dataset):
    rows = [entry("all/bottle0.png"), entry("old/all/bottle1.png", "", "crack", 1)]
    write_meta("mvtec", {"bottle": rows})
    said = r"old/all/bottle1\.png is named in meta\.json but is not there.*skip_bad"
    with pytest.raises(DataError, match=said):
        open_dataset("mvtec")
    assert len(open_dataset("mvtec", skip_bad_files=True)) == 1


def test_masks_are_not_read_where_the_dataset_has_none(
    tmp_path, write_meta, open_dataset, put, image
):
    put(tmp_path / "root/br35h/all/y0.jpg", image(0, kind="JPEG"))
    write_meta("br35h", {"brain": [entry("all/y0.jpg", "all", "yes", 1)]})
    source = open_dataset("br35h")
    assert [e.label for e in source.index] == [1] and not source.mask(0)


def test_swapped_masks(images, write_meta, open_dataset):
    """One mask more or less, and pairing by sorted index shifts all others."""
    rows = [entry("all/bottle1.png", "masks/bottle2_mask.png", "crack", 1)]
    path = write_meta("mvtec", {"bottle": rows})
    with pytest.raises(DataError) as caught:
        open_dataset("mvtec")
    assert str(caught.value) == (
        f"{path} gives all/bottle1.png the mask bottle2_mask.png, but bottle1_mask.png "
        "lies beside it; pair masks by name and generate it anew"
    )


@pytest.fixture(scope="module")
def numbered(tmp_path_factory, put, image, mask):
    """Images whose names begin and sort like each other's, and their masks."""
    folder = tmp_path_factory.mktemp("numbered")
    for stem in ("1", "10", "100", "2"):
        put(folder / f"test/{stem}.png", image(1))
        put(folder / f"label/{stem}.png", mask())
    return folder


@settings(deadline=None)
@given(st.permutations(("1", "10", "100", "2")))
def test_only_the_right_order_of_masks_is_accepted(numbered, stems):
    rows = [
        entry(f"test/{image}.png", f"label/{mask}.png", "Ungood", 1, "brain")
        for image, mask in zip(("1", "10", "100", "2"), stems, strict=True)
    ]
    (numbered / "meta.json").write_text(json.dumps({"test": {"brain": rows}}))
    builder = make_meta_builder(CATALOG["brainmri"])
    if tuple(stems) == ("1", "10", "100", "2"):
        survey = builder.survey_folder(numbered, ("brain",))
        assert all(item.mask.stem == item.image.stem for item in survey.items)
    else:
        with pytest.raises(DataError, match="pair masks by name"):
            builder.survey_folder(numbered, ("brain",))


def test_a_shifted_list_of_isic_is_refused(
    tmp_path, write_meta, open_dataset, put, image, mask
):
    """AnomalyCLIP's generator expects the images of a kind below `skin/test`."""
    folder = tmp_path / "root/isic"
    masks = "skin/ISBI2016_ISIC_Part1_Test_GroundTruth/ISIC_{}_Segmentation.png"
    images = "skin/test/bad/ISIC_{}.jpg"
    for number in (3, 12):
        put(folder / images.format(number), image(number))
        put(folder / masks.format(number), mask())
    rows = [
        entry(images.format(a), masks.format(b), "bad", 1, "skin")
        for a, b in ((3, 3), (12, 12))
    ]
    write_meta("isic", {"skin": rows})
    source = open_dataset("isic")
    assert [e.label for e in source.index] == [1, 1] and source.mask(0) == mask()
    rows[0]["mask_path"] = masks.format(12)
    write_meta("isic", {"skin": rows})
    with pytest.raises(DataError, match="ISIC_3.jpg the mask ISIC_12_Segm.*by name"):
        open_dataset("isic")


def test_masks_whose_names_tell_nothing(images, write_meta, open_dataset, put, mask):
    put(images / "all/outline.png", mask())
    rows = [entry("all/bottle1.png", "all/outline.png", "crack", 1)]
    write_meta("mvtec", {"bottle": rows})
    assert open_dataset("mvtec").mask(0) == mask()


def test_anomalous_without_a_mask(images, write_meta, open_dataset):
    row = entry("all/bottle1.png", "", "crack", 1)
    del row["mask_path"]
    write_meta("mvtec", {"bottle": [row]})
    with pytest.raises(DataError, match=r"bottle1\.png is anomalous but has no mask"):
        open_dataset("mvtec")


def test_unknown_class(images, write_meta, open_dataset):
    write_meta("mvtec", mvtec_test(botle=[entry("all/bottle0.png")]))
    with pytest.raises(DataError, match="has the class 'botle'; allowed.*bottle, cab"):
        open_dataset("mvtec")


@pytest.mark.parametrize(
    "row",
    [
        entry("/elsewhere/bottle0.png"),
        entry("../mvtec/all/bottle0.png"),
        entry("all/bottle1.png", "../masks/bottle1.png", "crack", 1),
        entry("all/bottle0.png", anomaly=2),
        entry("all/bottle0.png") | {"anomaly": None},
        entry(""),
        entry(7),
        entry("all/bottle0.png", ["mask"]),
        "all/bottle0.png",
    ],
)
def test_damaged_entries_are_refused(images, write_meta, open_dataset, row):
    write_meta("mvtec", {"bottle": [entry("all/bottle0.png"), row]})
    with pytest.raises(DataError) as caught:
        open_dataset("mvtec")
    assert f"has {json.dumps(row)} in test, bottle; allowed are" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"{", r"meta\.json cannot be read as JSON"),
        (b"\xff\xfe", r"meta\.json cannot be read as JSON"),
        (b"[]", "meta.json has \\[\\]; allowed is an object"),
        (b'{"train": {}}', "lists no images by class in 'test'; its keys are train"),
        (b'{"test": []}', "lists no images by class in 'test'"),
        (b'{"test": {"bottle": {}}}', "lists no images by class in 'test'"),
        (b'{"test": {"bottle": []}}', "holds none of the classes bottle"),
    ],
)
def test_damaged_files_are_refused(images, put, open_dataset, text, said):
    put(images / "meta.json", text)
    with pytest.raises(DataError, match=said):
        open_dataset("mvtec")
