"""Authors' files as checkpoints: read by the allow-list, run by their own method."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from kanoclip_jax import engine
from kanoclip_jax.engine.prediction.detector import Detector
from kanoclip_jax.engine.restore import load_trained
from kanoclip_jax.engine.settings import resolve
from kanoclip_jax.errors import InputError

DEEP, CONTEXT, WORDS = 2, 12, 32


def prompts(width: int = WORDS) -> dict[str, dict[str, np.ndarray]]:
    """AnomalyCLIP's layout, with the projections that it never uses."""
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    learner = {name: draw(1, 1, CONTEXT, width) for name in ("ctx_pos", "ctx_neg")}
    for index in range(DEEP):
        learner[f"compound_prompts_text.{index}"] = draw(4, width)
        learner[f"compound_prompt_projections.{index}.weight"] = draw(64, width)
        learner[f"compound_prompt_projections.{index}.bias"] = draw(64)
    learner["token_prefix_pos"] = draw(1, 1, 1, width)
    learner["tokenized_prompts_pos"] = np.zeros((1, 1, 77), np.int32)
    return {"prompt_learner": learner}


def layers() -> dict[str, dict[str, np.ndarray]]:
    """APRIL-GAN's layout, of the tiny CLIP's widths."""
    rng = np.random.default_rng(1)
    found = {}
    for stage in range(4):
        found[f"fc.{stage}.weight"] = rng.normal(size=(48, 64)).astype(np.float32)
        found[f"fc.{stage}.bias"] = rng.normal(size=48).astype(np.float32)
    return {"trainable_linearlayer": found}


def save(path: Path, content: dict) -> Path:
    """Write it as the authors do."""
    torch = pytest.importorskip("torch")
    (name, tensors), *_ = content.items()
    torch.save({name: {k: torch.tensor(v) for k, v in tensors.items()}}, path)
    return path


def report_of(workdir: Path) -> dict:
    return json.loads((workdir / "report.json").read_text())


def test_anomalyclip_s_prompts(settings, tmp_path, capsys) -> None:
    content = prompts()
    file = save(tmp_path / "epoch_15.pth", content)
    config = settings(checkpoint=str(file))
    assert engine.run("eval", config, tmp_path / "eval") == 0
    assert "published weights of AnomalyCLIP" in capsys.readouterr().out
    report = report_of(tmp_path / "eval")
    assert (report["method"], report["title"]) == ("anomalyclip", "AnomalyCLIP")
    assert report["parameters"] == 2 * CONTEXT * WORDS + DEEP * 4 * WORDS
    trained = load_trained(resolve(config), None)
    assert trained.config.model.deep_prompt_depth == DEEP + 1
    context = content["prompt_learner"]["ctx_neg"][0, 0]
    np.testing.assert_array_equal(trained.params["prompts"]["context"][1], context)


def test_april_gan_s_layers_bring_the_tower_they_were_for(
    settings, data_root, tmp_path
) -> None:
    content = layers()
    file = save(tmp_path / "mvtec_pretrained.pth", content)
    config = settings(
        checkpoint=str(file), predict__input=str(data_root / "mine/cup/test")
    )
    trained = load_trained(resolve(config), None)
    assert trained.method.clip.activation == "gelu"
    assert trained.config.clip.position_grid == "bicubic_antialias"
    kernel = content["trainable_linearlayer"]["fc.2.weight"].T
    np.testing.assert_array_equal(trained.params["heads"]["kernel"][2], kernel)
    assert engine.run("predict", config, tmp_path / "shown") == 0
    lines = (tmp_path / "shown" / "predictions.csv").read_text().splitlines()
    assert len(lines) == 1 + 11
    # What is named by hand holds.
    config.clip.activation = "quick_gelu"
    by_hand = frozenset({"clip.activation"})
    again = load_trained(resolve(config, by_hand), None, by_hand)
    assert again.method.clip.activation == "quick_gelu"


