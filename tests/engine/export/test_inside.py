"""What stands in an export's files, and who can take them: servers, JAX, one alone."""

import json
import re
import stat
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from jaxtyping import Array
from ml_collections import FrozenConfigDict
from safetensors.numpy import load_file

from data_pipelines.digests import is_whole
from kanoclip_jax.engine.export import formats, run, serving
from kanoclip_jax.engine.export.agreement import Sample
from kanoclip_jax.engine.export.description import inside
from kanoclip_jax.engine.export.program import Program
from kanoclip_jax.engine.export.runner import Detector
from kanoclip_jax.errors import InputError
from kanoclip_jax.models.base import Detection, Method

sys.modules.setdefault("openvino_telemetry", None)
onnx = pytest.importorskip("onnx")
openvino = pytest.importorskip("openvino")
pytest.importorskip("onnxruntime")

SIDE = 8
SAID = {
    "v": 2,
    "created": "2026-01-02",
    "method": "kanoclip",
    "image_size": SIDE,
    "patch_px": 4,
    "batch_size": None,
    "tiles": "never",
    "reading": {"value_range": "auto", "max_pixels": 10**8, "orientation": "upright"},
    "identity": {"method": "kanoclip"},
    "class_names": ["metal nut"],
    "thresholds": {"metal nut": {"image": 0.25, "pixel": 0.5}},
    "inputs": {"image": ["uint8", "batch", SIDE, SIDE, 3]},
    "outputs": {
        "anomaly_map": ["float32", "batch", SIDE, SIDE],
        "score": ["float32", "batch"],
    },
    "checkpoint": "/home/me/runs/checkpoints/7",
    "versions": {"kanoclip-jax": "1.2"},
}


class Toy(Method):
    """A map of colours weighted, and a score with an offset for each class."""

    clip = None

    def prompts(self, frozen, class_names):
        raise NotImplementedError

    text = prompts

    def visual(self, frozen, images: Array) -> Array:
        return images.astype(np.float32) @ frozen["clip"]["vision"]

    def detect(self, frozen, params, visual: Array, text: Array) -> Detection:
        maps = visual * params["gain"]
        return Detection(maps, maps.max((1, 2)) / 2 + text[:, 0])


def write(workdir: Path, names: tuple[str, ...], inputs: dict) -> Path:
    """An export of the toy by the code that writes those of methods."""
    frozen = {"clip": {"vision": np.float32([1, 2, 1]), "text": np.ones(9)}}
    params = {"gain": np.float32(1 / 1024)}
    text = np.float32([[0], [0.25]])[: len(names)]
    program = Program(Toy(), frozen, params, text, names, SIDE)
    images = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), np.uint8)
    classes = np.arange(2, dtype=np.int32) % len(names)
    maps = (images @ np.float32([1, 2, 1])).astype(np.float32) / 1024
    scores = maps.max((1, 2)) / 2 + text[classes, 0]
    given = run.Given(Sample(images, classes, maps, scores), None)
    export = {"formats": ("onnx", "openvino", "stablehlo"), "serving": True}
    manifest = SAID | {"class_names": list(names), "inputs": inputs}
    assert run._write(FrozenConfigDict(export), program, given, workdir, manifest) == ""
    return workdir / "export"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """All formats of a model of one class, and a model repository."""
    place = tmp_path_factory.mktemp("one_class")
    return write(place, ("metal nut",), SAID["inputs"])


@pytest.fixture(scope="module")
def said(folder) -> dict:
    return json.loads((folder / "manifest.json").read_text())


def in_onnx(file: Path) -> dict[str, str]:
    model = onnx.load(file, load_external_data=False)
    return {entry.key: entry.value for entry in model.metadata_props}


def in_openvino(file: Path) -> dict[str, str]:
    model = openvino.Core().read_model(file)
    assert "framework" not in model.rt_info
    return model.get_rt_info("model_info").value


def test_files_say_what_the_manifest_says_but_where_it_was(folder, said) -> None:
    found = [in_onnx(folder / "model.onnx"), in_openvino(folder / "model.xml")]
    for one in found:
        document = json.loads(one["kanoclip"])
        assert is_whole(document) and document["precision"] == "float32"
        assert not {"checkpoint", "formats", "runner"} & document.keys()
        for key in ("v", "class_names", "thresholds", "reading", "tiles", "identity"):
            assert document[key] == said[key], key
        assert set(one) == {"kanoclip", *PLAIN}
        assert all(one[key] == value for key, value in PLAIN.items())


# OpenVINO Model API's words among them.
PLAIN = {
    "method": "kanoclip",
    "class_names": '["metal nut"]',
    "image_size": "8",
    "precision": "float32",
    "created": "2026-01-02",
    "version": "1.2",
    "model_type": "AnomalyDetection",
    "task": "segmentation",
    "labels": "Normal Anomaly",
    "image_threshold": "0.25",
    "pixel_threshold": "0.5",
}


