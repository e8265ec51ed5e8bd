"""Regions at each mask's own size: ragged batches, alone and from worker processes."""

import io

import numpy as np
import pytest
from PIL import Image

from data_pipelines.masks import decode_mask
from data_pipelines.pipeline import eval_stream
from data_pipelines.sources import open_source

# Hair-thin, so that resizing to 8 x 8 pixels would lose them.
THIN = np.zeros((40, 40), np.uint8)
THIN[3:30, 5] = THIN[10, 20:39] = 255
# Class ids; two squares that touch at a corner are one region.
IDS = np.zeros((48, 64), np.uint8)
IDS[4:8, 4:8], IDS[8:12, 8:12], IDS[40:44, 50:60] = 1, 2, 9
LOSSY = np.zeros((71, 33), np.uint8)
LOSSY[16:33, 8:25] = 255


def encode(pixels: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def source(tmp_path_factory, put):
    root = tmp_path_factory.mktemp("sizes")
    rotated = Image.Exif()
    rotated[0x0112] = 6
    normal = np.full((50, 20, 3), 90, np.uint8)
    put(root / "test/good/0.png", encode(normal))
    put(root / "test/good/1.jpg", encode(normal, "JPEG", exif=rotated))
    for i, mask in enumerate((THIN, IDS, LOSSY)):
        put(root / f"test/bad/{i}.png", encode(np.stack([mask] * 3, -1)))
    put(root / "ground_truth/bad/0_mask.png", encode(THIN))
    put(root / "ground_truth/bad/1_mask.png", encode(IDS))
    put(root / "ground_truth/bad/2_mask.jpg", encode(LOSSY, "JPEG", quality=60))
    return open_source(f"folder:{root}", root="", prepared="")


def stream(source, **options):
    options = {"batch_size": 4, "workers": 0, "original_masks": True, **options}
    return list(eval_stream(source, image_size=8, **options))


def same_batches(left, right):
    for one, other in zip(left, right, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            assert len(one[name]) == len(other[name])
            for mine, theirs in zip(one[name], other[name], strict=True):
                np.testing.assert_array_equal(mine, theirs, err_msg=name)


def test_masks_are_labelled_at_their_own_size(source):
    first, last = stream(source)
    regions = [*first["regions"], *last["regions"]]
    # The second picture is turned by its EXIF orientation, and so would be its mask.
    assert [labels.shape for labels in regions] == [
        (50, 20),
        (20, 50),
        (40, 40),
        (48, 64),
        (71, 33),
        *[(0, 0)] * 3,
    ]
    assert {str(labels.dtype) for labels in regions} == {"int32"}
    assert not regions[0].any() and not regions[1].any()
    np.testing.assert_array_equal(regions[2] > 0, THIN > 0)
    np.testing.assert_array_equal(regions[3] > 0, IDS > 0)
    np.testing.assert_array_equal(regions[4] > 0, LOSSY > 0)
    assert [labels.max() for labels in regions[2:5]] == [2, 2, 1]
    assert regions[3][5, 5] == regions[3][9, 9] != regions[3][42, 55]


def test_all_else_is_as_without_them(source):
    ragged, square = stream(source), stream(source, original_masks=False)
    for batch in (*ragged, *square):
        batch.pop("regions")
        batch.pop("region_count", None)
    same_batches(ragged, square)
    np.testing.assert_array_equal(
        ragged[0]["mask"][3], decode_mask(encode(IDS), "m", 8)
    )


def test_without_images_sizes_are_still_known(source):
    first, _ = stream(source, with_images=False)
    assert "image" not in first
    assert first["regions"][0].shape == (50, 20)


def test_a_worker_process_changes_nothing(source):
    same_batches(stream(source, workers=1), stream(source))


def test_processes_read_their_rows(source):
    whole = stream(source)
    parts = [stream(source, part=(i, 2)) for i in range(2)]
    joined = [
        {name: [*left[name], *right[name]] for name in left}
        for left, right in zip(*parts, strict=True)
    ]
    same_batches(joined, whole)
