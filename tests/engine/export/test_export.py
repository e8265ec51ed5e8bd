"""Export: what is written says what the detector says, or is not kept."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data_pipelines.digests import is_whole
from data_pipelines.transforms import read_image
from kanoclip_jax import Detector, engine
from kanoclip_jax.engine.export import agreement, formats, run
from kanoclip_jax.engine.export.agreement import Sample, compare
from kanoclip_jax.errors import InputError

CLASSES = ("metal nut", "cup")
# Runs the file that is its first argument.
WITHOUT_JAX = """
import runpy, sys
for name in ("jax", "jaxlib", "flax", "scipy", "kanoclip_jax", "data_pipelines"):
    sys.modules[name] = None
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def export(settings, checkpoint: Path, workdir: Path, **overrides: object) -> Path:
    config = settings(**({"checkpoint": str(checkpoint)} | overrides))
    assert engine.run("export", config, workdir) == 0
    return workdir / "export"


def manifest(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text())


@pytest.fixture(scope="module")
def calibrated(settings, checkpoint, data_root, tmp_path_factory) -> Path:
    """The checkpoint with thresholds for one of the classes beside it."""
    own = tmp_path_factory.mktemp("calibrated") / "checkpoints"
    shutil.copytree(checkpoint, own)
    config = settings(
        checkpoint=str(own),
        predict__class_name="metal nut",
        calibrate__input=str(data_root / "mvtec" / "metal_nut" / "test" / "good"),
        calibrate__target_rate=0.25,
    )
    assert engine.run("calibrate", config, own.parent) == 0
    return own


@pytest.fixture(scope="module")
def folder(settings, calibrated, tmp_path_factory) -> Path:
    """All formats, for any batch."""
    return export(
        settings,
        calibrated,
        tmp_path_factory.mktemp("exported"),
        export__class_names="metal_nut,cup",
    )


@pytest.fixture(scope="module")
def pictures(data_root) -> list[Path]:
    return sorted((data_root / "mine").rglob("*.png"))[:5]


