"""Several datasets as one source: names, keys, order, and which classes are whose."""

import hashlib
import pickle

import numpy as np
import pytest

from data_pipelines.errors import DataError
from data_pipelines.pipeline import train_stream
from data_pipelines.sources import JoinedSource, share_classes


@pytest.fixture
def parts(tmp_path, open_dataset, mvtec_class, put, image, mask):
    """MVTec AD's bottle, and two datasets whose only class is called colon."""
    root = tmp_path / "root"
    mvtec_class(root / "mvtec", "bottle", 2, 1)
    for dataset, start, count in (("colondb", 10, 2), ("clinicdb", 20, 1)):
        for number in range(count):
            put(root / dataset / f"images/{number}.png", image(start + number))
            put(root / dataset / f"masks/{number}.png", mask())
    return [open_dataset(name) for name in ("mvtec", "colondb", "clinicdb")]


def test_classes_keep_their_names_where_they_are_alone(parts):
    joined = JoinedSource(parts)
    assert joined.dataset == "mvtec,colondb,clinicdb"
    assert joined.classes == ("bottle", "colondb/colon", "clinicdb/colon")
    assert joined.prompt_names == {
        "bottle": "bottle",
        "colondb/colon": "colon",
        "clinicdb/colon": "colon",
    }
    assert JoinedSource(parts[:2]).classes == ("bottle", "colon")
    assert JoinedSource(parts[1::-1]).classes == ("colon", "bottle")
    assert joined.parts == tuple(parts) and parts[0].parts == (parts[0],)


def test_records_come_part_by_part_with_their_own_keys(parts, image, mask):
    joined = JoinedSource(parts)
    values = (0, 1, 100, 10, 11, 20)
    assert len(joined) == 6
    assert [joined[i]["image"] for i in range(6)] == [image(v) for v in values]
    assert [joined.mask(i) for i in range(6)] == [b"", b"", *[mask()] * 4]
    own = [part.key(i) for part in parts for i in range(len(part))]
    assert [joined.key(i) for i in range(6)] == own
    assert own[3] == hashlib.sha256(image(10)).hexdigest()
    for i, entry in enumerate(joined.index):
        record = joined[i]
        for field in ("path", "class_name", "defect", "label"):
            assert record[field] == getattr(entry, field)
    assert joined.index[4].path == "colondb/images/1.png"
    assert joined.index[4].class_name == "colondb/colon"
    # The parts are as they were.
    assert parts[1][1]["path"] == "images/1.png"
    with pytest.raises(IndexError):
        joined[6]


def test_what_is_wrong_with_a_part_is_known(parts):
    joined = JoinedSource(parts)
    assert joined.has_masks and joined.labelled
    assert "mvtec/zipper" in joined.missing_classes
    assert any(
        "colondb class colon has 0 normal and 2" in d for d in joined.differences
    )
    parts[2].has_masks = False
    assert not JoinedSource(parts).has_masks


def test_it_streams_in_processes_too(parts):
    joined = pickle.loads(pickle.dumps(JoinedSource(parts)))
    stream = train_stream(
        joined, image_size=8, batch_size=6, epochs=1, seed=3, workers=0
    )
    (batch,) = list(stream)
    order = np.argsort(batch["index"])
    assert batch["index"][order].tolist() == [0, 1, 2, 3, 4, 5]
    assert batch["class_index"][order].tolist() == [0, 0, 0, 1, 1, 2]
    assert batch["label"][order].tolist() == [0, 0, 1, 1, 1, 1]
    assert batch["image"][order][:, 0, 0, 0].tolist() == [0, 1, 100, 10, 11, 20]


def test_classes_are_shared_out(tmp_path, mvtec_class):
    names = ("mvtec", "colondb", "clinicdb")
    assert share_classes(names, ()) == {name: () for name in names}
    assert share_classes(names, ("colon", "tile", "cable")) == {
        "mvtec": ("cable", "tile"),
        "colondb": ("colon",),
        "clinicdb": ("colon",),
    }
    mvtec_class(tmp_path / "mine", "cup", 1, 1)
    mvtec_class(tmp_path / "mine", "tile", 1, 1)
    mine = f"folder:{tmp_path / 'mine'}"
    assert share_classes(("mvtec", mine), (f"{mine}/tile", "mvtec/tile", "cup")) == {
        "mvtec": ("tile",),
        mine: ("cup", "tile"),
    }
    with pytest.raises(
        DataError, match="none of mvtec, visa has a class 'tlie'.*'tile'"
    ):
        share_classes(("mvtec", "visa"), ("tlie",))
    with pytest.raises(DataError, match=r"leave nothing of colondb.*own \(colon\)"):
        share_classes(("mvtec", "colondb"), ("tile",))
    with pytest.raises(DataError, match="absent cannot be read"):
        share_classes(("mvtec", f"folder:{tmp_path}/absent"), ("tile",))
    with pytest.raises(DataError, match="unknown dataset 'colondbb'"):
        share_classes(("mvtec", "colondbb"), ("tile",))
