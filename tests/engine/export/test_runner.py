"""The runner of exported models gives what the package gives, without the package."""

import fcntl
import hashlib
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from ml_collections import FrozenConfigDict
from PIL import Image

from data_pipelines.errors import DataError
from kanoclip_jax.engine.export.runner import Answers
from kanoclip_jax.engine.export.standalone import standalone
from kanoclip_jax.engine.prediction import predict
from kanoclip_jax.engine.prediction.detecting import Detecting, Prediction
from kanoclip_jax.verdict import Thresholds

# As the runner and the export: reading a model would report its use over the network.
sys.modules.setdefault("openvino_telemetry", None)
onnx = pytest.importorskip("onnx")
openvino = pytest.importorskip("openvino")
pytest.importorskip("onnxruntime")

SIZE = 16
CLASSES = ("metal nut", "cup")
LIMITS = Thresholds(0.3, 0.35)
SATURATES = 0.6
PATCH = 4
READING = {"value_range": "auto", "max_pixels": 10**8, "orientation": "upright"}


class Package(Detecting):
    """The package's detector around the formula that `write_onnx` writes down."""

    def __init__(self, min_area: int = 1, tiles: str = "never") -> None:
        self.image_size, self.patch, self.batch_size = SIZE, PATCH, 2
        self.min_area, self.tiles, self.identity = min_area, tiles, {}

    @property
    def calibrated(self) -> tuple[str, ...]:
        return ("metal nut",)

    def named(self, class_name: str | None) -> str:
        return class_name or "metal nut"

    def limits(self, class_name: str) -> Thresholds | None:
        return {"metal nut": LIMITS}.get(class_name.replace("_", " "))

    def saturates(self, class_name: str) -> float | None:
        return SATURATES if class_name.replace("_", " ") == "metal nut" else None

    def detections(self, class_name: str, batches: Iterable) -> Iterator:
        for batch in batches:
            # Exact in single precision, whoever adds in whatever order.
            maps = batch["image"].astype(np.float32).sum(-1) / np.float32(1024)
            offset = np.float32([0, 0.25])[CLASSES.index(class_name.replace("_", " "))]
            yield batch, Answers(maps, maps.max((1, 2)) / 2 + offset)


def write_onnx(path: Path, batch: int | None) -> None:
    make, kind = onnx.helper, onnx.TensorProto
    rows = batch or "b"
    constants = {
        "scale": np.float32(1 / 1024),
        "half": np.float32(0.5),
        "offsets": np.float32([0, 0.25]),
        "channels": np.int64([3]),
    }
    graph = make.make_graph(
        [
            make.make_node("Cast", ["image"], ["pixels"], to=kind.FLOAT),
            make.make_node("ReduceSum", ["pixels", "channels"], ["sum"], keepdims=0),
            make.make_node("Mul", ["sum", "scale"], ["anomaly_map"]),
            make.make_node(
                "ReduceMax", ["anomaly_map"], ["highest"], axes=[1, 2], keepdims=0
            ),
            make.make_node("Mul", ["highest", "half"], ["halved"]),
            make.make_node("Gather", ["offsets", "class_index"], ["offset"]),
            make.make_node("Add", ["halved", "offset"], ["score"]),
        ],
        "detector",
        [
            make.make_tensor_value_info("image", kind.UINT8, [rows, SIZE, SIZE, 3]),
            make.make_tensor_value_info("class_index", kind.INT32, [rows]),
        ],
        [
            make.make_tensor_value_info("anomaly_map", kind.FLOAT, [rows, SIZE, SIZE]),
            make.make_tensor_value_info("score", kind.FLOAT, [rows]),
        ],
        [onnx.numpy_helper.from_array(v, name) for name, v in constants.items()],
    )
    opsets = [make.make_opsetid("", 13)]
    onnx.save(make.make_model(graph, opset_imports=opsets, ir_version=8), path)


