"""A head that is handed on: equal bits wherever it lies, and never another's."""

import ast
import inspect
import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import tiny_clip
import yaml
from safetensors.numpy import load_file
from sample_documents import REPORT, THRESHOLD

from data_pipelines.digests import seal
from kanoclip_jax import Detector, engine
from kanoclip_jax.command import configurations
from kanoclip_jax.engine import restore
from kanoclip_jax.engine.prediction.calibration import Calibration, save_calibration
from kanoclip_jax.engine.pretrained import hub, public
from kanoclip_jax.engine.pretrained.card import licence_of
from kanoclip_jax.engine.pretrained.save import save_head
from kanoclip_jax.engine.settings import resolve
from kanoclip_jax.errors import InputError

PICTURE = np.random.default_rng(5).integers(0, 256, (40, 30, 3), np.uint8)
FILES = ["README.md", "calibration.json", "config.json", "model.safetensors"]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def thresholds(detector: Detector, class_name: str = "metal nut") -> Calibration:
    facts = {"input": "/home/me/plates/good", "normal": 19, "anomalous": 0}
    half = THRESHOLD | {"threshold": 0.5}
    return Calibration(class_name, detector.identity, half, THRESHOLD, facts)


@pytest.fixture(scope="module")
def trained_run(quick_checkpoint, tmp_path_factory) -> Path:
    """Checkpoints of one's own, with thresholds beside them."""
    run = tmp_path_factory.mktemp("handed") / "run"
    checkpoints = Path(shutil.copytree(quick_checkpoint, run / "checkpoints"))
    save_calibration(thresholds(Detector.load(checkpoints)), [checkpoints])
    return checkpoints


@pytest.fixture(scope="module")
def detector(trained_run) -> Detector:
    return Detector.load(trained_run)


@pytest.fixture(scope="module")
def saved(detector, tmp_path_factory) -> Path:
    """The head's folder; read it only."""
    folder = tmp_path_factory.mktemp("saved") / "head"
    assert detector.save_pretrained(folder) is None
    return folder


@pytest.fixture
def own(saved, tmp_path) -> Path:
    """A copy, to do to it what one likes."""
    return Path(shutil.copytree(saved, tmp_path / "moved" / "own"))


@pytest.fixture
def cached(saved, tmp_path) -> Path:
    """The hub's cache as its library leaves it, with the head under a tag."""
    place = tmp_path / "hub" / "models--me--head"
    shutil.copytree(saved, place / "snapshots" / COMMIT)
    (place / "refs").mkdir()
    (place / "refs" / "v1").write_text(COMMIT)
    return tmp_path / "hub"


def change(file: Path, **values: object) -> None:
    content = json.loads(file.read_text())
    file.write_text(json.dumps(seal(content | values)))


def test_saved_moved_and_loaded_it_is_the_same_to_the_bit(
    quick, trained_run, detector, own
):
    assert sorted(file.name for file in own.iterdir()) == FILES
    first = restore.load_trained(resolve(quick(checkpoint=str(trained_run))), None)
    again = restore.load_trained(resolve(quick(checkpoint=str(own))), None)
    before, after = map(
        jax.tree_util.tree_leaves_with_path, (first.params, again.params)
    )
    assert [path for path, _ in before] == [path for path, _ in after]
    for (_, one), (_, other) in zip(before, after, strict=True):
        assert np.asarray(one).dtype == other.dtype
        np.testing.assert_array_equal(np.asarray(one), other)
    assert again.identity() == first.identity()
    assert set(load_file(own / "model.safetensors")) == set(again.meta["tree"])

    moved = Detector.from_pretrained(own)
    assert moved.identity == detector.identity
    assert moved.calibrated == ("metal nut",)
    one, other = (d.predict(PICTURE, "metal_nut") for d in (detector, moved))
    assert one.score == other.score and one.thresholds == other.thresholds
    np.testing.assert_array_equal(one.anomaly_map, other.anomaly_map)
    # What is saved again is the same file, byte for byte.
    moved.save_pretrained(own.parent / "again")
    weights = [
        (f / "model.safetensors").read_bytes() for f in (own, own.parent / "again")
    ]
    assert weights[0] == weights[1]


def test_pictures_are_read_as_they_were(own, detector, tmp_path):
    trained = detector._trained
    save_head(trained, own, tiles="auto")
    assert Detector.from_pretrained(own).tiles == "auto"
    assert Detector.from_pretrained(own, tiles="never").tiles == "never"
    # For commands, too, that are given it and no configuration.
    assert configurations.recorded(str(own)).predict.tiles == "auto"
    # Those that lay there were chosen on squashed pictures.
    assert not (own / "calibration.json").exists()


