"""How folders of all sorts are read: right, or refused by name; never in silence."""

import io
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_pipelines.errors import DataError
from data_pipelines.folder_names import (
    is_result,
    looks_normal,
    masked_stems,
    masks_by_name,
    may_be_normal,
    split_of,
)
from data_pipelines.pictures.formats import IMAGE_SUFFIXES
from data_pipelines.sources import Source, open_source
from data_pipelines.suffixes import UNREAD_SUFFIXES

Lay = Callable[..., Path]


def picture(kind: str) -> bytes:
    """Noise as a photograph is, or a mask that is black and white."""
    noise = np.random.default_rng(0).integers(40, 200, (20, 20, 3), np.uint8)
    mask = np.zeros((20, 20), np.uint8)
    mask[5:9, 5:9] = 255
    pixels = {"photo": noise, "mask": mask, "blank": mask * 0}[kind]
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


PHOTO, MASK, BLANK = picture("photo"), picture("mask"), picture("blank")
TRUTHS = ("ground_truth", "GroundTruth", "gt", "masks", "mask", "labels", "annotations")


@pytest.fixture
def lay(tmp_path: Path) -> Lay:
    """Lays files out below a folder called `nut`; `x/{0..2}.png` stands for three."""

    def make(*names: str, **masks: bytes) -> Path:
        base = tmp_path / "nut"
        for name in names:
            files = [name]
            if "{" in name:
                head, _, rest = name.partition("{")
                (first, last), tail = rest.partition("}")[0].split(".."), rest[-4:]
                tail = rest.partition("}")[2]
                files = [f"{head}{i}{tail}" for i in range(int(first), int(last) + 1)]
            for file in files:
                is_mask = any(masks_by_name(part) != "no" for part in Path(file).parts)
                is_mask = is_mask or masked_stems(Path(file).stem)
                (base / file).parent.mkdir(parents=True, exist_ok=True)
                (base / file).write_bytes(MASK if is_mask else PHOTO)
        return base

    return make


def read(path: Path, **options: object) -> Source:
    return open_source(f"folder:{path}", root="", prepared="", **options)


def counts(source: Source) -> tuple[int, int, int]:
    """Normal and anomalous images, and masks."""
    labels = Counter(entry.label for entry in source.index)
    return labels[0], labels[1], sum(bool(source.mask(i)) for i in range(len(source)))


