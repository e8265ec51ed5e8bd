"""What the JSON documents of runs, predictions and exports look like; see `documents`.

Keys that are not here may be there: younger versions add some.
"""

from data_pipelines.pictures.reading import ORIENTATIONS
from kanoclip_jax.documents import Choice, Row, Span

_SHARE = Span(0, 1)
_COUNT = Span(0, 2**53, whole=True)
_SECONDS = Span(0)
_METRICS = ("auroc", "ap", "f1max")
_COLUMNS = (
    *(f"{what}_{metric}" for what in ("image", "pixel") for metric in _METRICS),
    *("pixel_aupro", "pixel_aupro_200"),
)
_VALUES = {name: (None, float) for name in _COLUMNS} | {
    "normal": _COUNT,
    "anomalous": _COUNT,
}
_OF_PAPER = {"image_auroc": (None, float), "pixel_auroc": (None, float)}
BACKBONE = {"name": str, "fingerprint": str}

# `config.json` of a run, and the settings in a checkpoint.
_CHANGES = {"method?": str}
SETTINGS = {
    "method": str,
    "rows?": [str],
    "seeds?": _COUNT,
    "row_settings?": {...: _CHANGES},
}
# What such settings say of CLIP, where a checkpoint alone says how it is to run.
_SIZE = Span(1, 2**20, whole=True)
READING_OF_CLIP = {
    "clip": {"name": str, "image_size": _SIZE, "position_grid": str, "dtype": str}
}
# The `meta` of a checkpoint.
CHECKPOINT = {
    "config": {
        "method": str,
        "model": dict,
        "clip?": {
            "name?": str,
            "image_size?": _SIZE,
            "position_grid?": str,
            "activation?": str,
            "input_range?": str,
            "dtype?": str,
        },
        "guide?": {"name": str},
    },
    "tree": {...: [_COUNT]},
    "clip?": BACKBONE,
    "guide?": BACKBONE,
    "seconds?": _SECONDS,
    "knowledge?": str,
    "data?": {"next_index?": _COUNT},
    "digests?": {...: str},
    "inputs?": dict,
}
# `config.json` of a head that is handed on: a checkpoint's meta, and what only it says.
HEAD = CHECKPOINT | {
    "library_name": str,
    "format": Choice((1,)),
    "files": {"model.safetensors": str, ...: str},
    "digests": {"params": str},
    "calibrated": [str],
    "pictures": {"tiles": str, "value_range": str, "orientation": Choice(ORIENTATIONS)},
    "dataset?": str,
    "classes?": [str],
    "train?": dict,
}
# `report.json` of one run.
REPORT = {
    "datasets": {
        ...: {
            "classes": {...: _VALUES},
            "mean": _VALUES,
            "published?": {...: _OF_PAPER},
            "published_elsewhere?": {
                ...: {
                    "source": str,
                    "methods": {...: {...: (None, float)}},
                }
            },
            "notes?": [str],
        }
    },
    "method": str,
    "title?": str,
    "row?": str,
    "trained?": (
        None,
        {"dataset?": str, "epochs?": _COUNT, "seed?": _COUNT},
    ),
    "image_size?": _SIZE,
    "made?": {...: str},
    "parameters?": _COUNT,
    "images_per_second?": (None, _SECONDS),
    "checkpoint": (None, str),
    "clip": BACKBONE,
    "guide?": (None, BACKBONE),
    "seconds": {"train": _SECONDS, "eval": _SECONDS},
    "absent?": {...: str},
}
# `evidence.json`, by dataset and class.
_CURVE = (None, {"x": [float], "y": [float]})
_HISTOGRAM = (None, {"edges": [float], "normal": [_SECONDS], "anomalous": [_SECONDS]})
# Where colour begins and where it saturates.
_SCALE = {"begin": _SHARE, "end": _SHARE}
_CASE = {"path": str, "defect": str, "score": float, "pictures": {...: str}}
EVIDENCE = {
    ...: {
        ...: {
            "curves": {
                "image_roc": _CURVE,
                "image_precision_recall": _CURVE,
                "pixel_roc": _CURVE,
                "pixel_precision_recall": _CURVE,
                "region_overlap": _CURVE,
            },
            "histograms": {"image": _HISTOGRAM, "pixel": _HISTOGRAM},
            "thresholds?": {"image": (None, float), "pixel": (None, float)},
            "scale?": (None, _SCALE),
            "cases": {
                kind: [_CASE] for kind in ("missed", "false_alarm", "found", "passed")
            },
        }
    }
}
# `calibration.json`.
_THRESHOLD = {"threshold": _SHARE}
CALIBRATIONS = {
    "v": Choice((1,)),
    "calibrations": [
        {
            "class_name": str,
            "identity": dict,
            "image": _THRESHOLD,
            "pixel": _THRESHOLD,
            "facts": dict,
            "scale?": (None, _SCALE),
        }
    ],
}
# A line of `predictions.jsonl`: of a picture that failed, and of one that did not.
_BOX = Row((_COUNT,) * 4)
_KNOWN = {"path": str, "class_name?": str, "bytes?": _COUNT, "modified?": float}
_FOUND = {
    "label?": (None, str),
    "map?": (None, str),
    "overlay?": (None, str),
    "box?": (None, _BOX),
    "regions?": [{"box": _BOX, "area": _COUNT, "score": _SHARE, "rle?": str}],
    "more_regions?": _COUNT,
    "width?": _COUNT,
    "height?": _COUNT,
    "smallest_px?": float,
}
PREDICTED = _KNOWN | _FOUND | {"score": _SHARE}
FAILED = _KNOWN | _FOUND | {"error": str}
# What an export says of its formats.
FORMATS = {
    "formats": {...: {"files": {...: str}}},
    "serving?": {"files": [str]},
}
_SIDE = Span(1, 2**20, whole=True)
# What stands inside a model's file, too: all else that its runner reads.
INSIDE = {
    "precision?": str,
    "v": Choice((2,)),
    "image_size": _SIDE,
    "patch_px": _SIDE,
    "batch_size": (None, _SIDE),
    "class_names": [str],
    "thresholds": {...: {"image": _SHARE, "pixel": _SHARE}},
    "scales?": {...: _SCALE},
    "reading": {
        "value_range": str,
        "max_pixels": _COUNT,
        "orientation": Choice(ORIENTATIONS),
    },
    "tiles": str,
}
# The manifest.
MANIFEST = FORMATS | INSIDE