def write_export(folder: Path, batch: int | None = None) -> Path:
    """A folder as an export leaves it."""
    folder.mkdir()
    write_onnx(folder / "model.onnx", batch)
    model = openvino.convert_model(folder / "model.onnx")
    openvino.save_model(model, folder / "model.xml", compress_to_fp16=False)
    files = {"onnx": ["model.onnx"], "openvino": ["model.xml", "model.bin"]}
    manifest = {
        "v": 2,
        "image_size": SIZE,
        "patch_px": PATCH,
        "reading": READING,
        "tiles": "never",
        "batch_size": batch,
        "class_names": list(CLASSES),
        "thresholds": {"metal nut": {"image": LIMITS.image, "pixel": LIMITS.pixel}},
        "scales": {"metal nut": {"begin": LIMITS.pixel, "end": SATURATES}},
        "formats": {
            kind: {"files": {name: digest(folder / name) for name in names}}
            for kind, names in files.items()
        },
        "versions": {"jax": "0.10"},
        "unknown": "to the runner",
    }
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    (folder / "runner.py").write_text(standalone(), encoding="utf-8")
    return folder


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The one file, imported as its users do."""
    path = tmp_path_factory.mktemp("runner") / "runner.py"
    path.write_text(standalone(), encoding="utf-8")
    spec = importlib.util.spec_from_file_location("exported_runner", path)
    module = importlib.util.module_from_spec(spec)
    # Its dataclasses look for themselves here.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export for any batch; read it only."""
    return write_export(tmp_path_factory.mktemp("any") / "export")


@pytest.fixture
def copied(export: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(export, tmp_path / "export"))


def write_pictures(folder: Path) -> list[Path]:
    """Good pictures of several kinds."""
    rng = np.random.default_rng(0)
    colour = Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8))
    grey = colour.convert("L")
    files: dict[str, bytes] = {}

    def put(name: str, image: Image.Image, kind: str = "PNG", **options: object):
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        files[name] = buffer.getvalue()

    deep = np.asarray(grey).astype(np.uint16) * 257
    put("deep.png", Image.fromarray(deep))
    put("palette.png", colour.convert("P"))
    exif = Image.Exif()
    exif[0x0112] = 6
    put("turned.jpg", colour, "JPEG", exif=exif)
    put("1x1.png", Image.new("RGB", (1, 1), (200, 100, 50)))
    put("thin.png", Image.linear_gradient("L").resize((1, 900)))
    put("hot.png", Image.linear_gradient("L").resize((700, 500)).rotate(30))
    put("deep/ünï.JPG", colour.rotate(90), "JPEG")
    put("deep__ünï.JPG", grey, "JPEG")
    put("ü" * 120 + ".png", colour)
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return [folder / name for name in files]


def assert_same(mine: Any, theirs: Prediction) -> None:
    names = ("class_name", "score", "label", "thresholds", "regions", "boxes")
    for name in (*names, "smallest", "warning"):
        assert getattr(mine, name) == getattr(theirs, name), name
    assert type(mine.score) is float
    for name in ("anomaly_map", "mask"):
        one, other = getattr(mine, name), getattr(theirs, name)
        assert getattr(one, "dtype", None) == getattr(other, "dtype", None)
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_pictures_are_predicted_as_by_the_package(runner, export, tmp_path, backend):
    paths = write_pictures(tmp_path)
    array = np.random.default_rng(1).integers(0, 2**16, (9, 7), np.uint16)
    pictures = [*paths, array, Image.new("LAB", (5, 3), (120, 130, 140))]
    mine, theirs = runner.Detector(export, backend=backend, min_area=3), Package(3)
    labels = set()
    for name, threshold in (("metal_nut", None), ("cup", 0.4), ("cup", (0.9, 0.1))):
        expected = theirs.predict(pictures, name, threshold)
        for one, other in zip(
            mine.predict(pictures, name, threshold), expected, strict=True
        ):
            assert_same(one, other)
            labels.add(one.label)
    assert labels == {"normal", "anomalous"}
    found = mine.predict(paths[0], "cup")
    assert_same(found, theirs.predict(paths[0], "cup"))
    assert (found.label, found.mask, found.boxes) == (None, None, ())
    for wrong in (np.zeros((3, 3)), np.zeros((0, 3), np.uint8), 7):
        with pytest.raises(DataError) as expected:
            theirs.predict([pictures[0], wrong], "cup")
        with pytest.raises(runner.DataError) as caught:
            mine.predict([pictures[0], wrong], "cup")
        # Settings are called otherwise there.
        words = [
            str(error.value).replace("--config.data.value_range", "--value-range")
            for error in (caught, expected)
        ]
        assert words[0] == words[1]


