"""Seeded damage to all that is stored: refused, computed again or equal, never other.

Small files are damaged in place and given to their readers; nothing is trained here.
"""

import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from class_trees import write_class
from safetensors.numpy import save_file
from sample_documents import EVIDENCE, REPORT

from data_pipelines.builders import copies
from data_pipelines.digests import seal, unseal
from data_pipelines.errors import DataError
from data_pipelines.sources import open_source
from kanoclip_jax.engine import checkpoint
from kanoclip_jax.engine.export import run as export
from kanoclip_jax.engine.feature_cache import FeatureCache
from kanoclip_jax.engine.prediction.calibration import (
    Calibration,
    read_calibrations,
    save_calibration,
)
from kanoclip_jax.engine.prediction.predictions import Predictions
from kanoclip_jax.engine.reporting import evidence
from kanoclip_jax.engine.settings import resolve
from kanoclip_jax.engine.step import TrainState
from kanoclip_jax.engine.workdir import Workdir
from kanoclip_jax.errors import InputError
from kanoclip_jax.knowledge import store
from kanoclip_jax.knowledge.means import CachedEncoder

# What a reader returns where it would compute again what it did not find whole.
AGAIN = object()
# Damaged copies of each kind; 500 at least.
CASES = {
    "checkpoint": 120,
    "optimiser": 30,
    "shard": 80,
    "prepared copy": 80,
    "large prepared copy": 60,
    "knowledge": 60,
    "bundled knowledge": 30,
    "encoded sentences": 50,
    "calibration": 60,
    "config.json": 40,
    "predictions": 60,
    "report.json": 40,
    "evidence.json": 30,
    "manifest": 40,
}


class Stored(NamedTuple):
    """Files of one kind, and how they are read.

    Attributes:
        files: those that are damaged, one at a time.
        read: gives what they hold, or AGAIN.
    """

    files: list[Path]
    read: Callable[[], Any]


def damage(data: bytes, rng: random.Random) -> tuple[str, bytes | None]:
    """A kind of damage, and what it leaves of a file; None where the file is gone."""
    kind = rng.choice(["flip", "flip", "cut", "zeros", "gone"])
    changed, at = bytearray(data), rng.randrange(len(data))
    if kind == "flip":
        changed[at] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        # Not at a line's end, where nothing is half.
        while data[at - 1 : at] == b"\n":
            at = rng.randrange(len(data))
        changed = changed[:at]
    elif kind == "zeros":
        some = min(rng.choice([1, 16, 256]), len(data) - at)
        changed[at : at + some] = bytes(some)
    return kind, None if kind == "gone" else bytes(changed)


def outcomes(name: str, stored: Stored, same: Callable[[Any, Any], bool]) -> Counter:
    """What became of each damaged copy, by kind of damage."""
    rng = random.Random(name)
    whole = stored.read()
    count: Counter = Counter()
    for _ in range(CASES[name]):
        path = rng.choice(stored.files)
        data = path.read_bytes()
        kind, left = damage(data, rng)
        if left is None:
            path.unlink()
        else:
            path.write_bytes(left)
        try:
            found = stored.read()
        except (InputError, DataError) as error:
            assert str(error) and "\n" not in str(error)
            outcome = "refused"
        else:
            again = found is AGAIN
            outcome = "again" if again else "equal" if same(found, whole) else "OTHER"
        count[kind, outcome] += 1
        assert outcome != "OTHER", f"{path}: {kind} went unnoticed"
        path.write_bytes(data)
    print(f"{name}: {dict(sorted(count.items()))}")
    return count


def expect(
    name: str, stored: Stored, same: Callable[[Any, Any], bool] | None = None
) -> None:
    """Nothing is taken for what it is not, and most damage is noticed."""
    same = same or (lambda found, whole: found == whole)
    count = outcomes(name, stored, same)
    assert sum(count.values()) == CASES[name]
    assert sum(n for (_, outcome), n in count.items() if outcome != "equal") > 0


