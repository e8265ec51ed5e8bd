"""A model repository that OpenVINO Model Server and Triton load as it is.

serving/config.json              OpenVINO Model Server: --config_path
serving/NAME/config.pbtxt        Triton: --model-repository=serving
serving/NAME/labels.txt          the classes, in the order of `class_index`
serving/NAME/1/model.*           the files of the export, hard-linked where possible
"""

import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kanoclip_jax.engine.export.runtimes import INT8
from kanoclip_jax.errors import InputError

FOLDER = "serving"
_CONFIG, _TRITON, _LABELS = "config.json", "config.pbtxt", "labels.txt"
# By format: Triton's backend, and the file that it looks for. The first there is taken.
_BACKENDS = {
    "onnx": ("onnxruntime", "model.onnx"),
    "openvino": ("openvino", "model.xml"),
    INT8: ("openvino", "model-int8.xml"),
}
_TYPES = {"uint8": "TYPE_UINT8", "int32": "TYPE_INT32", "float32": "TYPE_FP32"}


def check_serving(formats: tuple[str, ...]) -> None:
    """Refuse formats that no server takes.

    Raises:
        InputError: none of them is one that it does.
    """
    if not set(formats) & set(_BACKENDS):
        raise InputError(
            f"export.serving needs onnx or openvino, and export.formats is "
            f"{','.join(formats)!r}; add one of them"
        )


def lay_out(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Write the repository into the folder of an export.

    Float32 and 8-bit integers are two models of it, NAME and NAME-int8.

    Args:
        folder: which holds the formats' files.
        manifest: what is said of them.

    Returns:
        Its models' names, and its files relative to the folder.
    """
    root, formats = folder / FOLDER, manifest["formats"]
    exact = [name for name in _BACKENDS if name in formats and name != INT8]
    models = {model_name(manifest): exact} if exact else {}
    if INT8 in formats:
        models[f"{model_name(manifest)}-int8"] = [INT8]
    for name, kinds in models.items():
        own = root / name
        (own / "1").mkdir(parents=True)
        for kind in kinds:
            for file in formats[kind]["files"]:
                _link(folder / file, own / "1" / file)
        backend, file = _BACKENDS[kinds[0]]
        text = triton_config(name, backend, file, manifest)
        (own / _TRITON).write_text(text, encoding="utf-8")
        lines = "".join(f"{line}\n" for line in manifest["class_names"])
        (own / _LABELS).write_text(lines, encoding="utf-8")
    # ONNX is for OpenVINO's server, too, where there is nothing else.
    entries = [{"config": {"name": name, "base_path": name}} for name in models]
    content = json.dumps({"model_config_list": entries}, indent=2)
    (root / _CONFIG).write_text(f"{content}\n", encoding="utf-8")
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {
        "models": list(models),
        "files": [path.relative_to(folder).as_posix() for path in files],
    }


def model_name(manifest: Mapping[str, Any]) -> str:
    """The model's name: its method's, and its class's where it knows one alone."""
    names = manifest["class_names"]
    words = [manifest["method"], *(names if len(names) == 1 else [])]
    return re.sub(r"[^\w.-]+", "_", "-".join(words), flags=re.ASCII).strip("_")


def triton_config(
    name: str, backend: str, file: str, manifest: Mapping[str, Any]
) -> str:
    """Triton's `config.pbtxt` of a model.

    Without its own batching (`max_batch_size: 0`), so that a request has the shapes of
    the model, and the same ones for both servers.
    """
    parts = [
        f"name: {json.dumps(name)}",
        f"backend: {json.dumps(backend)}",
        f"default_model_filename: {json.dumps(file)}",
        "max_batch_size: 0",
    ]
    for key in ("inputs", "outputs"):
        for tensor, (kind, *dims) in manifest[key].items():
            sizes = ", ".join(str(d) if isinstance(d, int) else "-1" for d in dims)
            parts.append(
                f"{key[:-1]} {{\n  name: {json.dumps(tensor)}\n"
                f"  data_type: {_TYPES[kind]}\n  dims: [ {sizes} ]\n}}"
            )
    said = {key: manifest[key] for key in ("class_names", "thresholds", "image_size")}
    for key, value in said.items():
        # A string within a string: JSON, with the quotes of protocol buffers.
        text = json.dumps(json.dumps(value))
        parts.append(
            f"parameters {{\n  key: {json.dumps(key)}\n"
            f"  value {{ string_value: {text} }}\n}}"
        )
    return "\n".join(parts) + "\n"


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        # Some file systems have no links.
        shutil.copyfile(source, target)
