"""Training end to end on a miniature: resume, cache, frozen weights, one compilation."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from jax import monitoring

from kanoclip_jax import engine
from kanoclip_jax.engine import memory, train
from kanoclip_jax.engine.build import load_method, open_dataset
from kanoclip_jax.engine.checkpoint import find_steps, read_meta, read_params
from kanoclip_jax.engine.settings import resolve
from kanoclip_jax.engine.workdir import Workdir
from kanoclip_jax.engine.writer import MetricWriter
from kanoclip_jax.errors import InputError
from kanoclip_jax.knowledge.store import Record, write_records


def metrics_of(workdir: Path) -> dict:
    return json.loads((workdir / "report.json").read_text())["datasets"]


def params_of(config, workdir: Path) -> dict:
    step = find_steps(workdir / "checkpoints")[0]
    method = load_method(resolve(config))
    params = read_params(step, read_meta(step), method)
    return {
        jax.tree_util.keystr(path): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    }


def assert_same(first: dict, second: dict) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert value.tobytes() == second[name].tobytes(), name


class Killed(BaseException):
    """Stands in for a signal: nothing in the code may catch it."""


@pytest.mark.slow
def test_an_interrupted_run_ends_bit_identical(quick, tmp_path, monkeypatch):
    config = quick()
    assert engine.run("train", config, tmp_path / "whole") == 0

    original = MetricWriter.write
    for stop_at in (5, 8):

        def write(self, step, values, stop_at=stop_at):
            original(self, step, values)
            if step == stop_at:
                raise Killed

        monkeypatch.setattr(MetricWriter, "write", write)
        with pytest.raises(Killed):
            engine.run("train", config, tmp_path / "broken")
    monkeypatch.setattr(MetricWriter, "write", original)
    assert engine.run("train", config, tmp_path / "broken") == 0

    assert metrics_of(tmp_path / "whole") == metrics_of(tmp_path / "broken")
    assert_same(
        params_of(config, tmp_path / "whole"), params_of(config, tmp_path / "broken")
    )
    for run in ("whole", "broken"):
        lines = (tmp_path / run / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines] == list(range(1, 12))


def test_a_run_does_not_go_on_with_other_sentences(settings, tmp_path, monkeypatch):
    """The file has its old name and new content."""
    sentences = tmp_path / "k.jsonl"

    def write(text: str) -> None:
        records = [
            Record("mvtec", name, source, text)
            for name in ("bottle", "metal_nut")
            for source in ("llm", "vqa")
        ]
        write_records(sentences, records)

    def stop(self, step, values):
        if step == 4:
            # What is saved in the background is there before the kill.
            saved = tmp_path / "run" / "checkpoints" / "3"
            deadline = time.monotonic() + 60
            while not saved.is_dir() and time.monotonic() < deadline:
                time.sleep(0.05)
            raise Killed

    write("A chip.")
    config = settings(knowledge__path=str(sentences), train__epochs=1)
    with monkeypatch.context() as patched:
        patched.setattr(MetricWriter, "write", stop)
        with pytest.raises(Killed):
            engine.run("train", config, tmp_path / "run")
    write("A dent.")
    with pytest.raises(InputError, match="was trained with other knowledge sentences"):
        engine.run("train", config, tmp_path / "run")
    write("A chip.")
    resolved = resolve(config)
    parts = load_method(resolved), open_dataset(resolved, "mvtec", ())
    assert train.Run(resolved, Workdir(tmp_path / "run"), *parts).train().step == 6


def test_the_cache_changes_no_bit(quick, tmp_path):
    cached = quick(train__cache_features=str(tmp_path / "features"))
    uncached = quick(train__cache_features="never")
    assert engine.run("train", cached, tmp_path / "cached") == 0
    assert engine.run("train", uncached, tmp_path / "uncached") == 0
    assert list((tmp_path / "features").rglob("*.safetensors"))
    assert_same(
        params_of(cached, tmp_path / "cached"), params_of(cached, tmp_path / "uncached")
    )


def test_training_moves_its_own_parameters_and_no_other(settings, tmp_path):
    config = resolve(settings())
    method = load_method(config)
    before = jax.tree.map(lambda leaf: np.asarray(leaf).tobytes(), method.frozen)
    source = open_dataset(config, "mvtec", ())
    run = train.Run(config, Workdir(tmp_path), method, source)
    start = {
        jax.tree_util.keystr(path): np.asarray(leaf).copy()
        for path, leaf in jax.tree_util.tree_leaves_with_path(
            method.init(jax.random.key(config.seed), method.frozen)
        )
    }
    run.train()
    assert before == jax.tree.map(
        lambda leaf: np.asarray(leaf).tobytes(), method.frozen
    )
    trained = params_of(settings(), tmp_path)
    assert start.keys() == trained.keys()
    still = [name for name in start if np.array_equal(start[name], trained[name])]
    # A softmax ignores what all keys have in common: their bias cannot learn.
    assert [name for name in still if not name.endswith("['key']['bias']")] == []


@pytest.fixture
def compilations() -> Iterator[Counter[str]]:
    """Programs compiled in this process or found on disk, by name."""
    count: Counter[str] = Counter()

    def hear(event: str, _: float, **details: str) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            count[details["fun_name"].removeprefix("jit(").rstrip(")")] += 1

    monitoring.register_event_duration_secs_listener(hear)
    yield count
    monitoring.unregister_event_duration_listener(hear)


@pytest.fixture
def a_device_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes memory known, which a CPU's is not."""

    def limit(size: int) -> None:
        fake = SimpleNamespace(memory_stats=lambda: {"bytes_limit": size})
        monkeypatch.setattr(memory, "local_device", lambda: fake)

    return limit