def test_a_head_says_how_pictures_are_read_and_nothing_else(own, tmp_path):
    """Whoever wrote it names no place for native code, and no file of thresholds."""
    pictures = json.loads((own / "config.json").read_text())["pictures"]
    more = {"compiled_in": str(tmp_path / "theirs"), "calibration": "never"}
    change(own / "config.json", pictures=pictures | more)
    assert Detector.from_pretrained(own).calibrated == ("metal nut",)


def of_one_tap(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())["config"]
    config["model"]["taps"] = [4]
    change(folder / "config.json", config=config)


def flip(file: Path, at: int) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda f: flip(f / "model.safetensors", -1), "model.safetensors is damaged"),
        (lambda f: flip(f / "model.safetensors", 20), "model.safetensors is damaged"),
        (lambda f: flip(f / "config.json", 70), "config.json "),
        (lambda f: flip(f / "config.json", -10), "config.json .*its digest says"),
        (lambda f: flip(f / "calibration.json", -10), "calibration.json .*digest says"),
        (lambda f: (f / "model.safetensors").unlink(), "lacks model.safetensors"),
        (lambda f: (f / "config.json").unlink(), "lacks config.json"),
        (lambda f: (f / "calibration.json").unlink(), "lacks calibration.json"),
        (
            lambda f: change(f / "config.json", format=2),
            "newer version.*pip install -U",
        ),
        (of_one_tap, "of another architecture"),
        (
            lambda f: change(f / "config.json", digests={"params": "0"}),
            "other parameters than were trained",
        ),
    ],
)
def test_what_is_not_what_was_saved_is_refused(own, harm, words):
    harm(own)
    with pytest.raises(InputError, match=words) as error:
        Detector.from_pretrained(own)
    assert "\n" not in str(error.value)


def test_another_backbone_is_refused(own, tmp_path, tiny_directory):
    other = tiny_clip.write_directory(
        tmp_path / "other", weights=tiny_clip.draw_weights(seed=9)
    )
    with pytest.raises(
        InputError, match=r"was trained with the CLIP .* name the former"
    ):
        Detector.from_pretrained(own, clip=str(other))
    with pytest.raises(InputError, match=r"of a 'clip' model and of no head"):
        Detector.from_pretrained(tiny_directory)
    with pytest.raises(InputError, match=r"holds no head; give a folder of"):
        Detector.from_pretrained(own.parent)


def test_every_mode_takes_it(quick, own, data_root, tmp_path, capsys):
    cup = data_root / "mine" / "cup" / "test"
    use = {
        "checkpoint": str(own),
        "predict__input": str(cup / "spot"),
        "predict__class_name": "cup",
        "predict__overlays": False,
        "predict__batch_size": 4,
        "calibrate__input": str(cup / "good"),
        "calibrate__target_rate": 0.2,
        "eval__classes": "cup",
    }
    assert engine.run("calibrate", quick(**use), tmp_path / "out") == 0
    assert f"stored: {own / 'calibration.json'}" in capsys.readouterr().out
    assert Detector.from_pretrained(own).calibrated == ("metal nut", "cup")
    assert engine.run("predict", quick(**use), tmp_path / "out") == 0
    assert "calibrated for 'cup'" in capsys.readouterr().out

    weights = str(own / "model.safetensors")
    assert (
        engine.run("eval", quick(**use | {"checkpoint": weights}), tmp_path / "e") == 0
    )
    report = json.loads((tmp_path / "e" / "report.json").read_text())
    assert report["checkpoint"] == weights
    with pytest.raises(InputError, match="was trained on"):
        config = quick(**use | {"eval__datasets": "mvtec"})
        engine.run("eval", config, tmp_path / "t")

    # What was evaluated is told on its card, and thresholds travel along.
    config = quick(**use, save__license="apache-2.0")
    assert engine.run("save", config, tmp_path / "e") == 0
    folder = tmp_path / "e" / "pretrained"
    card = (folder / "README.md").read_text()
    assert "\nlicense: apache-2.0\n" in card and "| mine " in card
    assert Detector.from_pretrained(folder).calibrated == ("metal nut", "cup")
    assert json.loads((folder / "report.json").read_text())["checkpoint"] == "7"