def test_a_file_names_no_folder_of_the_machine(tmp_path) -> None:
    document = json.loads(inside(SAID | {"clip": str(tmp_path)}).document)
    assert document["clip"] == tmp_path.name
    assert "/home/me" not in json.dumps(document)


def test_thresholds_stand_in_plain_words_where_one_class_has_them() -> None:
    document, plain = inside(SAID, "int8")
    assert json.loads(document)["precision"] == plain["precision"] == "int8"
    assert plain | {"precision": "float32"} == PLAIN
    both = SAID | {"class_names": ["metal nut", "cup"]}
    assert "image_threshold" not in inside(both).plain


def test_a_model_of_one_class_takes_pictures_alone(folder, said) -> None:
    assert list(said["inputs"]) == ["image"]
    model = onnx.load(folder / "model.onnx")
    assert [one.name for one in model.graph.input] == ["image"]
    read = openvino.Core().read_model(folder / "model.xml")
    assert [one.any_name for one in read.inputs] == ["image"]


def test_a_model_of_two_classes_takes_theirs_too(tmp_path) -> None:
    index = {"class_index": ["int32", "batch"]}
    folder = write(tmp_path, ("metal nut", "cup"), SAID["inputs"] | index)
    model = onnx.load(folder / "model.onnx")
    assert [one.name for one in model.graph.input] == ["image", "class_index"]
    picture = np.full((SIDE, SIDE, 3), 64, np.uint8)
    for name in ("model.onnx", "model.xml", "."):
        detector = Detector(folder / name)
        scores = [detector.predict(picture, n).score for n in ("metal nut", "cup")]
        # A quarter in every pixel.
        assert scores == [0.125, 0.375]