def same_arrays(found: Any, whole: Any) -> bool:
    return checkpoint.digest_of(found) == checkpoint.digest_of(whole)


def files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_there_are_cases_enough() -> None:
    assert sum(CASES.values()) >= 500


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A checkpoint of two small arrays, with what reads it."""
    rng = np.random.default_rng(0)
    params = {
        "a": {"kernel": rng.normal(size=(40, 30)).astype(np.float32)},
        "b": rng.normal(size=3000).astype(np.float32),
    }
    folder = tmp_path_factory.mktemp("run") / "checkpoints"
    state = TrainState(
        jax.device_put(params),
        jax.device_put({"mu": params, "count": np.int32(3)}),
        jax.device_put(np.int32(7)),
    )
    checkpoints = checkpoint.Checkpoints(folder)
    meta = {"config": {"method": "probe", "model": {}}, "data": {"next_index": 7}}
    checkpoints.save(state, meta | {"seconds": 1.25})
    checkpoints.close()
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), params)
    return SimpleNamespace(
        folder=folder, state=state, method=SimpleNamespace(abstract_params=like)
    )


def test_checkpoints(run: SimpleNamespace) -> None:
    step = run.folder / "7"

    def read() -> Any:
        meta = checkpoint.read_meta(step)
        return json.dumps(meta), checkpoint.read_params(step, meta, run.method)

    expect(
        "checkpoint",
        Stored([*files_below(step / "params"), *files_below(step / "meta")], read),
        lambda found, whole: found[0] == whole[0] and same_arrays(found[1], whole[1]),
    )


def test_optimiser_states(run: SimpleNamespace) -> None:
    """The reader of a resume, which puts aside what is damaged."""
    checkpoints = checkpoint.Checkpoints(run.folder)
    step = run.folder / "7"
    files = [
        f
        for f in files_below(step / "optimizer")
        if "ocdbt" in f.name or "d" == f.parent.name
    ]

    def read() -> Any:
        return checkpoints._restore(step, run.state)[0]

    expect("optimiser", Stored(files, read), same_arrays)
    checkpoints.close()


def test_a_checkpoint_of_other_shapes_is_refused(run: SimpleNamespace) -> None:
    step = run.folder / "7"
    like = {**run.method.abstract_params, "b": jax.ShapeDtypeStruct((30,), np.float32)}
    with pytest.raises(InputError, match=r"b \(3000,\) against \(30,\)"):
        checkpoint.read_params(
            step, checkpoint.read_meta(step), SimpleNamespace(abstract_params=like)
        )


def fake_method(**settings: Any) -> SimpleNamespace:
    """As much of a method as a cache of features asks for."""
    return SimpleNamespace(
        image_size=8,
        frozen={},
        visual_settings=lambda: settings,
        visual=lambda frozen, image: {
            "cls": image[:, 0, :, 0].astype(np.float16),
            "taps": image[..., 0].astype(np.float16),
        },
    )


def test_shards_of_features(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    cache = FeatureCache(tmp_path, fake_method())
    keys = [f"{i:064x}" for i in range(6)]
    rows = [
        [rng.normal(size=shape).astype(np.float16) for shape in ((8,), (8, 8))]
        for _ in keys
    ]
    cache._write(list(zip(keys, rows, strict=True)))
    files = files_below(cache.folder)
    data = files[0].read_bytes()

    def read() -> Any:
        again = FeatureCache(tmp_path, fake_method())
        again._check(keys)
        if any(key not in again for key in keys):
            # As a run would: what is there is what it should be.
            assert not files[0].exists() or not again._rows
            return AGAIN
        return again.read(keys)

    expect("shard", Stored(files, read), same_arrays)
    assert files[0].read_bytes() == data
    # Whole files of other content.
    good = read()
    for changed in (
        {name: array[:, :4] for name, array in good.items()},
        {name: array[:4] for name, array in good.items()},
        {"cls": good["cls"]},
    ):
        save_file(
            {name: np.ascontiguousarray(array) for name, array in changed.items()},
            files[0],
            {"keys": json.dumps(keys)},
        )
        assert read() is AGAIN


def test_shards_of_earlier_versions_are_read_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    cache = FeatureCache(tmp_path, fake_method())
    cache.folder.mkdir(parents=True)
    arrays = {
        "cls": np.ones((1, 8), np.float16),
        "taps": np.ones((1, 8, 8), np.float16),
    }
    save_file(arrays, cache.folder / "old.safetensors", {"keys": '["k"]'})
    cache.refresh()
    cache._check(["k"])
    assert cache.read(["k"])["cls"].tolist() == [[1] * 8]
    assert "1 shards" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["prepared copy", "large prepared copy"])
def test_prepared_copies(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of large files only what is read is checked."""
    if name.startswith("large"):
        monkeypatch.setattr(copies, "_SMALL", 0)
    write_class(tmp_path / "root" / "mvtec" / "bottle", 2, 2, seed=1)
    places = {"root": str(tmp_path / "root"), "prepared": str(tmp_path / "copies")}
    source = open_source("mvtec", **places)
    files = [f for f in files_below(tmp_path / "copies") if f.name != ".lock"]
    if name.startswith("large"):
        files = [f for f in files if "array_record" in f.name]
    assert files

    def read() -> Any:
        found = copies.PreparedSource(*source._opened_with)
        return [found[i] for i in range(len(found))], found.digest()

    expect(name, Stored(files, read))
    # At the door, what can be told on opening is prepared again.
    whole = read()
    files[0].write_bytes(files[0].read_bytes()[:-9])
    found = open_source("mvtec", **places)
    assert ([found[i] for i in range(len(found))], found.digest()) == whole


