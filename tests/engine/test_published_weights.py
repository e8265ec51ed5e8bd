"""Authors' files as checkpoints: read by the allow-list, run by their own method."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import tiny_clip

from kanoclip_jax import engine
from kanoclip_jax.backbones import load_clip
from kanoclip_jax.configs import base
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


def modules() -> dict[str, np.ndarray]:
    """AdaCLIP's flat layout, of the tiny CLIP's widths: 64, 32 and 48."""
    rng = np.random.default_rng(2)
    shapes: dict[str, tuple[int, ...]] = {"cls_token_layer.head.0.weight": (48, 48)}
    shapes["cls_token_layer.head.0.bias"] = (48,)
    for tower, width in (("visual", 64), ("text", 32)):
        for index in range(2):
            shapes[f"{tower}_prompter.static_prompts.{index}"] = (3, width)
        for index in range(3):
            head = f"dynamic_{tower}_prompt_generator.head.{index}"
            shapes |= {f"{head}.weight": (width, 48), f"{head}.bias": (width,)}
    for index in range(4):
        head = f"patch_token_layer.head.{index}"
        shapes |= {f"{head}.weight": (48, 64), f"{head}.bias": (48,)}
    return {
        f"clip_model.{name}": rng.normal(size=shape).astype(np.float32)
        for name, shape in shapes.items()
    }


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


def test_adaclip_s_modules(settings, tmp_path) -> None:
    torch = pytest.importorskip("torch")
    content, file = modules(), tmp_path / "pretrained_all.pth"
    torch.save({name: torch.tensor(value) for name, value in content.items()}, file)
    trained = load_trained(resolve(settings(checkpoint=str(file))), None)
    assert trained.config.method == "adaclip"
    assert trained.method.prompt_length == 3 and trained.method.prompt_depth == 2
    assert trained.method.clip.activation == "gelu"
    assert trained.config.clip.position_grid == "bicubic"
    for name, found in (
        ("text_prompter.static_prompts.1", trained.params["prompts"]["text"][1]),
        (
            "dynamic_visual_prompt_generator.head.2.weight",
            trained.params["dynamic"]["visual"]["kernel"][2].T,
        ),
        (
            "patch_token_layer.head.3.bias",
            trained.params["heads"]["patches"]["bias"][3],
        ),
        ("cls_token_layer.head.0.weight", trained.params["heads"]["cls"]["kernel"].T),
    ):
        np.testing.assert_array_equal(found, content[f"clip_model.{name}"])
    del content["clip_model.cls_token_layer.head.0.bias"]
    torch.save({name: torch.tensor(value) for name, value in content.items()}, file)
    with pytest.raises(InputError, match="AdaCLIP.*cls_token_layer.head.0.bias"):
        load_trained(resolve(settings(checkpoint=str(file))), None)


def test_prompts_of_a_wider_clip_are_refused(settings, tmp_path) -> None:
    file = save(tmp_path / "epoch_15.pth", prompts(width=64))
    with pytest.raises(InputError, match="epoch_15.pth.*context.*64"):
        load_trained(resolve(settings(checkpoint=str(file))), None)


def test_a_layout_of_nobody_is_refused(settings, tmp_path) -> None:
    file = save(tmp_path / "m.pth", {"decoder": {"w": np.zeros((2, 2), np.float32)}})
    with pytest.raises(InputError, match="holds decoder.*AnomalyCLIP"):
        load_trained(resolve(settings(checkpoint=str(file))), None)


def crane_prompts(embeddings: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """Crane's layout: AnomalyCLIP's without projections, and tokens of its CLIP."""
    learner = {
        name: tensor
        for name, tensor in prompts()["prompt_learner"].items()
        if "projections" not in name
    }
    for side, words in (("pos", [7, 8]), ("neg", [9, 7, 8])):
        ids = np.zeros((1, 1, 77), np.int32)
        ids[..., 0], ids[..., 1 + CONTEXT : 1 + CONTEXT + len(words)] = 5, words
        learner[f"tokenized_prompts_{side}"] = ids
        learner[f"token_prefix_{side}"] = embeddings[ids[..., :1]]
        learner[f"token_suffix_{side}"] = embeddings[ids[..., 1 + CONTEXT :]]
    return {"prompt_learner": learner}


@pytest.mark.parametrize("method", ["kanoclip", "crane", "crane_plus"])
def test_crane_s_prompts_are_those_of_either_crane(
    settings, even_directory, guide_directory, tmp_path, capsys, method
) -> None:
    """Their files are alike, so the configured method says which it is to be."""
    clip = load_clip(str(even_directory))
    table = clip.params["text_model"]["embeddings"]["token_embedding"]["embedding"]
    content = crane_prompts(np.asarray(table))
    file = save(tmp_path / "epoch_5.pth", content)
    config = settings(checkpoint=str(file), clip__name=str(even_directory))
    config.guide.name = str(guide_directory)
    if method != "kanoclip":
        config.method, config.model = method, base.get_config(method).model
    trained = load_trained(resolve(config), None)
    name = "crane" if method == "kanoclip" else method
    assert trained.config.method == name
    assert trained.config.model.deep_prompt_depth == DEEP + 1
    context = content["prompt_learner"]["ctx_pos"][0, 0]
    np.testing.assert_array_equal(trained.params["prompts"]["context"][0], context)
    said = capsys.readouterr().out
    assert f"published weights of {trained.method.title}" in said
    assert "another CLIP" not in said
    # Nobody else's, whatever the command line says.
    config.method, config.model = "anomalyclip", base.get_config("anomalyclip").model
    with pytest.raises(InputError, match=r"weights of Crane, and --config\.method=ano"):
        load_trained(resolve(config), None, frozenset({"method"}))


@pytest.mark.slow
def test_crane_s_published_prompts_run_on_any_clip_of_their_width(
    settings, data_root, tmp_path, capsys
) -> None:
    shared = os.environ.get("KANOCLIP_SHARED")
    if not shared:
        pytest.skip("KANOCLIP_SHARED is unset: no published file to read")
    file = Path(shared) / "methods" / "parity" / "crane_epoch_5.pth"
    with pytest.raises(InputError, match="feature, 48 wide.*text tower, 32 wide"):
        load_trained(resolve(settings(checkpoint=str(file))), None)
    # As wide as a ViT-L's text, and otherwise tiny.
    config = tiny_clip.change(
        projection_dim=768,
        text_config={
            "hidden_size": 768,
            "num_attention_heads": 12,
            "num_hidden_layers": 2,
            "projection_dim": 768,
        },
        vision_config={"projection_dim": 768},
    )
    wide = tiny_clip.write_directory(tmp_path / "wide", config)
    config = settings(
        checkpoint=str(file),
        clip__name=str(wide),
        predict__input=str(data_root / "mine/cup/test"),
        export__formats="onnx",
        export__class_names="cup",
    )
    assert engine.run("eval", config, tmp_path / "eval") == 0
    said = capsys.readouterr().out
    assert "published weights of Crane" in said
    assert "was trained with another CLIP than" in said
    report = report_of(tmp_path / "eval")
    assert (report["method"], report["parameters"]) == ("crane", 43008)
    assert engine.run("predict", config, tmp_path / "shown") == 0
    assert engine.run("export", config, tmp_path / "shown") == 0
    assert (tmp_path / "shown" / "export" / "model.onnx").is_file()


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