def test_large_pictures_are_predicted_in_windows_as_by_the_package(runner, export):
    picture = np.zeros((60, 700), np.uint8)
    picture[20:24, 500:504] = 255
    mine = runner.Detector(export, batch_size=3, tiles="auto")
    found = mine.predict(picture, "cup", (0.4, 0.3))
    assert_same(found, Package(tiles="auto").predict(picture, "cup", (0.4, 0.3)))
    (x, y, width, height), *others = found.boxes
    assert not others and 495 < x <= 500 and 504 <= x + width < 509
    assert 15 < y <= 20 and 24 <= y + height < 29 and found.smallest == 4
    assert not runner.Detector(export).predict(picture, "cup", (0.4, 0.3)).boxes


def test_thresholds_belong_to_the_settings_that_they_were_made_with(runner, export):
    assert runner.Detector(export).limits("Metal_Nut") == LIMITS
    for options, words in (
        ({"tiles": "64"}, "belong to another tiles"),
        ({"value_range": "12bit", "tiles": 64}, "belong to another value_range and"),
    ):
        detector = runner.Detector(export, **options)
        assert detector.thresholds("metal nut") is None and not detector.calibrated
        (note,) = detector.notes
        assert words in note
    with pytest.raises(runner.InputError, match="tiles is 'x'; allowed: never, auto"):
        runner.Detector(export, tiles="x")
    with pytest.raises(runner.DataError, match="value_range is '99bit'; allowed are"):
        runner.Detector(export, value_range="99bit")


def test_settings_of_pictures_are_those_of_the_manifest(runner, copied):
    deep = np.tile(np.uint16([0, 1024, 1536, 2048]), (SIZE, 4))
    with pytest.warns(UserWarning, match="nearly black.*--value-range"):
        found = runner.Detector(copied).predict(deep, "cup")
    assert "nearly black" in found.warning
    edit(copied, reading=READING | {"value_range": "12bit", "max_pixels": 50})
    detector = runner.Detector(copied)
    found = detector.predict(deep, "cup")
    # 128 of 255, three times.
    levels = deep[:, :4] / 16
    assert (found.score, found.warning) == (0.25 + 3 * 128 / 2048, "")
    np.testing.assert_allclose(found.anomaly_map[:, :4], 3 * levels / 1024, atol=2e-3)
    assert detector.identity["data.value_range"] == "12bit"
    assert runner.Detector(copied, value_range="0,4096").predict(
        deep, "cup"
    ).score == pytest.approx(0.25 + 3 * 128 / 2048)
    assert detector.reading.max_pixels == 50
    assert runner.Detector(copied, max_pixels=7).reading.max_pixels == 7