def test_copies_of_earlier_versions_are_read_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_class(tmp_path / "root" / "mvtec" / "bottle", 2, 2, seed=1)
    places = {"root": str(tmp_path / "root"), "prepared": str(tmp_path / "copies")}
    digest = open_source("mvtec", **places).digest()
    (index,) = (tmp_path / "copies").rglob("index.json")
    old = json.loads(index.read_bytes())
    for key in ("masks", "files", "digest"):
        del old[key]
    index.write_text(json.dumps(old))
    assert open_source("mvtec", **places).digest() == digest
    assert "kept no digests of masks" in caplog.text


def records(count: int) -> list[store.Record]:
    return [
        store.Record("mvtec", f"bolt_{i}", "llm", f"Sentence {i}: a crack.")
        for i in range(count)
    ]


def test_knowledge(tmp_path: Path) -> None:
    path = tmp_path / "k.jsonl"
    store.write_records(path, records(20))
    expect("knowledge", Stored([path], lambda: store.read_records(path)))


def test_bundled_knowledge(tmp_path: Path) -> None:
    store.write_records(tmp_path / "a.jsonl", records(4))
    store.write_records(tmp_path / "b.jsonl", records(3))
    store.write_digests(tmp_path)

    def read() -> Any:
        store._bundled.cache_clear()
        return store._bundled(tmp_path)

    expect("bundled knowledge", Stored(files_below(tmp_path), read))


def test_the_bundle_is_what_its_digests_say() -> None:
    """Where a file was edited on purpose, `store.write_digests(BUNDLED)` says so."""
    known = json.loads((store.BUNDLED / store.DIGESTS).read_bytes())
    assert sorted(known) == sorted(path.name for path in store.BUNDLED.glob("*.jsonl"))
    assert store._bundled(store.BUNDLED)