def test_a_training_compiles_its_programs_once(
    settings, tmp_path, compilations, a_device_of
):
    """Planning memory, filling the cache and training, each with the same programs."""
    a_device_of(10**12)
    config = resolve(settings(train__cache_features=str(tmp_path / "features")))
    method = load_method(config)
    source = open_dataset(config, "mvtec", ())
    run = train.Run(config, Workdir(tmp_path), method, source)
    run.train()
    assert compilations["train_step"] == 1
    assert compilations["wrapped"] == 1


def test_a_batch_passes_in_pieces_where_memory_is_short(
    quick, tmp_path, compilations, a_device_of, capsys
):
    """Nothing fits: what runs is the finest, and only the coarsest was tried besides."""
    a_device_of(1)
    assert engine.run("train", quick(train__epochs=1), tmp_path) == 0
    assert compilations["train_step"] == 2
    assert "the training step takes a batch in 4 pieces" in capsys.readouterr().out


def test_a_resumed_training_compiles_its_programs_once(
    quick, tmp_path, monkeypatch, compilations
):
    config = quick()
    with monkeypatch.context() as patch:
        patch.setattr(train.Run, "_save", saved_until(3))
        with pytest.raises(Killed):
            engine.run("train", config, tmp_path)
    compilations.clear()
    assert engine.run("train", config, tmp_path) == 0
    assert compilations["train_step"] == 1
    # Parameters are restored, and need not be drawn.
    assert compilations["make"] == 0


def saved_until(last: int):
    """`Run._save` that dies after a step is on disk."""

    def save(self, step: int, original=train.Run._save) -> None:
        original(self, step)
        if step == last:
            self._checkpoints.close()
            raise Killed

    return save


def test_a_finished_run_is_reported_and_not_repeated(
    quick, tmp_path, monkeypatch, capsys
):
    assert engine.run("train", quick(), tmp_path) == 0
    first = (tmp_path / "report.json").read_bytes()
    page = (tmp_path / "report.html").read_bytes()
    # As where a run was killed between the two.
    (tmp_path / "report.html").unlink()

    def fail(*_):
        raise AssertionError("trained again")

    monkeypatch.setattr(train.Run, "train", fail)
    assert engine.run("train", quick(), tmp_path) == 0
    assert (tmp_path / "report.json").read_bytes() == first
    assert (tmp_path / "report.html").read_bytes() == page
    assert "has finished" in capsys.readouterr().out


def test_another_configuration_is_refused_by_its_keys(quick, tmp_path):
    assert engine.run("train", quick(), tmp_path) == 0
    with pytest.raises(InputError, match="another model.sigma, train.epochs"):
        engine.run("train", quick(train__epochs=3, model__sigma=2.0), tmp_path)


def test_what_does_not_matter_may_change(quick, tmp_path):
    assert engine.run("train", quick(), tmp_path) == 0
    assert engine.run("train", quick(train__checkpoint_every=1), tmp_path) == 0


def test_a_method_without_parameters_is_evaluated_only(settings, tmp_path):
    off = {f"model__{part}": False for part in ("knpl", "vv", "cmci", "adapter")}
    assert engine.run("train", settings(**off), tmp_path) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["checkpoint"] is None
    assert not (tmp_path / "checkpoints").exists()
