"""What the name of a user's folder or file says: normal, masks, a split, results."""

import re
from typing import Literal

NORMAL_FOLDERS = ("good", "ok", "normal", "no")
# Names that are nothing but masks, and names that may as well be a kind of defect or a
# class: a bottle has a label.
_MASKS = frozenset(
    (
        *("groundtruth", "gt", "gts", "mask", "masks", "segmask", "segmasks"),
        *("gtmask", "gtmasks", "masksgt", "maskgt", "binarymask", "binarymasks"),
        *("defectmask", "defectmasks", "anomalymask", "anomalymasks"),
    )
)
_MAYBE_MASKS = frozenset(
    (
        *("label", "labels", "annotation", "annotations", "annot", "annots", "truth"),
        *("segmentation", "segmentations", "seg", "segs", "labelmask", "labelmasks"),
        *("segmentationclass", "segmentationobject", "segmentationmask"),
        *("segmentationmasks", "msk", "msks"),
    )
)
_RESULTS = frozenset(
    (
        *("overlay", "overlays", "map", "maps", "anomalymap", "anomalymaps"),
        *("pred", "preds", "prediction", "predictions", "predicted"),
        *("result", "results", "output", "outputs", "heatmap", "heatmaps"),
        *("visualization", "visualizations", "visualisation", "visualisations"),
        *("checkpoints", "knowledge", "export"),
    )
)
Split = Literal["test", "val", "train"]
_SPLITS: dict[str, Split] = {
    **dict.fromkeys(("test", "tests", "testing", "testset"), "test"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev"), "val"),
    **dict.fromkeys(("train", "training", "trainset", "trainval"), "train"),
}
_PICTURES = frozenset(
    ("image", "images", "img", "imgs", "picture", "pictures", "photo", "photos")
    + ("jpegimages", "input", "inputs", "rgb", "original", "originals", "data")
)
# Words that say «normal» whatever stands beside them.
_NORMAL_WORDS = frozenset(
    (
        *("good", "goods", "ok", "okay", "oks", "normal", "normals", "healthy"),
        *("defectfree", "defectless", "nondefective", "nondefect", "nodefect"),
        *("nodefects", "undamaged", "unbroken", "flawless", "faultless", "intact"),
        *("anomalyfree", "noanomaly", "nonanomalous", "nonanomaly", "noanomalies"),
        *("pass", "passed", "perfect", "fine", "clean", "acceptable", "accepted"),
        *("gut", "io", "iok", "bon", "bueno", "buono", "sano", "sain", "normale"),
        *("正常", "合格", "良品", "良好", "好"),
    )
)
# Words that may say «normal» where nothing else does.
_MAYBE_NORMAL = frozenset(
    ("0", "n", "no", "true", "negative", "negatives", "neg", "control", "controls")
    + ("benign", "reference", "golden", "background", "accept", "false")
)
# Beside a word for «normal» they change nothing of it.
_FILLERS = frozenset(
    (
        *("image", "images", "img", "imgs", "picture", "pictures", "photo", "photos"),
        *("sample", "samples", "part", "parts", "piece", "pieces", "set", "lot"),
        *("batch", "new", "old", "more", "extra", "train", "test", "val", "data"),
        *("copy", "class", "product", "products", "only", "all", "a", "b", "c", "d"),
    )
)
# What the stem of a mask in a folder of masks may add to that of its picture.
MASK_ENDINGS = ("_mask", "", "_gt", "_label", "_seg", "_segmentation", "_ground_truth")
_OF_MASKS = r"masks?|gt|ground[ _-]?truth|labels?|seg|segmentation|annotations?|anno"
_MASK_STEMS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"^(?P<stem>.+?)[ _.-]+(?P<word>{_OF_MASKS})(?:[ _.-]*\d+)?$",
        rf"^(?P<word>{_OF_MASKS})[ _.-]+(?P<stem>.+)$",
    )
)


def is_normal(name: str, normal_folders: frozenset[str]) -> bool:
    """Says whether a folder is one of those that mean normal, in any case."""
    return name.strip().lower() in normal_folders


def looks_normal(name: str) -> bool:
    """Says whether a name is one for normal pictures, such as `good_2`, `defect-free`."""
    words = [w for w in _words(name) if not w.isdecimal()]
    joined = "".join(words)
    if joined in _NORMAL_WORDS:
        return True
    return any(w in _NORMAL_WORDS for w in words) and all(
        w in _NORMAL_WORDS or w in _FILLERS for w in words
    )


def may_be_normal(name: str) -> bool:
    """Says whether a name may mean normal where no other does, such as `0`, `true`."""
    return looks_normal(name) or "".join(_words(name)) in _MAYBE_NORMAL


def masks_by_name(name: str) -> Literal["yes", "maybe", "no"]:
    """Says whether a folder's name is one for masks, or may be one."""
    joined = "".join(_words(name))
    if joined in _MASKS:
        return "yes"
    return "maybe" if joined in _MAYBE_MASKS else "no"


def is_result(name: str) -> bool:
    """Says whether a folder's name is one for results, ours or others'."""
    return "".join(_words(name)) in _RESULTS


def split_of(name: str) -> Split | None:
    """Returns the split that a folder's name stands for, None where it is none."""
    return _SPLITS.get("".join(_words(name)))


def says_pictures(name: str) -> bool:
    """Says whether a name says no more than that there are pictures."""
    return "".join(_words(name)) in _PICTURES


def masked_stems(stem: str) -> list[tuple[str, bool]]:
    """Says of which pictures beside it a file would be the mask, by its stem.

    Returns:
      The stem of each, and whether the name says no less than «mask»: `0_mask`,
      `0_gt`, `mask_0`, `0_mask_2` are of `0`, as `0_label` may be.
    """
    found = (pattern.match(stem) for pattern in _MASK_STEMS)
    return [
        (match["stem"], match["word"].lower().startswith(("mask", "gt", "ground")))
        for match in found
        if match
    ]


def _words(name: str) -> list[str]:
    """A name's words and numbers in lower case: `Good_2` is `good`, `2`."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", " ", name)
    return re.findall(r"[^\W\d_]+|\d+", parted.lower())