def test_mvfa_s_adapters_bring_the_tower_they_were_for(
    settings, data_root, tmp_path
) -> None:
    """Written by modules of theirs, as a file for one target is."""
    torch = pytest.importorskip("torch")

    def adapter() -> object:
        down, up = torch.nn.Linear(64, 48, bias=False), torch.nn.Linear(48, 64, False)
        layers = {"fc1": torch.nn.Sequential(down, torch.nn.LeakyReLU())}
        layers["fc2"] = torch.nn.Sequential(up, torch.nn.LeakyReLU())
        return torch.nn.ModuleDict(layers)

    lists = {
        part: torch.nn.ModuleList([adapter() for _ in range(4)])
        for part in ("seg_adapters", "det_adapters")
    }
    file = tmp_path / "Brain.pth"
    torch.save({name: part.state_dict() for name, part in lists.items()}, file)
    config = settings(
        checkpoint=str(file), predict__input=str(data_root / "mine/cup/test")
    )
    trained = load_trained(resolve(config), None)
    tower = trained.config.clip
    assert (tower.activation, tower.position_grid, tower.input_range) == (
        "gelu",
        "bicubic_antialias",
        "unit",
    )
    assert (trained.config.method, trained.method.image_size) == ("mvfa", 240)
    assert trained.identity()["clip.input_range"] == "unit"
    for part in ("seg", "det"):
        theirs = lists[f"{part}_adapters"][2]
        for name, layer in (("down", "fc1"), ("up", "fc2")):
            expected = theirs[layer][0].weight.detach().numpy().T
            np.testing.assert_array_equal(trained.params[part][name][2], expected)
    # What is named by hand holds: here a size that is no multiple of the patch.
    config.clip.image_size = 36
    by_hand = frozenset({"clip.image_size"})
    assert engine.run("predict", config, tmp_path / "shown", by_hand) == 0
    lines = (tmp_path / "shown" / "predictions.csv").read_text().splitlines()
    assert len(lines) == 1 + 11


def test_a_detector_of_an_authors_file(tiny_directory, settings, tmp_path) -> None:
    file = save(tmp_path / "mvtec_pretrained.pth", layers())
    picture = np.random.default_rng(0).integers(0, 255, (70, 50, 3), np.uint8)
    # What authors trained at, which is no multiple of this patch.
    with pytest.raises(InputError, match="518"):
        Detector.load(file, clip=str(tiny_directory))
    detector = Detector.load(file, clip=str(tiny_directory), image_size=64)
    assert detector.identity["clip.activation"] == "gelu"
    config = settings(checkpoint=str(file), clip__image_size=64)
    same = Detector.from_config(config).predict(picture, "cup")
    found = detector.predict(picture, "cup")
    assert found.anomaly_map.shape == (70, 50) and found.score == same.score


def test_prompts_of_a_wider_clip_are_refused(settings, tmp_path) -> None:
    file = save(tmp_path / "epoch_15.pth", prompts(width=64))
    with pytest.raises(InputError, match="epoch_15.pth.*context.*64"):
        load_trained(resolve(settings(checkpoint=str(file))), None)


def test_a_layout_of_nobody_is_refused(settings, tmp_path) -> None:
    file = save(tmp_path / "m.pth", {"decoder": {"w": np.zeros((2, 2), np.float32)}})
    with pytest.raises(InputError, match="holds decoder.*AnomalyCLIP"):
        load_trained(resolve(settings(checkpoint=str(file))), None)


def test_crane_s_prompts_are_not_taken_for_anomalyclip_s(settings) -> None:
    """The same names, but prompts for texts that look at the picture."""
    shared = os.environ.get("KANOCLIP_SHARED")
    if not shared:
        pytest.skip("KANOCLIP_SHARED is unset: no published file to read")
    file = Path(shared) / "methods" / "parity" / "crane_epoch_5.pth"
    with pytest.raises(InputError, match="layout of no published checkpoint"):
        load_trained(resolve(settings(checkpoint=str(file))), None)


def test_a_file_that_calls_something_is_refused(settings, tmp_path) -> None:
    torch = pytest.importorskip("torch")

    class Attack:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(tmp_path / "called"),)

    file = tmp_path / "epoch_15.pth"
    inner = {"ctx_pos": Attack(), "compound_prompts_text.0": torch.zeros(4, WORDS)}
    torch.save({"prompt_learner": inner}, file)
    with pytest.raises(InputError, match="epoch_15.pth"):
        engine.run("eval", settings(checkpoint=str(file)), tmp_path / "eval")
    assert not (tmp_path / "called").exists() and not (tmp_path / "eval").exists()


def test_no_such_file(settings, tmp_path) -> None:
    with pytest.raises(InputError, match="nowhere.pth"):
        load_trained(resolve(settings(checkpoint=str(tmp_path / "nowhere.pth"))), None)
