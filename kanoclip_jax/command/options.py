"""What people change: the short word of each setting, and the modes that it belongs to."""

from typing import NamedTuple

from kanoclip_jax.command.arguments import nearest
from kanoclip_jax.configs import base
from kanoclip_jax.errors import InputError


class Mode(NamedTuple):
    """What one does.

    Attributes:
        subject: the setting that words after the mode are for; empty where they name
            the configuration.
        usage: what is typed after `kanoclip`.
        meaning: in a line.
        config: the configuration where none is named.
    """

    subject: str
    usage: str
    meaning: str
    config: str


MODES = {
    "train": Mode(
        "", "train [CONFIG]", "train on one dataset, evaluate others", "mvtec"
    ),
    "eval": Mode(
        "eval.datasets",
        "eval [FOLDER …]",
        "figures and a report, of datasets or folders of your own",
        "mvtec",
    ),
    "predict": Mode(
        "predict.input",
        "predict PHOTOS",
        "scores, maps and overlays of an image, a folder, a glob or a list",
        "base",
    ),
    "calibrate": Mode(
        "calibrate.input",
        "calibrate FOLDER",
        "thresholds from normal pictures of yours",
        "base",
    ),
    "watch": Mode(
        "predict.input", "watch FOLDER", "predict pictures as they land in it", "base"
    ),
    "export": Mode(
        "", "export", "ONNX, OpenVINO, StableHLO, with a runner without JAX", "base"
    ),
    "save": Mode("", "save", "what was trained, as a folder to hand on", "base"),
    "prepare": Mode(
        "", "prepare [CONFIG]", "check, count and convert the datasets", "mvtec"
    ),
    "knowledge": Mode(
        "", "knowledge [CONFIG]", "build or inspect the knowledge base", "mvtec"
    ),
}
_TRAINED = ("eval", "predict", "calibrate", "watch", "export", "save", "knowledge")
_PICTURES = ("predict", "calibrate", "watch")
_LABELS = ("predict", "watch", "export")


class Option(NamedTuple):
    """A setting with a short word.

    Attributes:
        word: the flag's name.
        key: the setting.
        meaning: in a line.
        modes: that it is for; all where empty.
    """

    word: str
    key: str
    meaning: str
    modes: tuple[str, ...] = ()


# A method's name is that of a row, too, which brings its settings.
OPTIONS = (
    Option("method", "method", f"one of {', '.join(base.ROW_SETTINGS)}"),
    Option("clip", "clip.name", "the backbone: an id of the hub, a folder, demo"),
    Option("image-size", "clip.image_size", "side of what the model sees, pixels"),
    Option("data", "data.root", "holds a folder for each dataset, by its id"),
    Option("value-range", "data.value_range", "black and white: auto, 12bit, LOW,HIGH"),
    Option(
        "checkpoint",
        "checkpoint",
        "for all but train, what was trained: a run's checkpoints, a step, a "
        "saved head, or a .pth",
        _TRAINED,
    ),
    Option("dataset", "train.dataset", "what is trained on", ("train",)),
    Option("epochs", "train.epochs", "how often each picture is seen", ("train",)),
    Option("batch-size", "train.batch_size", "pictures a step", ("train",)),
    Option("seeds", "seeds", "repeat, and report means", ("train", "eval")),
    Option("datasets", "eval.datasets", "what is evaluated", ("train", "eval")),
    Option("batch-size", "eval.batch_size", "pictures at once", ("eval",)),
    Option(
        "class-name",
        "predict.class_name",
        "what the pictures show, for the prompts",
        _PICTURES,
    ),
    Option(
        "batch-size", "predict.batch_size", "pictures at once", ("predict", "calibrate")
    ),
    Option(
        "tiles",
        "predict.tiles",
        "large pictures in windows: never, auto, or their side",
        (*_PICTURES, "export"),
    ),
    Option(
        "threshold",
        "predict.threshold",
        "a score above it is anomalous; calibrated where empty",
        _LABELS,
    ),
    Option(
        "pixel-threshold",
        "predict.pixel_threshold",
        "of maps, for outlines; calibrated where empty",
        _LABELS,
    ),
    Option(
        "calibration",
        "predict.calibration",
        "whose thresholds: auto, never, or a calibration.json",
        ("predict", "watch"),
    ),
    Option(
        "min-area",
        "predict.min_area",
        "regions of fewer pixels are left out",
        ("predict", "watch"),
    ),
    Option(
        "coco",
        "predict.coco",
        "regions in coco.json: polygons, rle, or never",
        ("predict", "watch"),
    ),
    Option(
        "rate",
        "calibrate.target_rate",
        "share of false alarms that you can live with",
        ("calibrate",),
    ),
    Option(
        "criterion",
        "calibrate.criterion",
        "what thresholds are for: rate, or f1",
        ("calibrate",),
    ),
    Option("formats", "export.formats", "what is written", ("export",)),
    Option(
        "class-names",
        "export.class_names",
        "the classes that it shall know",
        ("export",),
    ),
    Option("folder", "save.folder", "where the head goes", ("save",)),
    Option("license", "save.license", "for the model's card", ("save",)),
)


def setting_of(name: str, mode: str) -> str | None:
    """The setting that a flag is short for; None where it is no short word.

    Args:
        name: the flag's, with `-` or `_`.
        mode: for which it is asked.

    Raises:
        InputError: it is another mode's.
    """
    of_word = [option for option in OPTIONS if option.word == name.replace("_", "-")]
    for option in of_word:
        if mode in option.modes or not option.modes:
            return option.key
    if not of_word:
        return None
    theirs = list(dict.fromkeys(mode for option in of_word for mode in option.modes))
    raise InputError(
        f"--{name} is a flag of {', '.join(theirs)}, and the mode is {mode}; "
        f"`kanoclip {mode} --help` lists its own"
    )


def check_mode(mode: str) -> None:
    """Refuse what is none.

    Raises:
        InputError: names all.
    """
    if mode not in MODES:
        raise InputError(
            f"{mode!r} is no mode.{nearest(mode, MODES)} Allowed: {', '.join(MODES)}"
        )