def refused(path: Path, words: str, **options: object) -> None:
    with pytest.raises(DataError, match=words) as caught:
        read(path, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("truth", TRUTHS)
@pytest.mark.parametrize("kind", ["", "bad/"])
def test_c1_folders_of_masks_are_no_defects(lay, truth, kind):
    nut = lay("good/{0..5}.png", "bad/{0..5}.png", f"{truth}/{kind}{{0..5}}.png")
    source = read(nut)
    assert counts(source) == (6, 6, 6)
    assert source.description == (
        f"nut: normal: good 6; anomalous: bad 6; masks: {truth} 6",
    )


def test_c1_photographs_in_a_folder_called_like_masks_are_refused(lay):
    nut = lay("good/0.png", "bad/0.png", "labels/0.png")
    (nut / "labels/0.png").write_bytes(PHOTO)
    refused(nut, "labels is called as masks are, but its pictures are not black")


def test_c1_labels_that_are_no_pictures_are_documents(lay):
    source = read(lay("good/0.png", "bad/0.png", "labels/0.txt", "labels/0.json"))
    assert counts(source) == (1, 1, 0) and source.strays == ()


def test_c1_black_and_white_pictures_of_others_names_are_masks(lay):
    nut = lay("good/{0..3}.png", "bad/{0..3}.png", "xyz/{0..3}.png")
    assert counts(read(nut)) == (4, 8, 0)
    for file in (nut / "xyz").iterdir():
        file.write_bytes(MASK)
    refused(nut, "xyz looks like masks.*call the folder ground_truth or masks")
    # Where all pictures are black and white, these are no masks.
    for file in nut.rglob("*.png"):
        file.write_bytes(MASK)
    assert counts(read(nut)) == (4, 8, 0)


@pytest.mark.parametrize("name", ["{}_mask", "{}-mask", "{}_gt", "mask_{}", "{}_label"])
def test_c2_a_mask_beside_its_picture(lay, name):
    files = [f"bad/{name.format(i)}.png" for i in range(6)]
    source = read(lay("good/{0..5}.png", "bad/{0..5}.png", *files))
    assert counts(source) == (6, 6, 6)
    assert source.description[0].endswith("bad 6; masks: beside the pictures 6")


def test_c2_masks_beside_no_picture_or_two(lay):
    nut = lay("good/0.png", "bad/0.png", "bad/1_mask.png")
    refused(nut, r"1_mask\.png is called like the mask of 1\.\*, which is not beside")
    (nut / "bad/1.png").write_bytes(PHOTO)
    assert counts(read(nut, skip_bad_files=True)) == (1, 1, 1)
    (nut / "bad/1.jpg").write_bytes(PHOTO)
    refused(nut, "keep one mask")
    (nut / "bad/1.jpg").rename(nut / "bad/mask_1.png")
    refused(nut, "keep one mask")


def test_c2_a_photograph_called_like_a_label(lay):
    nut = lay("good/0.png", "bad/0.png", "bad/0_label.png")
    (nut / "bad/0_label.png").write_bytes(PHOTO)
    refused(nut, r"0_label\.png is called like the mask of 0\.png, but is not black")
    (nut / "bad/0.png").rename(nut / "bad/1.png")
    assert counts(read(nut)) == (1, 2, 0)


def test_c2_masks_in_two_places(lay):
    files = ("good/0.png", "bad/0.png", "gt/0.png")
    refused(lay(*files, "bad/0_mask.png"), "masks in two places, gt and the pictures")


def test_c2_two_folders_of_masks(lay):
    nut = lay("good/0.png", "bad/0.png", "gt/0.png", "masks/0.png")
    refused(nut, "two folders of masks, gt and masks")


def test_c3_images_do_not_say_what_is_normal(lay):
    nut = lay("images/{0..5}.png", "masks/{0..5}.png")
    source = read(nut)
    assert counts(source) == (0, 6, 6)
    assert "normal: none; anomalous: images 6; masks: masks 6" in source.description[0]
    assert (
        "no picture is normal, so its image metrics are undef" in source.description[1]
    )
    for i in range(3):
        (nut / f"masks/{i}.png").write_bytes(BLANK)
    refused(nut, "3 of 6 masks mark nothing.*normal pictures in a folder called good")


def test_images_may_stand_above_the_kinds(lay):
    nut = lay("images/good/0.png", "images/bad/{0..2}.png", "masks/bad/{0..2}.png")
    source = read(nut)
    assert source.classes == ("nut",) and counts(source) == (1, 3, 3)


def test_images_and_masks_may_stand_below_a_kind(lay):
    nut = lay("good/images/0.png", "bad/images/{0..2}.png", "bad/masks/{0..2}.png")
    source = read(nut)
    assert counts(source) == (1, 3, 3)
    assert source.description == (
        "nut: normal: good 1; anomalous: bad 3; masks: bad/masks 3",
    )


@pytest.mark.parametrize("name", ["healthy", "pass", "0", "N", "true", "negative"])
def test_c4_one_class_calls_its_normal_pictures_otherwise(lay, name):
    nut = lay("a/good/{0..3}.png", "a/bad/{0..3}.png", f"b/{name}/0.png", "b/bad/0.png")
    words = f"b has '{name}', and no folder.*normal_folders=good,ok,normal,no,{name} if"
    refused(nut, words)
    source = read(nut, normal_folders=("good", name))
    assert counts(source) == (5, 5, 0)
    assert source.description == (
        "a: normal: good 4; anomalous: bad 4; masks: none",
        f"b: normal: {name} 1; anomalous: bad 1; masks: none",
    )


def test_c4_a_class_without_normal_pictures_is_said(lay):
    source = read(lay("a/good/{0..3}.png", "a/bad/{0..3}.png", "b/bent/{0..3}.png"))
    assert counts(source) == (4, 8, 0)
    assert source.description[1:] == (
        "b: normal: none; anomalous: bent 4; masks: none",
        (
            "b: no picture is normal, so its image metrics are undefined and no part "
            "of the mean over classes"
        ),
    )


@pytest.mark.parametrize("name", ["good_2", "Good2", "goods", "defect-free", "clean"])
def test_c5_a_second_folder_of_normal_pictures(lay, name):
    nut = lay("good/{0..3}.png", f"{name}/{{0..3}}.png", "bad/{0..3}.png")
    words = f"has '{name}' beside 'good'.*normal_folders=good,ok,normal,no,{name} if"
    refused(nut, words)
    assert counts(read(nut, normal_folders=("good", name))) == (8, 4, 0)
    source = read(nut, normal_folders=("good",))
    assert counts(source) == (4, 8, 0)
    assert source.description[1].startswith(f"nut: '{name}' may be normal, but")


def test_c6_no_beside_ok_may_mean_no_good(lay):
    nut = lay("OK/{0..3}.png", "NO/{0..3}.png")
    refused(nut, "'OK' beside 'no', which may mean «no good».*normal_folders=OK,no")
    assert counts(read(nut, normal_folders=("OK",))) == (4, 4, 0)
    assert counts(read(nut, normal_folders=("OK", "no"))) == (8, 0, 0)


@pytest.mark.parametrize(
    "name", ["overlays", "maps", "pred", "results", "Heatmaps", "outputs"]
)
def test_c7_results_are_no_kind(lay, name):
    source = read(lay("good/{0..5}.png", "bad/{0..5}.png", f"{name}/bad/{{0..9}}.png"))
    assert counts(source) == (6, 6, 0)
    assert source.description == (
        (
            "nut: normal: good 6; anomalous: bad 6; masks: none; "
            f"not used: {name} 10 (results)"
        ),
    )


@pytest.mark.parametrize(
    ("train", "test"), [("Train", "Test"), ("train", "val"), ("TRAIN", "Validation")]
)
def test_c8_splits_are_no_classes(lay, train, test):
    nut = lay(f"{train}/good/{{0..8}}.png", f"{train}/bad/0.png")
    refused(nut, f"no split that is evaluated, only {train}; .*folder:.*{train}")
    assert counts(read(nut / train)) == (9, 1, 0)
    lay(f"{test}/good/{{0..3}}.png", f"{test}/bad/{{0..3}}.png", "gt/bad/{0..3}.png")
    source = read(nut)
    assert source.classes == ("nut",) and source.prompt_names == {"nut": "nut"}
    assert counts(source) == (4, 4, 4)
    assert source.description == (
        (
            "nut: normal: good 4; anomalous: bad 4; masks: gt 4; not used: "
            f"{train} 10 (a split that is not read)"
        ),
    )


def test_c8_splits_above_classes(lay):
    lay("train/a/good/0.png", "train/b/good/0.png", "gt/a/bad/0.png", "gt/b/bad/0.png")
    nut = lay("test/a/good/0.png", "test/b/good/0.png", "test/a/bad/0.png")
    source = read(lay("test/b/bad/0.png"))
    assert source.classes == ("a", "b") and counts(source) == (2, 2, 2)
    assert source.description == (
        "a: normal: good 1; anomalous: bad 1; masks: a 1",
        "b: normal: good 1; anomalous: bad 1; masks: b 1",
        "not used: train 2 (a split that is not read)",
    )
    (nut / "gt/a/bad/0.png").rename(nut / "gt/a/bad/1.png")
    refused(nut, "bad/0.png is anomalous but has no mask", classes=("a",))


def test_c8_a_split_without_kinds(lay):
    refused(lay("train/good/0.png", "test/0.png"), "test holds images without labels")


def test_c9_pictures_deeper_in_a_kind(lay):
    nut = lay("good/{0..2}.png", "good/lot2/{3..5}.png", "bad/{0..2}.png")
    source = read(lay("bad/lot2/a/{3..5}.png", "bad/lot2/overlays/0.png"))
    assert counts(source) == (6, 6, 0)
    assert source.description[0] == (
        "nut: normal: good 6; anomalous: bad 6; masks: none; "
        "not used: bad/lot2/overlays 1 (results)"
    )
    assert [e.defect for e in source.index] == ["good"] * 6 + ["bad"] * 6
    lay("gt/bad/{0..2}.png", "gt/bad/lot2/a/{3..5}.png")
    assert counts(read(nut)) == (6, 6, 6)


def test_c9_deeper_masks_fit_by_folder_or_are_refused(lay):
    nut = lay("good/lot1/0.png", "bad/lot1/0.png", "bad/lot2/0.png")
    assert counts(read(nut)) == (1, 2, 0)
    assert counts(read(lay("gt/bad/lot1/0.png", "gt/bad/lot2/0.png"))) == (1, 2, 2)
    for lot in ("lot1", "lot2"):
        (nut / "gt/bad" / lot / "0.png").unlink()
    lay("gt/bad/0.png")
    refused(nut, "fits two images")


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_c11_every_suffix_that_may_be_decoded_is_listed(lay, suffix):
    source = read(lay(f"good/0{suffix}", f"bad/1{suffix.upper()}", "bad/2.png"))
    assert counts(source) == (1, 2, 0)


def test_c11_pictures_that_are_not_read_are_counted(lay):
    files = [f"good/a{suffix}" for suffix in sorted(UNREAD_SUFFIXES)]
    source = read(lay("good/0.png", "bad/0.png", *files))
    assert counts(source) == (1, 1, 0)
    assert len(source.strays) == len(UNREAD_SUFFIXES)
    left = source.description[0].partition("not used: ")[2]
    assert left.startswith(f"{len(UNREAD_SUFFIXES)} pictures of a format not read, ")
    assert all(f"{suffix} 1" in left for suffix in UNREAD_SUFFIXES)


def test_c12_loose_pictures_and_masks_in_a_kind(lay):
    nut = lay("a.png", "b.png", "c.png", "d.png", "good/{0..2}.png", "bad/{0..2}.png")
    source = read(lay("bad/masks/{0..2}.png", "good/masks/0.png", "good/1_mask.png"))
    assert counts(source) == (3, 3, 3)
    assert source.description == (
        (
            "nut: normal: good 3; anomalous: bad 3; masks: bad/masks 3; not used: "
            "4 pictures in no folder of a kind (a.png, b.png, c.png and 1 more), "
            "2 masks of no anomalous picture (good/1_mask.png, good/masks/0.png)"
        ),
    )
    for file in (nut / "good/masks/0.png", nut / "good/1_mask.png"):
        file.unlink()
    refused(nut, "4 files that are not used.*data.strict=False", strict=True)


def test_c13_loose_pictures_where_a_flat_folder_would_do(lay):
    nut = lay("{0..2}.png", "good/0.png", "old/0.png")
    words = "holds 3 pictures .*beside folders of pictures .good, old.; move them"
    refused(nut, words, labelled=False)
    assert "not used: 3 pictures" in read(nut).description[0]


def test_c13_a_flat_folder_says_what_it_is(lay):
    nut = lay("{0..2}.png", "0_mask.png", "overlays/0.png", "x.tga", "y.npy", "z.csv")
    source = read(nut, labelled=False)
    assert len(source) == 3
    assert source.description == (
        (
            "nut: 3 pictures without labels; not used: overlays 1 (results), "
            "1 mask of no anomalous picture (0_mask.png), "
            "1 picture of a format not read, .tga 1 (x.tga), 1 other file (y.npy)"
        ),
    )


@pytest.mark.parametrize(
    "names",
    [
        *(("OK", "NG"), ("normal", "bad"), ("GOOD", "bad"), ("no", "yes")),
        *(
            ("Good ", "bad"),
            ("ok", "nok"),
            ("good", "not_good"),
            ("normal", "abnormal"),
        ),
    ],
)
def test_c14_names_for_good_and_bad(lay, names):
    assert counts(read(lay(*(f"{n}/{{0..2}}.png" for n in names)))) == (3, 3, 0)


@pytest.mark.parametrize(
    ("normal", "bad"),
    [
        *(("healthy", "sick"), ("defect-free", "defect"), ("0", "1"), ("pass", "fail")),
        *(("negative", "positive"), ("io", "nio"), ("N", "A"), ("goods", "defects")),
        *(("good_2", "bad"), ("No Defect", "x"), ("anomaly-free", "x"), ("正常", "x")),
    ],
)
def test_c15_other_names_for_good_are_asked_for(lay, normal, bad):
    nut = lay(f"{normal}/{{0..2}}.png", f"{bad}/{{0..2}}.png")
    listed = f"good,ok,normal,no,{normal}"
    refused(nut, f"'{normal}', and no folder.*--config.data.normal_folders={listed} if")
    assert counts(read(nut, normal_folders=listed.split(","))) == (3, 3, 0)


def test_c15_names_that_say_nothing_name_the_setting(lay):
    nut = lay("cup/{0..2}.png", "lid/{0..2}.png")
    refused(nut, "only cup, lid;.*--config.data.normal_folders=NAME")


@pytest.mark.parametrize("truth", ["mask", "GroundTruth", "Ground Truth", "GT"])
def test_c16_masks_under_other_names(lay, truth):
    source = read(lay("good/0.png", "bad/{0..2}.png", f"{truth}/bad/{{0..2}}.png"))
    assert counts(source) == (1, 3, 3)


def test_c16_unknown_names_of_masks_are_no_classes(lay):
    nut = lay("good/0.png", "bad/{0..2}.png", "cup/good/0.png")
    refused(nut, "mixes.*A folder of masks is called ground_truth or masks")


@pytest.mark.parametrize("truth", ["gt/bad", "gt", "bad/gt"])
def test_c16_masks_of_which_none_fits(lay, truth):
    nut = lay("good/0.png", "bad/0.png", f"{truth}/1.png")
    refused(nut, "bad/0.png is anomalous but has no mask")


def test_c17_only_good_only_bad(lay):
    nut = lay("good/{0..2}.png")
    assert counts(read(nut)) == (3, 0, 0)
    (nut / "good").rename(nut / "bad")
    refused(nut, "neither normal images nor masks, only bad")
    assert counts(read(lay("gt/{0..2}.png"))) == (0, 3, 3)


def test_c18_two_pictures_of_one_stem(lay):
    nut = lay("good/0.png", "bad/0.png", "bad/0.jpg")
    assert counts(read(nut)) == (1, 2, 0)
    lay("gt/0.png")
    refused(nut, r"fits two images.*0\.jpg and .*0\.png")


def test_links_to_nowhere_are_errors(lay):
    nut = lay("good/0.png", "bad/0.png")
    for name in ("bad/1.png", "bad/folder", "2.png"):
        (nut / name).symlink_to(nut / "gone.png")
        refused(nut, f"{name} is a link to what is not there .*gone.png")
        (nut / name).unlink()
    os.mkfifo(nut / "bad/1.png")
    refused(nut, r"bad/1\.png is not a regular file")


def test_links_to_folders_and_odd_files_are_named(lay):
    nut = lay(
        "good/0.png", "bad/0.png", "README", "license.txt", "Thumbs.db", "bad/x.y"
    )
    (nut / "more").symlink_to(nut / "good")
    (nut / "empty").mkdir()
    source = read(nut)
    assert source.description[0].partition("not used: ")[2] == (
        "1 other file (bad/x.y), 1 link to a folder, not followed (more), "
        "1 empty folder (empty)"
    )
    assert source.strays == ("bad/x.y", "more")


def test_classes_that_are_not_wanted_are_not_named(lay):
    nut = lay("a/good/0.png", "a/x.npy", "b/good/0.png", "b/y.npy", "c/d/e/f/0.png")
    source = read(nut, classes=("a",))
    assert source.description == (
        (
            "a: normal: good 1; anomalous: none; masks: none; "
            "not used: 1 other file (x.npy)"
        ),
        "not used: 1 picture in no folder of a kind (c/d/e/f/0.png)",
    )
    assert source.strays == ("a/x.npy", "c/d/e/f/0.png")


def test_pictures_that_lie_too_deep_are_named(lay):
    nut = lay("a/b/cup/good/{0..4}.png")
    refused(nut, "holds no images where they are looked for .5 pictures in no folder")


def test_a_class_may_be_called_like_masks(lay):
    nut = lay(
        "label/good/0.png", "label/bad/0.png", "mask/good/0.png", "cup/good/0.png"
    )
    for file in nut.rglob("*.png"):
        file.write_bytes(PHOTO)
    assert read(nut).classes == ("cup", "label", "mask")


def test_names_are_on_one_line(lay):
    source = read(lay("good/0.png", "bad\x1b[31m\n/0.png"))
    assert source.description == (
        r"nut: normal: good 1; anomalous: bad\x1b[31m\n 1; masks: none",
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Ground-Truth", "yes"),
        ("GroundTruth", "yes"),
        ("ground_truth", "yes"),
        ("binary masks", "yes"),
        ("SegmentationClass", "maybe"),
        ("label", "maybe"),
        ("mislabelled", "no"),
        ("masked_men", "no"),
    ],
)
def test_what_is_called_like_masks(name, said):
    assert masks_by_name(name) == said


def test_what_is_called_like_normal_pictures():
    for name in ("bad", "not good", "no_good", "NG", "nok", "abnormal", "good_crack"):
        assert not looks_normal(name), name
    for name in ("MVTEC", "fine_scratch", "unclean", "passage", "no_entry", "1"):
        assert not may_be_normal(name), name
    assert may_be_normal("0") and not looks_normal("0")


def test_what_is_called_like_a_split_or_results():
    assert [split_of(n) for n in ("TEST", "Val", "training", "tested", "good")] == [
        *("test", "val", "train"),
        *(None, None),
    ]
    assert is_result("Anomaly_Maps") and not is_result("mapped")
