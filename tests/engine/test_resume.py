"""A training goes on with what it began with, from the newest state that is whole."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny_clip

from data_pipelines.sources import open_source
from kanoclip_jax.engine import build, provenance, train
from kanoclip_jax.engine.build import load_method, open_dataset
from kanoclip_jax.engine.checkpoint import digest_of, read_meta
from kanoclip_jax.engine.prediction.detector import Detector
from kanoclip_jax.engine.restore import load_trained
from kanoclip_jax.engine.settings import resolve
from kanoclip_jax.engine.workdir import Workdir
from kanoclip_jax.errors import InputError


@pytest.fixture(scope="module")
def world(
    quick: Callable[..., Any],
    tiny_weights: Mapping[str, np.ndarray],
    tmp_path_factory: pytest.TempPathFactory,
) -> SimpleNamespace:
    """One training, whose last two steps are 9 and 11, and what it was made of."""
    folder = tmp_path_factory.mktemp("resume")
    tiny_clip.write_directory(folder / "clip", weights=tiny_weights)
    config = resolve(quick(clip__name=str(folder / "clip")))
    method, source = load_method(config), open_dataset(config, "mvtec", ())
    state = train.Run(config, Workdir(folder / "run"), method, source).train()
    return SimpleNamespace(
        config=config,
        method=method,
        source=source,
        clip=folder / "clip",
        folder=folder / "run",
        params=digest_of(state.params),
    )


@pytest.fixture
def copy(world: SimpleNamespace, tmp_path: Path) -> Path:
    """A run's folder to be damaged."""
    return Path(shutil.copytree(world.folder, tmp_path / "run"))


def flip(step: Path) -> None:
    """A bit in the middle of the largest of a step's arrays of parameters."""
    path = max(
        (step / "params" / "ocdbt.process_0").rglob("*"),
        key=lambda p: p.stat().st_size if p.is_file() else 0,
    )
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 8
    path.write_bytes(data)


def forget(step: Path) -> None:
    """Make a step one of a version that kept no digests."""
    path = step / "meta" / "metadata"
    meta = json.loads(path.read_text())
    for key in ("digest", "digests", "inputs"):
        del meta[key]
    path.write_text(json.dumps(meta))


@pytest.mark.parametrize(
    "damage", [flip, lambda step: shutil.rmtree(step / "params")], ids=["bit", "half"]
)
def test_a_damaged_newest_step_is_passed_over_aloud(
    world: SimpleNamespace,
    copy: Path,
    capsys: pytest.CaptureFixture,
    damage: Callable[[Path], None],
) -> None:
    damage(copy / "checkpoints" / "11")
    trained = load_trained(world.config, Workdir(copy))
    assert trained.checkpoint == copy / "checkpoints" / "9"
    assert Detector.load(copy / "checkpoints").identity == trained.identity()
    said = capsys.readouterr().out
    assert str(copy / "checkpoints" / "11") in said
    assert "the older step 9 is used instead" in said


def test_where_no_step_is_whole_one_error_names_them(
    world: SimpleNamespace, copy: Path
) -> None:
    for step in ("9", "11"):
        flip(copy / "checkpoints" / step)
    with pytest.raises(InputError, match=r"no step of .* is whole .*/11 .*/9 "):
        load_trained(world.config, Workdir(copy))
    run = train.Run(world.config, Workdir(copy), world.method, world.source)
    with pytest.raises(InputError, match=r"no step of .* is whole .*/11 .*/9 "):
        run.train()


def test_a_step_that_is_named_is_used_or_nothing(
    world: SimpleNamespace, copy: Path
) -> None:
    flip(copy / "checkpoints" / "11")
    with pytest.raises(InputError, match="11"):
        Detector.load(copy / "checkpoints" / "11")


def test_a_training_goes_on_from_the_older_step_bit_for_bit(
    world: SimpleNamespace, copy: Path, capsys: pytest.CaptureFixture
) -> None:
    flip(copy / "checkpoints" / "11")
    run = train.Run(world.config, Workdir(copy), world.method, world.source)
    state = run.train()
    assert int(state.step) == 11
    assert digest_of(state.params) == world.params
    assert "continuing from step 9 of 11" in capsys.readouterr().out
    names = {path.name for path in (copy / "checkpoints").iterdir()}
    assert {"9", "11", "11.damaged"} <= names
    assert load_trained(world.config, Workdir(copy)).checkpoint.name == "11"


