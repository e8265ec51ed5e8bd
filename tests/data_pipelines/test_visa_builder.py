"""The prepared copy of VisA: what its csv chooses, how files are found, refusals."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_pipelines.errors import DataError
from data_pipelines.masks import decode_mask
from data_pipelines.sources import open_source

HEADER = "object,split,label,image,mask"
IMAGES, MASKS = "candle/Data/Images", "candle/Data/Masks/Anomaly"
ROWS = (
    f"candle,train,normal,{IMAGES}/Normal/0000.JPG,",
    f"candle,test,anomaly,{IMAGES}/Anomaly/000.JPG,{MASKS}/000.png",
    f"candle,test,anomaly,{IMAGES}/Anomaly/001.JPG,{MASKS}/001.png",
    f"candle,test,normal,{IMAGES}/Normal/0001.JPG,",
    "pcb1,test,normal,pcb1/Data/Images/Normal/0001.JPG,",
)


def class_ids() -> bytes:
    """A mask of 9 by 4 pixels whose columns hold 1 to 9, the first one 0."""
    ids = np.tile(np.arange(1, 10, dtype=np.uint8), (4, 1))
    ids[:, 0] = 0
    buffer = io.BytesIO()
    Image.fromarray(ids).save(buffer, "PNG")
    return buffer.getvalue()


def write_csv(folder: Path, *rows: str, header: str = HEADER) -> None:
    (folder / "split_csv").mkdir(parents=True, exist_ok=True)
    (folder / "split_csv/1cls.csv").write_text("\n".join((header, *rows)) + "\n")


@pytest.fixture
def visa(tmp_path, put, image):
    folder = tmp_path / "root/visa"
    for number, name in enumerate(("Normal/0000", "Normal/0001", "Anomaly/000")):
        path = folder / f"candle/Data/Images/{name}.JPG"
        put(path, image(50 * number, (9, 4), "JPEG"))
    put(folder / "candle/Data/Images/Anomaly/001.JPG", image(200, (9, 4), "JPEG"))
    for stem in ("000", "001"):
        put(folder / f"candle/Data/Masks/Anomaly/{stem}.png", class_ids())
    put(folder / "pcb1/Data/Images/Normal/0001.JPG", image(250, (9, 4), "JPEG"))
    write_csv(folder, *ROWS)
    return folder


@pytest.fixture
def open_visa(tmp_path):
    def opened(**options):
        return open_source(
            "visa",
            root=str(tmp_path / "root"),
            prepared=str(tmp_path / "prepared"),
            **options,
        )

    return opened


def test_test_rows_become_records(visa, open_visa, image):
    source = open_visa()
    assert source.classes == ("candle", "pcb1")
    assert source.prompt_names["pcb1"] == "printed circuit board"
    assert len(source.missing_classes) == 10 and source.has_masks
    assert [(e.path, e.class_name, e.defect, e.label) for e in source.index] == [
        ("candle/Data/Images/Normal/0001.JPG", "candle", "good", 0),
        ("candle/Data/Images/Anomaly/000.JPG", "candle", "anomaly", 1),
        ("candle/Data/Images/Anomaly/001.JPG", "candle", "anomaly", 1),
        ("pcb1/Data/Images/Normal/0001.JPG", "pcb1", "good", 0),
    ]
    assert source[1] == {
        "image": image(100, (9, 4), "JPEG"),
        "mask": class_ids(),
        "label": 1,
        "class_name": "candle",
        "defect": "anomaly",
        "path": "candle/Data/Images/Anomaly/000.JPG",
    }
    assert [bool(source.mask(i)) for i in range(4)] == [False, True, True, False]


def test_every_class_id_of_a_mask_is_foreground(visa, open_visa):
    mask = decode_mask(open_visa().mask(1), "000.png", 9)
    assert mask.tolist() == [[0] + [1] * 8] * 9


def test_masks_are_paired_by_the_csv(visa, open_visa, put, mask):
    put(visa / "candle/Data/Masks/Anomaly/other.png", mask((9, 4)))
    row = ROWS[1].replace("000.png", "other.png")
    write_csv(visa, row)
    assert open_visa().mask(0) == mask((9, 4))


def test_spaces_mark_and_column_order_are_tolerated(visa, open_visa):
    rows = [", ".join(reversed(row.split(","))) + " " for row in ROWS]
    write_csv(visa, *rows, "", header="\ufeffmask , image, label, split, object")
    assert [e.label for e in open_visa().index] == [0, 1, 1, 0]


@pytest.mark.parametrize(("suffix", "kind"), [(".jpg", "JPEG"), (".png", "PNG")])
def test_renamed_and_re_encoded_files_are_found_by_stem(
    visa, open_visa, put, image, suffix, kind
):
    folder = visa / "candle/Data"
    (folder / "Images/Anomaly/000.JPG").unlink()
    put(folder / f"Images/Anomaly/000{suffix}", image(7, (9, 4), kind))
    (folder / "Masks/Anomaly/000.png").rename(folder / "Masks/Anomaly/000.PNG")
    source = open_visa()
    assert source.index[1].path == f"candle/Data/Images/Anomaly/000{suffix}"
    assert source[1]["image"] == image(7, (9, 4), kind)
    assert source.mask(1) == class_ids()


def test_two_files_of_one_stem(visa, open_visa, put, image):
    folder = visa / "candle/Data/Images/Anomaly"
    put(folder / "000.png", image(7, (9, 4)))
    assert open_visa().index[1].path.endswith("000.JPG")
    (folder / "000.JPG").rename(folder / "000.jpeg")
    with pytest.raises(DataError, match=r"000\.JPG .*000\.jpeg and 000\.png share"):
        open_visa()


def test_an_edited_csv_is_prepared_anew(visa, open_visa):
    assert len(open_visa()) == 4
    write_csv(visa, *ROWS[:3], ROWS[3].replace("test", "train"), ROWS[4])
    assert [e.label for e in open_visa().index] == [1, 1, 0]


def test_classes(visa, open_visa):
    assert open_visa(classes=("pcb1",)).classes == ("pcb1",)
    with pytest.raises(DataError, match="lacks the class 'cashew'"):
        open_visa(classes=("pcb1", "cashew"))


def test_missing_csv_says_what_is_expected_where(visa, open_visa):
    (visa / "split_csv/1cls.csv").unlink()
    with pytest.raises(DataError) as caught:
        open_visa()
    assert str(caught.value) == (
        f"{visa}/split_csv/1cls.csv is missing: expected ROOT/visa/split_csv/1cls.csv "
        "with the columns object,split,label,image,mask and the images it names, "
        "<class>/Data/Images/{Normal,Anomaly}/*.JPG; set the root with "
        "--config.data.root=DIR"
    )


def test_csv_without_its_columns(visa, open_visa):
    write_csv(visa, header="object;split;label;image;mask")
    with pytest.raises(DataError, match="has the columns object;split.*expected ROOT/"):
        open_visa()


def test_csv_without_test_rows(visa, open_visa):
    write_csv(visa, ROWS[0])
    with pytest.raises(DataError, match=r"none of the classes candle, .*1cls\.csv"):
        open_visa()


@pytest.mark.parametrize(
    "row",
    [
        "candle,test,broken,candle/Data/Images/Anomaly/000.JPG,",
        "candle,test,normal",
        "candle,test,normal,/candle/Data/Images/Normal/0001.JPG,",
        "candle,test,anomaly,candle/Data/Images/Anomaly/000.JPG,../000.png",
    ],
)
def test_damaged_rows_are_refused(visa, open_visa, row):
    write_csv(visa, ROWS[0], row)
    with pytest.raises(DataError, match=rf"1cls\.csv line 3 reads '{row}'; allowed"):
        open_visa()


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        ("Images/Anomaly/001.JPG", r"001\.JPG is named in split_csv/1cls\.csv"),
        ("Masks/Anomaly/001.png", r"001\.png is named in split_csv/1cls\.csv"),
    ],
)
def test_lost_files_stop_or_are_counted(visa, open_visa, lost, said):
    (visa / "candle/Data" / lost).unlink()
    with pytest.raises(DataError, match=rf"{said}.*config\.data\.skip_bad_files=True"):
        open_visa()
    source = open_visa(skip_bad_files=True)
    assert len(source) == 3 and len(source.skipped) == 1


def test_anomalous_row_without_a_mask(visa, open_visa):
    write_csv(visa, ROWS[1].rsplit(",", 1)[0])
    with pytest.raises(DataError, match=r"000\.JPG is anomalous but has no mask"):
        open_visa()
