"""Documents of runs as they are written, small: what damage and faults are tried on."""

from kanoclip_jax.engine import shapes

_METRICS = [k for k in shapes.REPORT["datasets"][...]["mean"] if "_" in k]
_VALUES = dict.fromkeys(_METRICS, 0.5) | {"normal": 3, "anomalous": 4}
THRESHOLD = {"threshold": 0.25, "criterion": "rate", "interval": [0.2, 0.3]}
_CURVE = {"x": [0.0, 1.0], "y": [0.0, 1.0]}
_BINS = {"edges": [0.0, 0.5, 1.0], "normal": [1, 2], "anomalous": [0, 3]}
_CASE = {"path": "a.png", "defect": "bent", "score": 0.5, "pictures": {"image": "AA"}}
LINE = {
    "path": "/p/a.png",
    "class_name": "nut",
    "score": 0.5,
    "label": "normal",
    "map": None,
    "overlay": None,
    "box": [1, 2, 3, 4],
    "bytes": 3,
    "modified": 1.5,
    "regions": [{"box": [1, 2, 3, 4], "area": 4, "score": 0.5}],
}
CHECKPOINT = {
    "config": {"method": "kanoclip", "model": {}, "clip": {"name": "demo"}},
    "tree": {"prompt/ctx": [2, 12, 64]},
    "clip": {"name": "demo", "fingerprint": "ab"},
    "seconds": 1.5,
}
CHECKPOINT["config"]["clip"]["image_size"] = 128

REPORT = {
    "datasets": {
        "mpdd": {"classes": {"nut": _VALUES}, "mean": _VALUES, "notes": ["n"]}
    },
    "method": "kanoclip",
    "title": "KAnoCLIP",
    "parameters": 7,
    "checkpoint": None,
    "images_per_second": 2.5,
    "clip": {"name": "demo", "fingerprint": "ab"},
    "seconds": {"train": 1.0, "eval": 2.0},
    "absent": {"visa": "it is not there"},
}
EVIDENCE = {
    "mpdd": {
        "nut": {
            "curves": dict.fromkeys(shapes.EVIDENCE[...][...]["curves"], _CURVE),
            "histograms": {"image": _BINS, "pixel": None},
            "cases": {kind: [_CASE] for kind in shapes.EVIDENCE[...][...]["cases"]},
        }
    }
}