@pytest.mark.slow
@pytest.mark.parametrize("name", list(formats.FORMATS))
def test_every_format_says_what_the_detector_says(
    folder, checkpoint, pictures, name
) -> None:
    """At another batch size than those that it was compared at, class by class."""
    size = manifest(folder)["image_size"]
    images = np.stack([read_image(path, size)[0] for path in pictures])
    run = formats.FORMATS[name].load(folder)
    detector = Detector.load(checkpoint)
    answers = []
    for index, class_name in enumerate(CLASSES):
        maps, scores = run(images, np.full(len(images), index, np.int32))
        assert maps.shape == (len(images), size, size)
        assert maps.dtype == scores.dtype == np.float32
        batch = [{"image": image[None]} for image in images]
        found = [found for _, found in detector.detections(class_name, batch)]
        expected = np.stack([np.asarray(one.maps[0]) for one in found])
        np.testing.assert_allclose(maps, expected, rtol=1e-3, atol=1e-6)
        expected = [one.score[0] for one in found]
        np.testing.assert_allclose(scores, expected, rtol=1e-4)
        answers.append(scores)
    assert np.abs(answers[0] - answers[1]).max() > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_the_runner_says_what_predict_says(
    folder, settings, calibrated, data_root, tmp_path, backend
) -> None:
    """In a process that has neither JAX nor this package."""
    photos = data_root / "mine" / "cup"
    config = settings(
        checkpoint=str(calibrated),
        predict__input=str(photos),
        predict__class_name="metal nut",
    )
    assert engine.run("predict", config, tmp_path / "ours") == 0
    done = subprocess.run(
        [
            *(sys.executable, "-c", WITHOUT_JAX, str(folder / "runner.py")),
            *(str(photos), f"--output={tmp_path / 'theirs'}", f"--backend={backend}"),
            "--class-name=metal nut",
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ours, theirs = (
        {
            line["path"]: line
            for line in map(json.loads, (tmp_path / name / "predictions.jsonl").open())
        }
        for name in ("ours", "theirs")
    )
    assert ours.keys() == theirs.keys()
    assert len(ours) == len(list(photos.rglob("*.png")))
    assert {line["label"] for line in ours.values()} == {"anomalous", "normal"}
    for path, line in ours.items():
        other = theirs[path]
        assert other["score"] == pytest.approx(line["score"], rel=1e-4)
        assert other["label"] == line["label"]
        maps = (
            np.load(tmp_path / name / found["map"]).astype(np.float32)
            for name, found in (("ours", line), ("theirs", other))
        )
        # Kept in half precision.
        np.testing.assert_allclose(*maps, rtol=2e-3)


@pytest.mark.slow
def test_the_manifest_says_what_is_there(folder, calibrated) -> None:
    said = manifest(folder)
    assert said["class_names"] == list(CLASSES)
    assert said["image_size"] == 32
    assert said["batch_size"] is None
    limits = Detector.load(calibrated).thresholds("metal nut")
    assert said["thresholds"] == {"metal nut": limits._asdict()}
    files = {
        file: sha for f in said["formats"].values() for file, sha in f["files"].items()
    }
    assert sorted([*files, "manifest.json", "runner.py"]) == sorted(
        path.name for path in folder.iterdir()
    )
    assert all(run.of_file(folder / file) == sha for file, sha in files.items())
    assert said["runner"] == run.of_file(folder / "runner.py")
    assert is_whole(said)
    for entry in said["formats"].values():
        assert entry["agreement"]["pictures"] == 3
        assert 0 <= entry["agreement"]["maps"] < 1e-3
    # Another runtime's last bits are its own; StableHLO's may be JAX's.
    assert said["formats"]["onnx"]["agreement"]["maps"] > 0
    assert {"jax", "jax2onnx", "onnxruntime", "openvino"} <= said["versions"].keys()
    assert not (folder.parent / "export.partial").exists()


@pytest.mark.slow
def test_the_constants_of_a_large_model_lie_beside_it(
    settings, calibrated, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(formats, "_MOST_BYTES", 1)
    own = export(settings, calibrated, tmp_path, export__formats="onnx")
    files = manifest(own)["formats"]["onnx"]["files"]
    assert sorted(files) == ["model.onnx", "model.onnx.data"]
    assert (own / "model.onnx").stat().st_size < (
        own / "model.onnx.data"
    ).stat().st_size


@pytest.mark.slow
def test_a_model_of_one_batch_size_alone_and_of_one_format(
    settings, calibrated, tmp_path, monkeypatch
) -> None:
    """What an earlier export left goes; other people's files stay.

    The ONNX model on the way is taken for a large one.
    """
    monkeypatch.setattr(formats, "_MOST_BYTES", 1)
    own = tmp_path / "export"
    own.mkdir()
    (own / "notes.txt").write_text("mine")
    (own / "old.bin").write_text("")
    old = {"formats": {"openvino": {"files": {"old.bin": ""}}}}
    (own / "manifest.json").write_text(json.dumps(old))
    export(
        settings,
        calibrated,
        tmp_path,
        export__formats="openvino",
        export__batch_size=2,
    )
    assert {path.name for path in own.iterdir()} == {
        "manifest.json",
        "model.bin",
        "model.xml",
        "notes.txt",
        "runner.py",
    }
    said = manifest(own)
    assert said["batch_size"] == 2
    assert said["inputs"]["image"] == ["uint8", 2, 32, 32, 3]
    assert said["class_names"] == ["metal nut"]
    load = formats.load_openvino(own)
    maps, _ = load(np.zeros((2, 32, 32, 3), np.uint8), np.zeros(2, np.int32))
    assert maps.shape == (2, 32, 32)
    with pytest.raises(RuntimeError):
        load(np.zeros((1, 32, 32, 3), np.uint8), np.zeros(1, np.int32))


def test_what_differs_from_jax_is_not_kept(
    settings, checkpoint, tmp_path, monkeypatch
) -> None:
    own = tmp_path / "export"
    own.mkdir()
    (own / "manifest.json").write_text("{}")

    def off(folder: Path) -> formats.Run:
        def run(image: np.ndarray, index: np.ndarray) -> tuple:
            maps = np.full(image.shape[:3], 0.5, np.float32)
            return maps, np.full(len(image), 0.5, np.float32)

        return run

    def write(program, folder: Path, batch_size: int | None, said) -> None:
        (folder / "model.onnx").write_text("")

    fake = formats.FORMATS["onnx"]._replace(write=write, load=off)
    monkeypatch.setitem(formats.FORMATS, "onnx", fake)
    with pytest.raises(InputError, match="onnx differs from JAX by .* nothing is kept"):
        export(settings, checkpoint, tmp_path, export__formats="onnx")
    left = [path.name for path in tmp_path.rglob("*") if path.name != ".lock"]
    assert left == ["export", "manifest.json"]


def test_what_cannot_be_exported_is_refused(settings, checkpoint, tmp_path) -> None:
    for key, value, message in (
        ("export__formats", "onnx,tflite", "onnx,tflite.*onnx, openvino, stablehlo"),
        ("export__formats", "", "allowed is a list of"),
        ("export__formats", "onnx,onnx", "'onnx,onnx'; .*, each once"),
        ("export__batch_size", -1, "export.batch_size is -1"),
        ("export__input", str(tmp_path / "none"), "export.input .* names no picture"),
    ):
        with pytest.raises(InputError, match=message):
            export(settings, checkpoint, tmp_path, **{key: value})
    config = settings(checkpoint=str(checkpoint), clip__dtype="bfloat16")
    with pytest.raises(InputError, match="exported models are float32"):
        engine.run("export", config, tmp_path, frozenset({"clip.dtype"}))
    assert not list(tmp_path.iterdir())


def test_what_is_not_installed_is_named(monkeypatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name == "openvino" else find(name),
    )
    formats.check_formats(("onnx", "stablehlo"))
    with pytest.raises(
        InputError, match=r"needs openvino: pip install 'kanoclip-jax\[export\]'"
    ):
        formats.check_formats(("onnx", "openvino"))


@pytest.fixture
def sample() -> Sample:
    draw = np.random.default_rng(0)
    maps = draw.uniform(0.1, 1, (3, 4, 4)).astype(np.float32)
    images = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1) * np.ones(
        (1, 4, 4, 3), np.uint8
    )
    return Sample(images, np.array([0, 1, 0], np.int32), maps, maps.max((1, 2)))


@pytest.mark.parametrize(
    ("batch_size", "seen"), [(None, [3, 1, 1, 1]), (2, [2, 2]), (8, [8])]
)
def test_pictures_are_compared_alone_and_together(sample, batch_size, seen) -> None:
    """A hundred-thousandth off in one pixel of the last picture is what is found."""
    counts = []

    def run(image: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows = image[:, 0, 0, 0].astype(int)
        assert (index == sample.classes[rows]).all()
        counts.append(len(image))
        maps = sample.maps[rows].copy()
        maps[rows == 2, 3, 3] *= 1 + 1e-5
        return maps, sample.scores[rows]

    found = compare(run, sample, batch_size)
    assert counts == seen
    assert found.maps == pytest.approx(1e-5, rel=0.02)
    assert found.scores == 0
    assert found


@pytest.mark.parametrize(
    "spoil",
    [
        lambda maps: np.where(maps == maps.min(), np.nan, maps),
        lambda maps: maps[:, :1],
        lambda maps: maps * 1.002,
    ],
)
def test_what_is_no_map_or_too_far_off_is_no_agreement(sample, spoil) -> None:
    def run(image: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows = image[:, 0, 0, 0].astype(int)
        return spoil(sample.maps[rows]), sample.scores[rows]

    found = compare(run, sample, None)
    assert found.maps > agreement.TOLERANCE
    assert not found