def test_a_head_of_the_hub_is_taken_from_its_cache(
    quick, cached, detector, tmp_path, monkeypatch
):
    options = {"cache_dir": cached, "local_files_only": True}
    for name in ({"revision": "v1"}, {"revision": COMMIT}):
        found = Detector.from_pretrained("me/head", **name, **options)
        assert found.identity == detector.identity
        # The cache is not ours to write to.
        assert found._trained.beside is None
    with pytest.raises(
        InputError, match=r"'me/head' is no checkpoint .* cannot be fet"
    ):
        Detector.from_pretrained("me/head", **options)

    asked = []

    def snapshot(repository, **rest):
        asked.append((repository, rest["revision"]))
        return str(cached / "models--me--head" / "snapshots" / COMMIT)

    monkeypatch.setattr(hub, "snapshot_download", snapshot)
    config = resolve(quick(checkpoint="me/head@v1"))
    assert restore.load_trained(config, None).identity() == detector.identity
    assert restore.saved_settings("me/head").method == "probe"
    assert asked == [("me/head", "v1"), ("me/head", None)]
    # What begins with a folder that is here is a path that is not there.
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="is no checkpoint: an Orbax"):
        restore.load_trained(resolve(quick(checkpoint="hub/head")), None)
    assert len(asked) == 2


def test_pushing_shows_no_key_and_no_place(
    quick, detector, tmp_path, monkeypatch, capsys, caplog
):
    key, pushed, refused = "hf_secret", {}, []

    class Api:
        def __init__(self, token):
            assert token == key

        def create_repo(self, repo_id, private, exist_ok):
            if refused:
                raise OSError(f"401 for {key}\nwho are you")
            return SimpleNamespace(repo_id=repo_id)

        def upload_folder(self, folder_path, **options):
            pushed.update(options)
            pushed["files"] = {f.name: f.read_bytes() for f in folder_path.iterdir()}
            return "https://hub/commit"

    monkeypatch.setattr(hub, "HfApi", Api)
    caplog.set_level("DEBUG")
    assert (
        detector.push_to_hub("me/head", token=key, private=True) == "https://hub/commit"
    )
    assert sorted(pushed["files"]) == FILES
    assert (pushed["repo_id"], pushed["repo_type"]) == ("me/head", "model")
    whole = b"".join(pushed["files"].values())
    clip = detector._trained.method.clip.name
    for hidden in (key, str(tmp_path.parent), str(Path(clip).parent), "/home/me"):
        assert hidden.encode() not in whole
    # It is a head as any other, whose backbone is named.
    for name, data in pushed["files"].items():
        (tmp_path / name).write_bytes(data)
    found = Detector.from_pretrained(tmp_path, clip=clip)
    assert found.identity == detector.identity and found.calibrated == ("metal nut",)

    refused.append(True)
    with pytest.raises(InputError, match="could not be pushed") as error:
        detector.save_pretrained(
            tmp_path / "it", push_to_hub=True, repo_id="me/head", token=key
        )
    assert key not in str(error.value) and "401 for …" in str(error.value)
    assert (tmp_path / "it" / "config.json").is_file()
    assert key not in "".join([*capsys.readouterr(), caplog.text])


def test_the_conventions_are_the_hubs_own():
    """Read, not imported: the mixin would import torch where that is installed."""
    file = Path(find_spec("huggingface_hub").origin).with_name("hub_mixin.py")
    functions = {
        node.name: {a.arg for a in (*node.args.args, *node.args.kwonlyargs)}
        for tree in ast.parse(file.read_text()).body
        if isinstance(tree, ast.ClassDef) and tree.name == "ModelHubMixin"
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
    }
    # A detector's settings are its own, its card is written from its report.
    left_out = {"cls", "config", "model_card_kwargs", "resume_download", "proxies"}
    for name in ("save_pretrained", "from_pretrained", "push_to_hub"):
        ours = set(inspect.signature(getattr(Detector, name)).parameters)
        assert functions[name] - left_out <= ours | {"self"}