def test_a_file_alone_is_a_detector(folder, tmp_path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    expected = Detector(folder).predict(picture, "metal nut")
    for name in ("model.onnx", "model.bin", "model.xml"):
        # Without a manifest beside them.
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    for name, backend in (("model.onnx", "onnxruntime"), ("model.xml", "openvino")):
        detector = Detector(tmp_path / name)
        assert detector.backend == backend
        found = detector.predict(picture)
        np.testing.assert_array_equal(found.anomaly_map, expected.anomaly_map)
        assert found.label == expected.label == "anomalous"
        assert found.thresholds == (0.25, 0.5)
    with pytest.raises(InputError, match="is for 'openvino'; take that, or 'auto'"):
        Detector(tmp_path / "model.xml", backend="onnxruntime")
    with pytest.raises(InputError, match="'int8', and .* holds 'float32'; leave it"):
        Detector(tmp_path / "model.xml", precision="int8")
    silent = onnx.load(tmp_path / "model.onnx")
    del silent.metadata_props[:]
    onnx.save(silent, tmp_path / "silent.onnx")
    with pytest.raises(InputError, match="says nothing of its classes"):
        Detector(tmp_path / "silent.onnx")
    edited = {"kanoclip": in_onnx(folder / "model.onnx")["kanoclip"]}
    edited["kanoclip"] = edited["kanoclip"].replace("metal nut", "metal cup")
    onnx.helper.set_model_props(silent, edited)
    onnx.save(silent, tmp_path / "edited.onnx")
    with pytest.raises(InputError, match="says of itself was edited"):
        Detector(tmp_path / "edited.onnx")


def test_stablehlo_is_called_with_its_weights(folder, said) -> None:
    """The three lines that the documentation shows."""
    program = jax.export.deserialize((folder / "model.stablehlo").read_bytes())
    weights = load_file(folder / "model.safetensors")
    images = np.random.default_rng(1).integers(0, 256, (2, SIDE, SIDE, 3), np.uint8)
    maps, scores = program.call(weights, images)
    expected = images @ np.float32([1, 2, 1]) / 1024
    np.testing.assert_allclose(maps, expected, rtol=1e-6)
    np.testing.assert_allclose(scores, expected.max((1, 2)) / 2, rtol=1e-6)
    # What is never read is not there.
    assert sorted(weights) == ["frozen/clip/vision", "params/gain", "text"]
    assert set(said["formats"]["stablehlo"]["files"]) == {
        "model.safetensors",
        "model.stablehlo",
    }


def test_stablehlo_that_holds_its_weights_still_runs(tmp_path) -> None:
    def program(image: jax.Array, index: jax.Array) -> tuple[jax.Array, jax.Array]:
        return image[..., 0] * np.float32(0.5), index + np.float32(1)

    types = (
        jax.ShapeDtypeStruct((2, 4, 4, 3), np.uint8),
        jax.ShapeDtypeStruct((2,), np.int32),
    )
    exported = jax.export.export(jax.jit(program))(*types)
    (tmp_path / "model.stablehlo").write_bytes(exported.serialize())
    run = formats.load_stablehlo(tmp_path)
    maps, scores = run(np.full((2, 4, 4, 3), 6, np.uint8), np.int32([0, 4]))
    assert maps.tolist() == np.full((2, 4, 4), 3.0).tolist()
    assert scores.tolist() == [1.0, 5.0]


def parse_pbtxt(text: str) -> dict[str, list]:
    """Protocol buffers' text, in as much as configurations of models need."""
    tokens = re.findall(r'"(?:[^"\\]|\\.)*"|[\w.-]+|[{}\[\]:,]', text)

    def value() -> object:
        token = tokens.pop(0)
        if token == "[":
            items = []
            while (token := tokens.pop(0)) != "]":
                items += [] if token == "," else [int(token)]
            return items
        if token.startswith('"'):
            return json.loads(token)
        return int(token) if token.lstrip("-").isdigit() else token

    def message() -> dict[str, list]:
        found: dict[str, list] = {}
        while tokens and tokens[0] != "}":
            key = tokens.pop(0)
            if tokens.pop(0) == "{":
                found.setdefault(key, []).append(message())
                assert tokens.pop(0) == "}"
            else:
                found.setdefault(key, []).append(value())
        return found

    return message()


def test_servers_are_told_what_the_model_takes(folder, said) -> None:
    root = folder / "serving"
    assert said["serving"]["models"] == ["kanoclip-metal_nut"]
    assert {str(path.relative_to(root)) for path in root.rglob("*.*")} == {
        "config.json",
        "kanoclip-metal_nut/config.pbtxt",
        "kanoclip-metal_nut/labels.txt",
        "kanoclip-metal_nut/1/model.bin",
        "kanoclip-metal_nut/1/model.onnx",
        "kanoclip-metal_nut/1/model.xml",
    }
    (entry,) = json.loads((root / "config.json").read_text())["model_config_list"]
    assert entry == {
        "config": {"name": "kanoclip-metal_nut", "base_path": "kanoclip-metal_nut"}
    }
    own = root / "kanoclip-metal_nut"
    assert (own / "labels.txt").read_text() == "metal nut\n"
    # The same file, not a copy.
    assert (own / "1" / "model.bin").samefile(folder / "model.bin")
    config = parse_pbtxt((own / "config.pbtxt").read_text())
    assert config["name"] == ["kanoclip-metal_nut"]
    assert config["backend"] == ["onnxruntime"] and config["max_batch_size"] == [0]
    model = onnx.load(own / "1" / config["default_model_filename"][0])
    kinds = onnx.TensorProto
    names = {
        kinds.UINT8: "TYPE_UINT8",
        kinds.INT32: "TYPE_INT32",
        kinds.FLOAT: "TYPE_FP32",
    }
    for key, tensors in (("input", model.graph.input), ("output", model.graph.output)):
        expected = [
            {
                "name": [tensor.name],
                "data_type": [names[tensor.type.tensor_type.elem_type]],
                "dims": [
                    [d.dim_value or -1 for d in tensor.type.tensor_type.shape.dim]
                ],
            }
            for tensor in tensors
        ]
        assert config[key] == expected
    parameters = {
        one["key"][0]: json.loads(one["value"][0]["string_value"][0])
        for one in config["parameters"]
    }
    assert parameters == {
        "class_names": ["metal nut"],
        "thresholds": {"metal nut": {"image": 0.25, "pixel": 0.5}},
        "image_size": 8,
    }


def test_no_folder_of_an_earlier_model_is_left_to_servers(tmp_path) -> None:
    for name in ("cup", "nut"):
        partial = tmp_path / "export.partial"
        (partial / "serving" / name / "1").mkdir(parents=True)
        (partial / "serving" / name / "1" / "model.onnx").write_text(name)
        (partial / "runner.py").write_text("")
        files = {"files": [f"serving/{name}/1/model.onnx"]}
        manifest = {"formats": {"onnx": {"files": {}}}, "serving": files}
        run._keep(partial, tmp_path / "export", manifest)
        # A user's own.
        (tmp_path / "export" / "serving" / "mine").mkdir(exist_ok=True)
    served = [path.name for path in (tmp_path / "export" / "serving").iterdir()]
    assert sorted(served) == ["mine", "nut"]


def test_configurations_of_other_backends_and_batches() -> None:
    manifest = SAID | {"inputs": {"image": ["uint8", 4, 336, 336, 3]}}
    config = parse_pbtxt(serving.triton_config("n", "openvino", "model.xml", manifest))
    assert config["input"][0]["dims"] == [[4, 336, 336, 3]]
    assert config["output"][1]["dims"] == [[-1]]
    assert json.loads(config["parameters"][1]["value"][0]["string_value"][0]) == {
        "metal nut": {"image": 0.25, "pixel": 0.5}
    }
    assert serving.model_name(SAID) == "kanoclip-metal_nut"
    assert serving.model_name(SAID | {"class_names": ["a", "b"]}) == "kanoclip"
    serving.check_serving(("openvino", "stablehlo"))
    with pytest.raises(InputError, match="export.serving needs onnx or openvino"):
        serving.check_serving(("stablehlo",))


def test_everybody_may_read_what_is_exported(folder) -> None:
    """Under the umask that is usual, 022."""
    modes = {
        stat.S_IMODE(path.stat().st_mode)
        for path in folder.rglob("*")
        if path.is_file()
    }
    assert modes == {0o644}
