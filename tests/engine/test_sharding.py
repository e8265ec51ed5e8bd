"""Devices and processes: what a run gives does not depend on how many there are."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from kanoclip_jax import engine
from kanoclip_jax.engine.sharding import Devices, gather
from kanoclip_jax.errors import InputError

ROOT = Path(__file__).parents[2]
# Other shapes round otherwise: gradients are added in another order, and scores that
# differ in their last bit change places, which moves an average precision by 3e-6 here.
TRAINED_APART = 1e-4
METRICS = ("image_auroc", "image_ap", "pixel_auroc", "pixel_ap", "pixel_aupro")

STEPS = """
import json, sys
import jax, numpy as np
from kanoclip_jax.backbones import load_clip
from kanoclip_jax.engine.optimizer import make_optimizer
from kanoclip_jax.engine.sharding import Devices
from kanoclip_jax.engine.step import fresh_state, make_train_step, make_features
from kanoclip_jax.models.base import TrainBatch
from kanoclip_jax.models.kanoclip import Kanoclip

clip = load_clip(sys.argv[1])
method = Kanoclip(clip, taps=(2, 4), bica_width=16, bica_heads=2, bica_groups=2)
optimizer = make_optimizer(
    prompt_learning_rate=1e-3, learning_rate=1e-4, betas=(0.5, 0.999)
)
draw = np.random.default_rng(0)
images = draw.integers(0, 256, (8, 32, 32, 3), np.uint8)
masks = (draw.random((8, 32, 32)) > 0.8).astype(np.uint8)
real = np.arange(8) < 7
labels = np.arange(8, dtype=np.int32) % 2
batch = TrainBatch(masks, labels, labels, real)
prompts = method.learning_from(
    method.prompts(method.frozen, ["bottle", "object"]),
    np.full((2, method.joint), method.joint**-0.5, np.float32),
)
for devices_count, parts in json.loads(sys.argv[2]):
    devices = Devices(8, "train.batch_size", devices_count)
    state = fresh_state(method, optimizer, devices)
    frozen = devices.copy(method.frozen)
    step = make_train_step(method, optimizer, devices, parts)
    features = make_features(method, devices, parts)(frozen, devices.put(images))
    losses = []
    for _ in range(10):
        state, terms = step(frozen, state, features, devices.put(batch), prompts)
        losses.append(float(terms["loss"]))
    assert len(jax.tree.leaves(state.params)[0].sharding.device_set) == devices_count
    print(json.dumps(losses))
"""


def child(script: str, *arguments: str, devices: int = 1) -> subprocess.Popen:
    flags = f"--xla_force_host_platform_device_count={devices}"
    flags += " --xla_backend_optimization_level=0"
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        cwd=ROOT,
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_losses_are_those_of_one_device(tiny_directory: Path) -> None:
    """Of a batch that passes in pieces, too."""
    cases = [(1, 1), (2, 2)]
    process = child(STEPS, str(tiny_directory), json.dumps(cases), devices=2)
    out, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    one, *others = (json.loads(line) for line in out.splitlines() if line[0] == "[")
    assert len(others) == len(cases) - 1
    assert one[-1] < one[0]
    for losses in others:
        np.testing.assert_allclose(losses[0], one[0], rtol=1e-6)
        np.testing.assert_allclose(losses[-1], one[-1], rtol=1e-4)


RUN = """
import json, sys
from pathlib import Path
from kanoclip_jax.configs import base
from kanoclip_jax import engine

config = base.get_config()
with config.ignore_type():
    config.model = {}
    config.update(json.loads(sys.argv[1]))
if len(sys.argv) > 3:
    engine.join(sys.argv[3], 2, int(sys.argv[4]))
sys.exit(engine.run("train", config, Path(sys.argv[2])))
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.mark.slow
def test_two_processes_are_killed_and_one_ends_their_run(quick, tmp_path) -> None:
    config = quick(
        train__checkpoint_every=1,
        train__epochs=4,
        train__cache_features=str(tmp_path / "features"),
    )
    address = f"127.0.0.1:{free_port()}"
    pair = [
        child(RUN, config.to_json(), str(tmp_path / "run"), address, str(i))
        for i in range(2)
    ]
    checkpoints = tmp_path / "run" / "checkpoints"
    deadline = time.monotonic() + 300
    while not (checkpoints / "3").is_dir() and time.monotonic() < deadline:
        assert all(process.poll() is None for process in pair), [
            process.communicate()[1] for process in pair if process.poll() is not None
        ]
        time.sleep(0.05)
    for process in pair:
        process.send_signal(signal.SIGKILL)
        process.wait()
    reached = max(
        int(path.name) for path in checkpoints.iterdir() if path.name.isdigit()
    )
    assert 3 <= reached < 21
    assert not (tmp_path / "run" / "report.json").exists()
    assert engine.run("train", config, tmp_path / "run") == 0
    assert engine.run("train", config, tmp_path / "alone") == 0
    assert_close(tmp_path / "run", tmp_path / "alone", TRAINED_APART)