def test_encoded_sentences(tmp_path: Path) -> None:
    path = tmp_path / "features.npz"
    encoder = CachedEncoder.__new__(CachedEncoder)
    encoder._path = path
    rng = np.random.default_rng(0)
    rows = {f"{i:064x}": rng.normal(size=16).astype(np.float32) for i in range(5)}
    np.savez(path, **rows)

    def read() -> Any:
        found = encoder._load()
        return found if found.keys() == rows.keys() else AGAIN

    expect("encoded sentences", Stored([path], read), same_arrays)
    np.savez(path, **(rows | {f"{0:064x}": np.zeros(3, np.float32)}))
    assert read() is AGAIN


def test_calibrations(tmp_path: Path) -> None:
    for name in ("plate", "nut"):
        rates = {"threshold": 0.4375, "rate": 0.03}
        save_calibration(
            Calibration(name, {"parameters": "ab"}, rates, rates, {"pictures": 30}),
            [tmp_path],
        )
    file = tmp_path / "calibration.json"
    expect("calibration", Stored([file], lambda: read_calibrations(file)))
    # Those of earlier versions are what they say.
    whole = read_calibrations(file)
    file.write_text(json.dumps(unseal(json.loads(file.read_bytes()))))
    assert read_calibrations(file) == whole


def test_configurations(quick: Callable[..., Any], tmp_path: Path) -> None:
    """A folder is claimed again by its own settings, or by nobody."""
    config = resolve(quick())
    Workdir(tmp_path).claim(config)
    file = tmp_path / "config.json"

    def read() -> Any:
        if not file.is_file():
            return AGAIN
        Workdir(tmp_path).claim(config)
        return None

    expect("config.json", Stored([file], read))


def test_predictions(tmp_path: Path) -> None:
    settings = {"class_name": "nut", "parameters": "ab", "threshold": [0.4, 0.5]}
    predictions = Predictions(tmp_path, settings)
    pictures = [tmp_path / f"{i}.png" for i in range(8)]
    for i, path in enumerate(pictures):
        path.write_bytes(bytes(i + 1))
        known = next(iter(predictions.begin([path]).values()))
        predictions.append(path, {"score": 0.123456789 * i, "label": "normal"}, known)
    predictions.close()
    log = tmp_path / "predictions.jsonl"
    files = [log, tmp_path / "predictions.settings.json"]

    def read() -> Any:
        found = Predictions(tmp_path, settings)
        try:
            todo = found.begin(pictures)
            return AGAIN if todo else list(found.lines())
        finally:
            found.close()

    expect("predictions", Stored(files, read))


def test_reports(tmp_path: Path) -> None:
    folder = Workdir(tmp_path)
    report = REPORT
    folder.write("report.json", json.dumps(seal(report), indent=2) + "\n")
    file = tmp_path / "report.json"
    expect("report.json", Stored([file], lambda: folder.report() or AGAIN), nearly)
    file.write_text(json.dumps(report))
    assert folder.report() == report


def test_evidence(tmp_path: Path) -> None:
    seen = EVIDENCE
    evidence.save(Workdir(tmp_path), seen)
    file = tmp_path / "evidence.json"
    expect(
        "evidence.json",
        Stored([file], lambda: evidence.load(tmp_path) or AGAIN),
        nearly,
    )


def test_manifests_of_exports(tmp_path: Path) -> None:
    """Written as an export is kept; whoever reads it checks the same digest."""
    partial, folder = tmp_path / "partial", tmp_path / "export"
    partial.mkdir()
    (partial / "runner.py").write_text("pass\n")
    export._keep(partial, folder, {"v": 1, "thresholds": {"nut": {"image": 0.25}}})
    file = folder / export.MANIFEST

    def read() -> Any:
        try:
            return unseal(json.loads(file.read_bytes()))
        except (OSError, ValueError) as error:
            raise InputError("damaged") from error

    assert len(read()["runner"]) == 64
    expect("manifest", Stored([file], read), nearly)


def nearly(found: Any, whole: Any) -> bool:
    """Equal, where a bit of the word `digest` may have made it another key."""
    return all(found.get(key) == value for key, value in whole.items())