def test_no_number_is_no_result(runner, export, monkeypatch):
    detector = runner.Detector(export, batch_size=2)
    pictures = [np.full((3, 3), level, np.uint8) for level in (10, 20, 30)]

    def spoil(inputs: dict) -> tuple[np.ndarray, np.ndarray]:
        maps = inputs["image"].astype(np.float32).mean(-1) / 255
        maps[inputs["image"][:, 0, 0, 0] == 20, 1, 1] = np.nan
        return maps, maps[:, 0, 0]

    monkeypatch.setattr(detector, "_run", spoil)
    with pytest.raises(runner.DataError, match="picture 1: its anomaly map holds nan"):
        detector.predict(pictures, "cup")
    loaded = [(n, runner.picture_from_array(p, "")) for n, p in enumerate(pictures)]
    errors = [bool(one.error) for one in detector.score("cup", loaded)]
    assert errors == [False, True, False]


def test_devices_that_are_not_there_are_named(runner, export):
    for backend, device, words in (
        ("openvino", "NPU", "'NPU', which OpenVINO does not find here; .*'CPU'"),
        ("onnxruntime", "cuda", "'CUDA', which this ONNX Runtime does not have"),
        ("onnxruntime", "tpu", "it has 'CPU'"),
    ):
        with pytest.raises(runner.InputError, match=words):
            runner.Detector(export, backend=backend, device=device)
    found = runner.Detector(export, backend="openvino", device="auto")
    picture = np.full((4, 4), 100, np.uint8)
    assert found.predict(picture, "cup").score == 0.25 + 300 / 2048
    assert found.identity["device"] == "AUTO"


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_model_of_fixed_batches_is_padded(runner, tmp_path, backend):
    folder = write_export(tmp_path / "export", batch=4)
    detector = runner.Detector(folder, backend=backend)
    assert detector.batch_size == 4
    pictures = [np.full((4, 5), level, np.uint8) for level in (0, 50, 100, 150, 200)]
    scores = [found.score for found in detector.predict(pictures, "cup")]
    assert scores == [0.25 + 3 * level / 2048 for level in (0, 50, 100, 150, 200)]
    with pytest.raises(runner.InputError, match="batch_size is 8; allowed: 4"):
        runner.Detector(folder, batch_size=8)


def test_threads_share_a_detector(runner, export):
    detector = runner.Detector(export, backend="openvino")
    pictures = [np.full((50, 60), level, np.uint8) for level in range(0, 256, 2)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda p: detector.predict(p, "metal nut"), pictures))
    assert [one.score for one in found] == [3 * n / 2048 for n in range(0, 256, 2)]


def test_bfloat16_is_used_where_the_processor_has_it(runner, export):
    picture = np.full((4, 4), 201, np.uint8)
    try:
        detector = runner.Detector(export, backend="openvino", precision="bfloat16")
    except runner.InputError as error:
        assert "which this processor lacks" in str(error)
    else:
        found = detector.predict(picture, "metal nut")
        assert found.score == pytest.approx(3 * 201 / 2048, rel=2**-7)
    with pytest.raises(runner.InputError, match="ONNX Runtime takes 'float32' alone"):
        runner.Detector(export, backend="onnxruntime", precision="bfloat16")


def test_classes_are_named_unless_there_is_one(runner, copied):
    detector = runner.Detector(copied)
    picture = np.zeros((2, 2), np.uint8)
    for name in (None, "mug"):
        with pytest.raises(runner.InputError, match="knows 'metal nut', 'cup'"):
            detector.predict(picture, name)
    for threshold in (1.5, (0.1, -0.1), (0.1, 0.2, 0.3), float("nan")):
        with pytest.raises(runner.InputError, match="allowed is a number in"):
            detector.predict(picture, "cup", threshold)
    edit(copied, class_names=["metal nut"])
    assert runner.Detector(copied).predict(picture).class_name == "metal nut"


def edit(folder: Path, **changes: object) -> None:
    file = folder / "manifest.json"
    content = json.loads(file.read_text(encoding="utf-8")) | changes
    file.write_text(json.dumps(content), encoding="utf-8")


