"""Inspecting knowledge: the table against numpy, the picture, and what is not read."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy_clip
import pytest
import tiny_clip
from ml_collections import ConfigDict
from PIL import Image

from kanoclip_jax.backbones import Clip
from kanoclip_jax.engine.build import load_method
from kanoclip_jax.engine.checkpoint import Checkpoints
from kanoclip_jax.engine.knowledge import inspect as inspect_knowledge
from kanoclip_jax.engine.knowledge.inspect import find_subject
from kanoclip_jax.engine.optimizer import make_optimizer
from kanoclip_jax.engine.settings import resolve, to_dict
from kanoclip_jax.engine.sharding import Devices
from kanoclip_jax.engine.step import fresh_state
from kanoclip_jax.errors import InputError
from kanoclip_jax.knowledge.store import Record, write_records

Settings = Callable[..., ConfigDict]
LONG = "object " * 40 + "normal. " + "bottle " * 40 + "defective."
SENTENCES = [
    Record("mvtec", "bottle", "llm", "defective bottle"),
    Record("mvtec", "bottle", "vqa", "abnormal object", image="bottle/0.png"),
    Record("mvtec", "bottle", "vqa", "Defective bottle", image="bottle/1.png"),
    Record("mvtec", "bottle", "llm", "perfect", polarity="background"),
    Record("mvtec", "metal_nut", "llm", LONG),
    Record("mvtec", "screw", "llm", "of no class here"),
]


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def features(
    clip: Clip,
    weights: Mapping[str, np.ndarray],
    texts: list[str],
    context: np.ndarray | None = None,
) -> np.ndarray:
    """Text features in numpy, behind learned vectors where there are any."""
    tokens = clip.tokenizer(texts, 0 if context is None else len(context))
    embedded = weights["text_model.embeddings.token_embedding.weight"][tokens.ids]
    if context is not None:
        embedded[:, 1 : len(context) + 1] = context
    return numpy_clip.text_feature(embedded, tokens.end, weights, tiny_clip.CONFIG)


def rows(printed: str) -> dict[str, dict[str, str]]:
    """The printed table by class and column."""
    table = [line for line in printed.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("| ").split("|")] for line in table]
    head, _, *body = cells
    return {row[0]: dict(zip(head, row, strict=True)) for row in body}


def inspect(config: ConfigDict, workdir: Path) -> int:
    return inspect_knowledge.main(resolve(config), workdir)


@pytest.fixture
def sentences(tmp_path: Path) -> str:
    path = tmp_path / "k.jsonl"
    write_records(path, SENTENCES)
    return str(path)


def save_checkpoint(config: ConfigDict, folder: Path) -> tuple[str, np.ndarray]:
    """A checkpoint of fresh parameters, and its two contexts."""
    resolved = resolve(config)
    method = load_method(resolved)
    optimizer = make_optimizer(
        prompt_learning_rate=1e-3, learning_rate=1e-4, betas=(0.5, 0.999)
    )
    state = fresh_state(method, optimizer, Devices(4, "train.batch_size"), 1)
    checkpoints = Checkpoints(folder)
    meta = {"config": to_dict(resolved), **method.backbone_identity()}
    checkpoints.save(state, meta)
    checkpoints.close()
    if "prompts" not in state.params:
        return str(folder), np.empty(0)
    return str(folder), np.asarray(state.params["prompts"]["context"])


def test_table_equals_numpy(
    settings: Settings,
    sentences: str,
    clip: Clip,
    tiny_weights: Mapping[str, np.ndarray],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = settings(
        knowledge__path=sentences,
        model__margin=0.5,
        train__classes="bottle,metal_nut",
        # Without images, no sentences from masks.
        data__root=str(tmp_path),
    )
    config.checkpoint, context = save_checkpoint(config, tmp_path / "checkpoints")
    assert inspect(config, tmp_path / "run") == 0
    printed = capsys.readouterr().out
    found = rows(printed)
    assert list(found) == ["bottle", "metal_nut"]
    bottle, nut = found["bottle"], found["metal_nut"]
    names = ("llm", "vqa", "template", "background", "repeated", "in any case", "> 77")
    assert [bottle[name] for name in names] == ["1", "2", "0", "1", "0", "1", "0"]
    assert [nut[name] for name in names] == ["1", "0", "0", "0", "0", "0", "1"]
    assert bottle["tokens"] == "3 / 4 / 5"

    def near(texts: list[str], vectors: np.ndarray | None = None) -> np.ndarray:
        return features(clip, tiny_weights, texts, vectors)

    texts = ["defective bottle", "abnormal object", "Defective bottle"]
    mean = unit(near(texts).mean(0))
    for column, states in (
        ("cos normal", ("normal", "perfect")),
        ("cos abnormal", ("abnormal", "defective")),
    ):
        written = [f"a photo of a {state} bottle." for state in states]
        expected = unit(unit(near(written)).mean(0)) @ mean
        np.testing.assert_allclose(float(bottle[column]), expected, atol=6e-4)
    for column, states, vectors in (
        ("cos LNP", ("normal", "perfect"), context[0]),
        ("cos LAP", ("abnormal", "defective"), context[1]),
    ):
        learned = [f"{state} bottle." for state in states]
        expected = unit(unit(near(learned, vectors)).mean(0)) @ mean
        np.testing.assert_allclose(float(bottle[column]), expected, atol=6e-4)
    cosines = dict(zip(texts, unit(near(texts)) @ mean, strict=True))
    nearest = max(cosines, key=cosines.get)
    farthest = min(cosines, key=cosines.get)
    assert f"  nearest   {cosines[nearest]:.3f}  " in printed
    assert f"  farthest  {cosines[farthest]:.3f}  {farthest}\n" in printed
    assert "eq. 2 with learned prompts acts for" in printed
    assert "classes at margin 0.5" in printed
    with Image.open(tmp_path / "run" / "knowledge" / "mvtec.png") as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 500


def test_masks_make_sentences_where_none_are_of_images(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert inspect(settings(train__classes="bottle"), tmp_path) == 0
    found = rows(capsys.readouterr().out)
    assert list(found) == ["bottle"]
    assert found["bottle"]["llm"] == "8"
    assert found["bottle"]["template"] == "6"
    assert "cos LNP" not in found["bottle"]


def test_masks_of_an_evaluation_dataset_are_not_read(
    settings: Settings, data_root: Path
) -> None:
    """Under whichever name it goes; its classes are known all the same."""
    target = f"folder:{data_root / 'mvtec'}"
    for dataset in ("mvtec", target):
        config = settings(eval__datasets=target, knowledge__dataset=dataset)
        subject = find_subject(resolve(config))
        assert subject.source is None
        assert {"bottle": "bottle", "metal_nut": "metal nut"}.items() <= (
            dict(subject.names).items()
        )
        assert subject.note == " (masks not read: it is one of eval.datasets)"
        config.knowledge.allow_evaluation_dataset = True
        allowed = find_subject(resolve(config))
        assert allowed.source is not None
        assert (allowed.source.has_masks, allowed.note) == (True, "")


def test_no_images_are_needed(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And another dataset than the training one brings all of its classes."""
    config = settings(
        data__root=str(tmp_path), knowledge__dataset="mpdd", train__classes="bottle"
    )
    assert inspect(config, tmp_path / "run") == 0
    printed = capsys.readouterr().out
    assert "its images are not there: no sentences from masks" in printed
    assert len(rows(printed)) == 6
    assert rows(printed)["tubes"]["llm"] == "8"