def test_the_card_says_what_the_report_says(trained_run, detector, tmp_path):
    report = REPORT | {"method": "probe", "checkpoint": "/elsewhere/checkpoints/7"}
    report |= {"clip": detector._trained.method.backbone_identity()["clip"]}
    beside = trained_run.parent / "report.json"
    beside.write_text(json.dumps(seal(report)))
    try:
        detector.save_pretrained(tmp_path / "head")
    finally:
        beside.unlink()
    card = (tmp_path / "head" / "README.md").read_text()
    head, text = card.removeprefix("---\n").split("\n---\n")
    front = yaml.safe_load(head)
    assert front["license"] == "cc-by-nc-sa-4.0"
    assert front["library_name"] == "kanoclip-jax"
    assert front["datasets"] == ["mvtec"]
    assert {"anomaly-detection", "probe"} <= set(front["tags"])
    (result,) = front["model-index"][0]["results"]
    assert result["dataset"] == {"name": "MPDD", "type": "mpdd"}
    assert {"type": "pixel_auroc", "value": 0.5, "name": "pixel AUROC"} in result[
        "metrics"
    ]
    for words in (
        "trained on MVTec AD",
        "Not a medical device, not for diagnosis",
        "| MPDD    |      3 |         4 |        50.0 |",
        "| metal nut | 0.500000 | 0.250000 | 19 normal, 0 anomalous |",
        "Bergmann et al.",
        "step 7",
        'Detector.from_pretrained("FOLDER or USER/NAME")',
    ):
        assert words in text, text
    assert "/elsewhere" not in card and str(tmp_path.parent) not in card
    other = REPORT | {"method": "probe", "checkpoint": "/elsewhere/checkpoints/3"}
    beside.write_text(json.dumps(seal(other | {"clip": report["clip"]})))
    try:
        detector.save_pretrained(tmp_path / "other")
    finally:
        beside.unlink()
    assert "nothing is claimed" in (tmp_path / "other" / "README.md").read_text()


@pytest.mark.parametrize(
    ("given", "datasets", "found"),
    [
        ("", ["mvtec", "mpdd"], "cc-by-nc-sa-4.0"),
        ("", ["visa"], "cc-by-4.0"),
        ("", ["mvtec", "visa"], "other"),
        ("", ["folder:mine"], "other"),
        ("", [], "other"),
        ("", ["textures_train"], "mit"),
        ("apache-2.0", ["mvtec"], "apache-2.0"),
    ],
)
def test_a_licence_is_the_pictures_own(given, datasets, found):
    assert licence_of(given, datasets).id == found


def test_places_are_called_by_their_last_names(tmp_path):
    assert public.place(str(tmp_path)) == tmp_path.name
    assert (
        public.place("openai/clip-vit-base-patch16") == "openai/clip-vit-base-patch16"
    )
    assert public.dataset("mvtec,folder:/home/me/plates") == "mvtec,folder:plates"
    datasets = {"folder:/cap/test": {}, "visa": {}, "folder:/nut/test": {"mean": {}}}
    report = {"datasets": datasets, "clip": {"name": "demo"}}
    assert public.report(report, "7")["datasets"] == {
        "folder:test": {},
        "visa": {},
        "folder:test (2)": {"mean": {}},
    }


def test_nothing_of_others_is_written_over(detector, tmp_path, own):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(InputError, match=r"holds a config.json of something else"):
        detector.save_pretrained(tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "model.safetensors").write_bytes(b"x")
    with pytest.raises(
        InputError, match=r"holds a model.safetensors of something else"
    ):
        detector.save_pretrained(tmp_path / "b")
    (tmp_path / "c").write_text("")
    with pytest.raises(InputError, match="is no folder"):
        detector.save_pretrained(tmp_path / "c")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "README.md").write_text("my project")
    with pytest.raises(InputError, match=r"holds a README.md of something else"):
        detector.save_pretrained(tmp_path / "d")
    (tmp_path / "e" / "7").mkdir(parents=True)
    with pytest.raises(InputError, match=r"holds the steps of a training"):
        detector.save_pretrained(tmp_path / "e")
    # A save that was killed before its last file is done again.
    (own / "config.json").unlink()
    (own / "notes.txt").write_text("mine")
    detector.save_pretrained(own)
    assert Detector.from_pretrained(own).calibrated == ("metal nut",)
    assert (own / "notes.txt").read_text() == "mine"


def test_a_method_that_learns_nothing_is_handed_on_with_its_thresholds(
    settings, tmp_path
):
    off = {f"model__{part}": False for part in ("knpl", "vv", "cmci", "adapter")}
    plain = Detector.from_config(settings(**off))
    save_head(
        plain._trained, tmp_path / "head", calibrations=[thresholds(plain, "cup")]
    )
    found = Detector.from_pretrained(tmp_path / "head")
    assert found.identity == plain.identity and found.calibrated == ("cup",)
    assert "learns nothing" in (tmp_path / "head" / "README.md").read_text()
