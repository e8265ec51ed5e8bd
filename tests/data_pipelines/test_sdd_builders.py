"""KolektorSDD whole, in thirds, and as AnomalyCLIP has it."""

import io
from collections import Counter

import industrial_trees as trees
import numpy as np
import pytest
from PIL import Image
from sklearn.model_selection import train_test_split

from data_pipelines.builders.sdd import draw_quarter
from data_pipelines.errors import DataError


@pytest.fixture
def root(tmp_path):
    return tmp_path / "root"


def count(source):
    return Counter((entry.defect, entry.label) for entry in source.index)


def test_complete_strips(root, open_dataset):
    trees.write_sdd(root / "sdd")
    source = open_dataset("sdd", strict=True)
    assert count(source) == {("good", 0): 347, ("defect", 1): 52}
    assert source.prompt_names == {"electrical_commutator": "electrical commutator"}
    assert source.index[0].path == "kos01/Part0.jpg"
    assert source[0]["image"] == (root / "sdd/kos01/Part0.jpg").read_bytes()
    assert source.mask(0) == (root / "sdd/kos01/Part0_label.bmp").read_bytes()
    assert source.mask(52) == b"" and source.strays == ()


def test_one_more_good_part_is_told(root, open_dataset, caplog):
    trees.write_sdd(root / "sdd", parts=400)
    source = open_dataset("sdd")
    told = (
        "sdd class electrical_commutator has 348 normal and 52 anomalous images, "
        "published are 347 and 52"
    )
    assert source.differences == (told,) and told in caplog.text
    with pytest.raises(DataError, match="348 normal.*data.strict=False"):
        open_dataset("sdd", strict=True)


def test_complete_thirds_of_the_same_files(root, open_dataset):
    trees.write_sdd(root / "sdd/KolektorSDD")
    source = open_dataset("sdd_thirds", strict=True)
    assert count(source) == {("good", 0): 286, ("defect", 1): 54}
    assert [e.path for e in source.index[286:289]] == [
        "kos01_Part0_0.png",
        "kos01_Part0_1.png",
        "kos01_Part1_0.png",
    ]
    good = [e.path for e in source.index[:286]]
    assert good == sorted(good) and len(set(good)) == 286


def test_thirds_are_cut_across_the_long_side(root, open_dataset):
    trees.write_sdd(root / "sdd_thirds", parts=2, defective=2, both=0)
    pixels = np.arange(13 * 5).reshape(13, 5)
    strip = root / "sdd_thirds/kos01/Part1.jpg"
    trees.put(strip.with_suffix(".png"), trees.encode(pixels, "PNG"))
    strip.unlink()
    source = open_dataset("sdd_thirds")
    number = [e.path for e in source.index].index("kos01_Part1_1.png")

    def decode(data):
        return np.asarray(Image.open(io.BytesIO(data)))

    np.testing.assert_array_equal(decode(source[number]["image"]), pixels[4:8])
    outline = decode(source.mask(number))
    assert outline.shape == (4, 5)
    assert outline[:2, 1].tolist() == [255, 255] and outline.sum() == 510


@pytest.mark.parametrize("total", [1, 2, 4, 5, 1143])
def test_the_quarter_is_scikit_learns(total):
    if total > 1:
        _, expected = train_test_split(range(total), test_size=0.25, random_state=42)
        assert draw_quarter(total) == expected
    assert len(draw_quarter(1143)) == 286


def test_class_ids_in_a_mask_are_foreground(root, open_dataset):
    trees.write_sdd(root / "sdd", parts=9, defective=0)
    ids = np.zeros(trees.STRIP[::-1])
    ids[0] = 1, 2, 3, 0, 9
    trees.put(root / "sdd/kos02/Part0_label.bmp", trees.encode(ids, "BMP"))
    assert [e.label for e in open_dataset("sdd").index] == [0] * 8 + [1]


@pytest.mark.parametrize("dataset", ["sdd", "sdd_thirds"])
@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("Part3_label.bmp", None, r"Part3\.jpg has no mask Part3_label\.bmp"),
        ("Part3_label.bmp", b"", r"Part3_label\.bmp is empty"),
        ("Part3_label.bmp", trees.mask((13, 5), "BMP"), r"is 13x5 px but its image"),
        ("Part3.jpg", b"", r"Part3\.jpg is empty"),
        ("Part3.jpg", trees.picture(trees.STRIP, "JPEG")[:200], r"Part3\.jpg cannot"),
    ],
)
def test_bad_files_stop_or_are_counted(root, open_dataset, dataset, name, data, said):
    path = trees.write_sdd(root / "sdd", parts=8, defective=8, both=0) / "kos01" / name
    path.unlink()
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(DataError, match=rf"{said}.*data\.skip_bad_files=True"):
        open_dataset(dataset)
    source = open_dataset(dataset, skip_bad_files=True)
    assert count(source)["defect", 1] == 7 and len(source.skipped) == 1


@pytest.mark.parametrize("dataset", ["sdd", "sdd_thirds"])
def test_nothing_usable(root, open_dataset, dataset):
    trees.write_sdd(root / "sdd", parts=1)
    (root / "sdd/kos01/Part0.jpg").write_bytes(b"")
    with pytest.raises(DataError, match="no usable image: 1 were skipped"):
        open_dataset(dataset, skip_bad_files=True)


def test_strays_beside_the_strips(root, open_dataset):
    folder = trees.write_sdd(root / "sdd", parts=8)
    trees.put(folder / "boxes/Part0.jpg", b"")
    trees.put(folder / "kos01/Part9_label.bmp", b"")
    trees.put(folder / "kos01/.DS_Store", b"")
    source = open_dataset("sdd")
    assert source.strays == ("boxes", "kos01/Part9_label.bmp")


@pytest.mark.parametrize("top", ["electrical commutators", "electrical_commutators"])
def test_complete_copy_of_anomalyclip(root, open_dataset, top):
    folder = trees.write_sdd_anomalyclip(root)
    folder.rename(folder.with_name(top))
    source = open_dataset("sdd_anomalyclip", strict=True)
    assert count(source) == {("good", 0): 181, ("defect", 1): 74}
    assert source.index[181].path == f"{top}/test/defect/kos01_Part0_0.png"
    assert source.classes == ("electrical_commutator",) and source.strays == ()


def test_original_strips_are_not_anomalyclips_copy(root, open_dataset):
    trees.write_sdd(root / "sdd_anomalyclip", parts=8)
    with pytest.raises(DataError, match="none of the classes electrical_commutator"):
        open_dataset("sdd_anomalyclip")