def test_a_folder_whose_id_is_a_path_has_a_picture_and_gaps(
    settings: Settings,
    data_root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One class has a sentence, the other none, and no mask may give one."""
    write_records(
        tmp_path / "k.jsonl", [Record("m", "cup", "vqa", "normal. defective")]
    )
    dataset = f"folder:{data_root / 'mine'}"
    config = settings(
        knowledge__dataset=dataset,
        knowledge__path=str(tmp_path / "k.jsonl"),
        eval__datasets=dataset,
    )
    assert inspect(config, tmp_path / "run") == 0
    printed = capsys.readouterr().out
    assert rows(printed)["plate"]["cos normal"] == "–"
    assert "plate: no abnormal sentence" in printed
    assert "of 1 classes" in printed
    (picture,) = (tmp_path / "run" / "knowledge").iterdir()
    assert picture.name.startswith("mine-")
    assert picture.suffix == ".png"


def test_nothing_to_inspect_is_said(settings: Settings, tmp_path: Path) -> None:
    write_records(tmp_path / "k.jsonl", [Record("m", "sprocket", "llm", "bent")])
    config = settings(
        data__root=str(tmp_path), knowledge__path=str(tmp_path / "k.jsonl")
    )
    with pytest.raises(InputError, match=r"no knowledge of mvtec \(bottle, cable, "):
        inspect(config, tmp_path)


def test_a_checkpoint_without_learned_prompts_is_refused(
    settings: Settings, tmp_path: Path
) -> None:
    config = settings(model__knpl=False)
    config.checkpoint, _ = save_checkpoint(config, tmp_path / "checkpoints")
    with pytest.raises(InputError, match=r"has no learned prompts \(model\.knpl is"):
        inspect(config, tmp_path / "run")