def test_a_step_under_another_name_is_not_gone_on_with(
    world: SimpleNamespace, copy: Path
) -> None:
    folder = copy / "checkpoints"
    (folder / "11").rename(folder / "10")
    (folder / "9").rename(folder / "8")
    run = train.Run(world.config, Workdir(copy), world.method, world.source)
    with pytest.raises(InputError, match="holds step 11, not what its name says"):
        run.train()


def test_steps_of_earlier_versions_are_used_and_named(
    world: SimpleNamespace, copy: Path, capsys: pytest.CaptureFixture
) -> None:
    forget(copy / "checkpoints" / "11")
    trained = load_trained(world.config, Workdir(copy))
    assert digest_of(trained.params) == world.params
    assert "kept no digests" in capsys.readouterr().out
    run = train.Run(world.config, Workdir(copy), world.method, world.source)
    assert digest_of(run.train().params) == world.params
    assert "kept no digest of its pictures" in capsys.readouterr().out


def changed_weights(clip: Path, weights: Mapping[str, np.ndarray]) -> None:
    """One number of one array, under the same name."""
    weights = {name: np.array(array) for name, array in weights.items()}
    name = next(name for name in sorted(weights) if name.endswith("weight"))
    weights[name].flat[0] += 1
    tiny_clip.write_directory(clip, weights=weights)


def changed_constants(clip: Path, weights: Mapping[str, np.ndarray]) -> None:
    del weights
    (clip / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.5] * 3, "image_std": [0.5] * 3})
    )


@pytest.mark.parametrize(
    "change, said",
    [
        (changed_weights, "the files have changed"),
        (changed_constants, "other files of the CLIP"),
    ],
)
def test_a_backbone_that_changed_under_its_name_is_noticed(
    world: SimpleNamespace,
    tiny_weights: Mapping[str, np.ndarray],
    tmp_path: Path,
    change: Callable[..., None],
    said: str,
) -> None:
    before = Path(shutil.copytree(world.clip, tmp_path / "before"))
    try:
        change(world.clip, tiny_weights)
        build._load_clip.cache_clear()
        with pytest.raises(InputError, match=said):
            load_trained(world.config, Workdir(world.folder))
        method = load_method(world.config)
        run = train.Run(world.config, Workdir(world.folder), method, world.source)
        for go_on in (run.check, run.train):
            with pytest.raises(InputError, match=said):
                go_on()
    finally:
        shutil.rmtree(world.clip)
        before.rename(world.clip)
        build._load_clip.cache_clear()


def test_other_inputs_are_refused_by_what_differs(
    world: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    meta = read_meta(world.folder / "checkpoints" / "11")

    def compare(source: Any = world.source) -> None:
        provenance.refuse_other_inputs(world.folder, meta, world.method, source)

    compare()
    with pytest.raises(InputError, match="on other pictures, masks, labels"):
        compare(open_dataset(world.config, "mvtec", ("bottle",)))
    monkeypatch.setattr(provenance, "_CODE", 2)
    with pytest.raises(InputError, match="version of this package that computes"):
        compare()


def test_a_second_backbone_is_compared_too(
    backbones: Callable[[str], Mapping[str, Any]], tmp_path: Path
) -> None:
    guide = backbones("crane_plus")["guide"]
    method = SimpleNamespace(
        backbones=("guide",),
        guide=guide,
        backbone_identity=lambda: {
            "guide": {"name": guide.name, "fingerprint": guide.fingerprint}
        },
    )
    meta = {"guide": {"name": guide.name, "fingerprint": "0" * 64}}
    with pytest.raises(InputError, match="GUIDE .*: the files have changed"):
        provenance.refuse_other_weights(tmp_path, meta, method)
    meta = {**method.backbone_identity(), "inputs": {"guide.files": "0" * 64}}
    with pytest.raises(InputError, match="other files of the GUIDE"):
        provenance.refuse_other_weights(tmp_path, meta, method)


def test_a_sources_digest_sees_pictures_masks_names_and_labels(
    data_root: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(data_root / "mvtec", tmp_path / "plain"))

    def digest(**options: Any) -> str:
        return open_source(f"folder:{root}", root="", prepared="", **options).digest()

    seen = [digest(), digest(class_names="raw", classes=["bottle"])]
    masks = sorted(root.glob("*/ground_truth/*/*.png"))
    pictures = sorted(root.glob("*/test/*/*.png"))
    for first, second in (masks[:2], pictures[-2:]):
        assert first.read_bytes() != second.read_bytes()
        first.write_bytes(second.read_bytes())
        seen.append(digest())
    assert len(set(seen)) == len(seen)
    assert digest() == seen[-1]