@pytest.mark.slow
def test_two_processes_report_what_one_does(settings, quick, tmp_path) -> None:
    config = quick(train__cache_features="never")
    address = f"127.0.0.1:{free_port()}"
    pair = [
        child(RUN, config.to_json(), str(tmp_path / "pair"), address, str(i))
        for i in range(2)
    ]
    ends = [process.communicate(timeout=600) for process in pair]
    assert [process.returncode for process in pair] == [0, 0], ends
    # Gloo itself prints a line in each.
    assert "image AUROC" in ends[0][0] and "AUROC" not in ends[1][0]
    assert engine.run("train", config, tmp_path / "alone") == 0
    assert_close(tmp_path / "pair", tmp_path / "alone", TRAINED_APART)
    # The same parameters on as many rows per device: merging adds no error at all.
    evaluated = settings(
        checkpoint=str(tmp_path / "pair" / "checkpoints"), eval__batch_size=2
    )
    assert engine.run("eval", evaluated, tmp_path / "again") == 0
    assert_close(tmp_path / "pair", tmp_path / "again", 1e-12)
    assert list((tmp_path / "pair").glob("examples-*.png"))
    pair, again = (
        json.loads((tmp_path / name / "evidence.json").read_text())
        for name in ("pair", "again")
    )
    assert pair == again


def assert_close(first: Path, second: Path, tolerance: float) -> None:
    first, second = (
        json.loads((folder / "report.json").read_text())["datasets"]
        for folder in (first, second)
    )
    assert first.keys() == second.keys()
    for dataset in first:
        rows = (report[dataset]["classes"] for report in (first, second))
        for (name, row), (other, same) in zip(
            *(sorted(r.items()) for r in rows), strict=True
        ):
            assert name == other
            for metric in METRICS:
                assert row[metric] == pytest.approx(same[metric], abs=tolerance), metric


COUNTED = """
import jax, numpy as np
from kanoclip_jax.engine.sharding import Devices, Rows
from kanoclip_jax.metrics.batch import MapBatch
from kanoclip_jax.metrics.histograms import PixelHistogram

draw = np.random.default_rng(0)
scores = draw.random((8, 24, 24), np.float32)
regions = np.zeros((8, 24, 24), np.int32)
regions[1::2, :5, :5], regions[1::2, 9:, 9:] = 1, 2
count, low, high = regions.max((1, 2)), scores.min((1, 2)), scores.max((1, 2))
alone = PixelHistogram()
for pair in zip(scores[:7], regions[:7]):
    alone.update(*pair)
maps = Rows(Devices(8, "batch").put(scores))
assert [len(shard) for shard in maps.shards] == [2, 2, 2, 2] and len(maps) == 8
assert all(np.array_equal(np.asarray(row), s) for row, s in zip(maps, scores))
shared = PixelHistogram()
batch = MapBatch(maps.shards, regions, count, low, high)
for rows in ([0, 5, 6], [1, 2, 3, 4]):
    shared.update_rows(batch, np.array(rows))
assert set(shared._parts) == set(jax.devices()) and len(jax.devices()) == 4
for name in ("negatives", "positives", "overlap"):
    assert np.array_equal(getattr(alone, name), getattr(shared, name)), name
expected = batch.coarse_counts().sum((0, 2))
assert expected.tolist() == [(regions == 0).sum(), (regions > 0).sum()]
print("alike")
"""


def test_every_device_counts_the_pixels_of_its_own_rows() -> None:
    process = child(COUNTED, devices=4)
    out, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    assert "alike" in out


def test_one_process_gathers_its_own() -> None:
    assert gather("mine") == ["mine"]


def test_as_many_devices_as_divide_the_batch() -> None:
    devices = Devices(7, "train.batch_size", 1)
    assert devices.mesh.size == 1
    assert devices.part == (0, 1)


def test_processes_share_a_batch_evenly(monkeypatch) -> None:
    monkeypatch.setattr("jax.process_count", lambda: 3)
    with pytest.raises(InputError, match=r"train.batch_size is 8; 3 processes"):
        Devices(8, "train.batch_size")