def test_auto_takes_what_is_there(runner, copied):
    assert runner.Detector(copied).backend == "openvino"
    (copied / "model.bin").unlink()
    assert runner.Detector(copied).backend == "onnxruntime"
    with pytest.raises(runner.InputError, match="model.bin cannot be read"):
        runner.Detector(copied, backend="openvino")
    (copied / "model.onnx").unlink()
    with pytest.raises(runner.InputError, match="pip install openvino or onnxruntime"):
        runner.Detector(copied)


def test_exports_that_cannot_be_used_are_named(runner, copied, tmp_path):
    with pytest.raises(runner.InputError, match="name the folder of an export"):
        runner.Detector(tmp_path)
    for options, words in (
        ({"backend": "torch"}, "allowed: 'auto', 'openvino', 'onnxruntime'"),
        ({"precision": "int4"}, "allowed: 'float32', 'bfloat16', 'int8'"),
        ({"precision": "int8"}, "holds 'onnx', 'openvino'; export with --config.exp"),
        ({"batch_size": 0}, "allowed: 1 and above"),
        ({"min_area": 0}, "min_area is 0; allowed: whole numbers of pixels"),
    ):
        with pytest.raises(runner.InputError, match=words):
            runner.Detector(copied, **options)
    with (copied / "model.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(runner.InputError, match="model.onnx is not what was exported"):
        runner.Detector(copied, backend="onnxruntime")
    (copied / "model.onnx").write_bytes(b"no model")
    files = {"model.onnx": digest(copied / "model.onnx")}
    edit(copied, formats={"onnx": {"files": files}})
    with pytest.raises(runner.InputError, match="pip install --upgrade onnxruntime"):
        runner.Detector(copied)
    with pytest.raises(runner.InputError, match="holds 'onnx'; take another"):
        runner.Detector(copied, backend="openvino")
    edit(copied, digest="0" * 64)
    with pytest.raises(runner.InputError, match="it was damaged or edited; use the"):
        runner.Detector(copied)
    edit(copied, v=1)
    with pytest.raises(runner.InputError, match="has v = 1; allowed is 2: use the"):
        runner.Detector(copied)


# What the package needs and the runner must not.
FORBIDDEN = ("jax", "scipy", "tqdm", "absl", "ml_collections", "jaxtyping")
BARE = f"""
import runpy, sys
for name in {(*FORBIDDEN, "kanoclip_jax", "data_pipelines")}:
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def command(script: Path, *options: object, **more: object):
    return subprocess.run(
        [sys.executable, "-c", BARE, script, *map(str, options)],
        cwd=script.parent,
        capture_output=True,
        text=True,
        check=False,
        **more,
    )


def test_the_command_writes_what_predict_writes(export, tmp_path, monkeypatch, capsys):
    photos = tmp_path / "photos"
    write_pictures(photos)
    (photos / "broken.png").write_bytes(b"\x89PNG no more")
    (photos / "empty.png").touch()
    (photos / "dangling.png").symlink_to(photos / "nowhere")
    settings_ = {"class_name": "metal_nut", "maps": True, "overlays": True}
    settings_ |= {"min_area": 2, "batch_size": 2, "input": str(photos), "highest": 0}
    config = FrozenConfigDict({"predict": settings_, "data": {"workers": 0}})
    monkeypatch.setattr(predict, "open_detector", lambda *_: (Package(2), config))
    assert predict.main(config, tmp_path / "theirs") == 1

    done = command(
        *(export / "runner.py", photos, "--class-name=metal_nut", "--min-area=2"),
        *("--batch-size=3", f"--output={tmp_path / 'mine'}"),
    )
    assert done.returncode == 1, done.stderr
    assert "9 predicted, 3 failed: " in done.stdout
    assert done.stderr.count("failed: ") == len(done.stderr.splitlines()) == 3
    files = {
        str(path.relative_to(tmp_path / "theirs")): path.read_bytes()
        for path in (tmp_path / "theirs").rglob("*.*")
    }
    assert len(files) == 9 * 2 + 4 and "coco.json" in files
    for name, content in files.items():
        if name != "predictions.settings.json":
            assert (tmp_path / "mine" / name).read_bytes() == content, name
    for folder in ("mine", "theirs"):
        (line, *_) = (tmp_path / folder / "predictions.jsonl").read_text().splitlines()
        assert json.loads(line)["scale"] == [LIMITS.pixel, SATURATES]


def test_colours_are_as_exported_as_asked_or_from_a_half(
    runner, export, copied, photos, tmp_path, capsys
):
    def drawn(model: Path, name: str, *options: str) -> tuple[np.ndarray, np.ndarray]:
        output = tmp_path / "-".join([model.parent.name, name, *options]).strip("/")
        given = [str(photos), f"--model={model}", f"--output={output}", *options]
        assert runner.main([*given, f"--class-name={name}"]) == 0
        anomaly_map = np.load(output / "maps" / "250.png.npy")
        assert (anomaly_map == np.float16(0.7324)).all()
        laid = np.asarray(Image.open(output / "overlays" / "250.png.png"), int)
        assert (laid == laid[0, 0]).all()
        quiet = np.asarray(Image.open(output / "overlays" / "0.png.png"))
        return laid[0, 0], quiet[0, 0]

    # The map of 250 is 0.7324: beyond 0.6, 0.46 of the way from 0.5 to 1.
    for model, name, options, colour in (
        (export, "metal nut", (), (176, 50, 111)),
        (export, "cup", (), (245, 154, 109)),
        (export, "cup", ("--scale=absolute",), (248, 182, 115)),
    ):
        laid, quiet = drawn(model, name, *options)
        assert np.abs(laid - colour).max() <= 3, (name, options, laid)
        np.testing.assert_array_equal(quiet, 0)
    # An export that is older than scales: 0.35 to twice that.
    edit(copied, scales={})
    np.testing.assert_array_equal(drawn(copied, "metal nut")[0], (176, 50, 111))
    assert runner.main([str(photos), "--scale=mine"]) == 2
    assert "invalid choice: 'mine'" in capsys.readouterr().err


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for level in (0, 100, 250):
        Image.new("RGB", (40, 30), (level,) * 3).save(folder / f"{level}.png")
    return folder


@pytest.mark.parametrize("locks", [True, False], ids=["locks", "no locks"])
def test_a_second_command_does_what_is_left(
    runner, export, photos, tmp_path, monkeypatch, capsys, locks
):
    if not locks:
        monkeypatch.setattr(runner, "fcntl", None)
    output = tmp_path / "out"
    log = output / "predictions.jsonl"
    options = [str(photos), f"--model={export}", f"--output={output}"]
    (photos / "150.png").write_text("no picture")
    assert runner.main([*options, "--class-name=cup"]) == 1
    assert "3 predicted, 1 failed" in capsys.readouterr().out
    first = log.read_bytes().splitlines()
    # A kill in the middle of a line.
    log.write_bytes(b"\n".join(first)[:-9])
    shutil.copy(photos / "0.png", photos / "150.png")
    Image.new("L", (9, 9), 80).save(photos / "100.png")
    assert runner.main([*options, "--class-name=cup"]) == 0
    assert "3 predicted, 0 failed, 1 done before" in capsys.readouterr().out
    lines = [json.loads(line) for line in log.read_bytes().splitlines()]
    scores = {Path(line["path"]).name: line["score"] for line in lines}
    assert scores == {
        "0.png": 0.25,
        "150.png": 0.25,
        "100.png": 0.25 + 3 * 80 / 2048,
        "250.png": 0.25 + 3 * 250 / 2048,
    }
    assert len(lines) == 4 and json.loads(first[0]) in lines
    table = (output / "predictions.csv").read_text(encoding="utf-8").splitlines()
    assert len(table) == 5


def test_a_folder_of_other_predictions_is_refused(
    runner, copied, photos, tmp_path, capsys
):
    output = tmp_path / "out"
    options = [str(photos), f"--model={copied}", f"--output={output}", "--no-maps"]
    assert runner.main([*options, "--class-name=cup", "--no-overlays"]) == 0
    before = (output / "predictions.jsonl").read_bytes()
    assert [path.name for path in output.iterdir() if path.is_dir()] == []
    for other, words in (
        (["--class-name=metal nut"], "with another class_name;"),
        (["--class-name=cup", "--no-overlays", "--backend=onnxruntime"], "backend"),
    ):
        assert runner.main([*options, *other]) == 2
        assert words in capsys.readouterr().err
    edit(copied, trained="longer")
    assert runner.main([*options, "--class-name=cup", "--no-overlays"]) == 2
    assert "was made with another model; pass another" in capsys.readouterr().err
    assert (output / "predictions.jsonl").read_bytes() == before


def test_other_thresholds_label_again_what_is_there(
    runner, export, photos, tmp_path, capsys
):
    output = tmp_path / "out"
    options = [str(photos), f"--model={export}", f"--output={output}"]
    options.append("--class-name=Metal_Nut")
    assert runner.main([*options, "--coco=rle"]) == 0
    assert "0 anomalous" not in capsys.readouterr().out
    assert runner.main([*options, "--threshold=0.1,0.7"]) == 0
    said = capsys.readouterr().out
    assert "3 pictures labelled again" in said and "3 done before: in all" in said
    content = json.loads((output / "coco.json").read_text(encoding="ascii"))
    (found,) = content["annotations"]
    assert found["segmentation"] == [[0, 0, 40, 0, 40, 30, 0, 30]]
    assert content["categories"][0]["name"] == "metal nut"


def test_a_folder_that_another_process_holds_is_refused(
    runner, export, photos, tmp_path, capsys
):
    output = tmp_path / "out"
    output.mkdir()
    held = os.open(output / ".lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(held, fcntl.LOCK_EX)
    options = [str(photos), "--class-name=cup", f"--output={output}"]
    assert runner.main([f"--model={export}", *options]) == 2
    assert "another process is predicting into" in capsys.readouterr().err
    os.close(held)
    assert runner.main([f"--model={export}", *options]) == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "the following arguments are required: INPUT; see --help"),
        (["nowhere/"], "'nowhere/' names no picture: nothing is there; allowed are"),
        (["PHOTOS"], "class_name is None; this model knows 'metal nut', 'cup'"),
        (["PHOTOS", "--class-name=mug"], "class_name is 'mug'; this model knows"),
        (["PHOTOS", "--class-name=cup", "--threshold=x"], "'x' is neither a number"),
        (["PHOTOS", "--class-name=cup", "--threshold=7"], "threshold is (7.0,)"),
        (["PHOTOS", "--model=PHOTOS"], "manifest.json cannot be read"),
        (["PHOTOS", "--class-name=cup", "--output=FILE"], "pass another --output"),
        (["PHOTOS", "--class=cup"], "unrecognized arguments: --class=cup"),
    ],
)
def test_wrong_options_are_one_line(
    runner, export, photos, tmp_path, capsys, options, words
):
    (tmp_path / "file").touch()
    names = {"PHOTOS": str(photos), "FILE": str(tmp_path / "file")}
    for name, path in names.items():
        options = [option.replace(name, path) for option in options]
    if not any("--output" in option for option in options):
        options.append(f"--output={tmp_path / 'out'}")
    assert runner.main([f"--model={export}", *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and words in line


@pytest.mark.parametrize("name", ["numpy", "PIL"])
def test_what_is_not_installed_is_named(export, name):
    code = BARE.replace("for name in (", f"for name in ({name!r}, ")
    done = subprocess.run(
        [sys.executable, "-c", code, export / "runner.py", "photos"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and "pip install numpy Pillow" in line
