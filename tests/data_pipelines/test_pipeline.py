"""The streams: who comes when, padding, resumption, worker processes, bad files."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines import pipeline
from data_pipelines.errors import DataError
from data_pipelines.masks import decode_mask
from data_pipelines.pipeline import (
    eval_stream,
    predict_stream,
    steps_per_run,
    train_stream,
)
from data_pipelines.sources import open_source

PASS = {"image_size": 8, "workers": 0}


@pytest.fixture(scope="module")
def source(tmp_path_factory, mvtec_class):
    root = tmp_path_factory.mktemp("parts")
    mvtec_class(root, "axle", 3, 2)
    mvtec_class(root, "gear", 1, 4)
    return open_source(f"folder:{root}", root="", prepared="")


def same(left, right):
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


def real(batches, name="index"):
    return [int(x) for b in batches for x in b[name][b["is_real"]]]


def test_evaluation_is_in_order_once_and_padded(source, mask):
    batches = list(eval_stream(source, batch_size=4, **PASS))
    assert real(batches) == list(range(10))
    assert batches[-1]["is_real"].tolist() == [True, True, False, False]
    assert real(batches, "label") == [0, 0, 0, 1, 1, 0, 1, 1, 1, 1]
    assert real(batches, "class_index") == [0] * 5 + [1] * 5
    shapes = {n: (a.shape, str(a.dtype)) for n, a in batches[0].items()}
    assert shapes == {
        "image": ((4, 8, 8, 3), "uint8"),
        "mask": ((4, 8, 8), "uint8"),
        "label": ((4,), "int32"),
        "class_index": ((4,), "int32"),
        "index": ((4,), "int32"),
        "is_real": ((4,), "bool"),
        "warning": ((4,), "<U1"),
        "regions": ((4, 8, 8), "int32"),
        "region_count": ((4,), "int32"),
    }
    assert batches[0]["image"][:, 0, 0, 0].tolist() == [0, 1, 2, 100]
    np.testing.assert_array_equal(batches[0]["mask"][3], decode_mask(mask(), "m", 8))
    np.testing.assert_array_equal(batches[0]["regions"], batches[0]["mask"])
    assert batches[0]["region_count"].tolist() == [0, 0, 0, 1]
    assert not any(batches[-1][n][2:].any() for n in batches[-1])


def test_evaluation_of_chosen_records(source):
    batches = list(eval_stream(source, batch_size=2, indices=[7, 0, 3], **PASS))
    assert real(batches) == [7, 0, 3]


def test_processes_read_their_rows_of_each_batch(source):
    for stream, options in (
        (eval_stream, {}),
        (train_stream, {"epochs": 2, "seed": 1}),
    ):
        whole = list(stream(source, batch_size=4, **options, **PASS))
        parts = [
            list(stream(source, batch_size=4, part=(i, 2), **options, **PASS))
            for i in range(2)
        ]
        for batch, *rows in zip(whole, *parts, strict=True):
            assert all(len(part["index"]) == 2 for part in rows)
            same(batch, {n: np.concatenate([p[n] for p in rows]) for n in batch})
    with pytest.raises(DataError, match="3 processes"):
        eval_stream(source, batch_size=4, part=(0, 3), **PASS)


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 12), st.integers(1, 3), st.integers(0, 2**40))
def test_every_image_comes_exactly_epochs_times(source, batch_size, epochs, seed):
    stream = train_stream(
        source, batch_size=batch_size, epochs=epochs, seed=seed, **PASS
    )
    batches = list(stream)
    order = real(batches)
    assert len(batches) == len(stream) == steps_per_run(10, batch_size, epochs)
    assert all(b["is_real"].all() for b in batches[:-1])
    for epoch in range(epochs):
        assert Counter(order[10 * epoch : 10 * epoch + 10]) == Counter(range(10))


def order_of(source, **options):
    """Masks are decoded only, and nobody's mask is damaged."""
    options = {"batch_size": 5, "epochs": 2, **PASS, **options}
    return real(train_stream(source, with_images=False, **options))


def test_order_is_a_function_of_the_seed(source):
    first = order_of(source, seed=0)
    assert first == order_of(source, seed=0)
    assert first[:10] != first[10:] and first[:10] != list(range(10))
    assert first[10:] != order_of(source, seed=1)[:10]


def test_cached_training_decodes_no_image(source, monkeypatch):
    monkeypatch.setattr(pipeline, "decode_picture", None)
    options = {"batch_size": 4, "epochs": 1, "seed": 3, **PASS}
    (*_, last) = train_stream(source, with_images=False, **options)
    assert "image" not in last and last["mask"].any()


@pytest.mark.parametrize("taken", [0, 1, 4, 5])
def test_resuming_is_bit_exact(source, taken):
    options = {"batch_size": 4, "epochs": 2, "seed": 9, **PASS}
    whole = list(train_stream(source, **options))
    first = train_stream(source, **options)
    for _ in range(taken):
        next(first)
    state = json.loads(json.dumps(first.get_state()))
    second = train_stream(source, **options)
    next(second)
    second.set_state(state)
    rest = list(second)
    assert len(rest) == len(whole) - taken == 5 - taken
    for left, right in zip(rest, whole[taken:], strict=True):
        same(left, right)
    first.close()


def test_state_of_another_run_is_refused(source):
    stream = eval_stream(source, batch_size=4, **PASS)
    with pytest.raises(DataError, match="position 99 .* 3 batches"):
        stream.set_state({"next_index": 99})


@pytest.fixture
def damaged(tmp_path, put, image):
    for i in range(8):
        put(tmp_path / f"good/{i}.png", image(i))
    put(tmp_path / "good/8.png", image(8)[:50])
    return open_source(f"folder:{tmp_path}", root="", prepared="")


def test_bad_file_stops_the_stream_with_its_name(damaged):
    stream = eval_stream(damaged, batch_size=8, **PASS)
    assert next(stream)["is_real"].all()
    with pytest.raises(DataError, match=r"8\.png cannot be decoded") as caught:
        next(stream)
    assert "\n" not in str(caught.value)


def test_worker_processes_change_nothing(damaged):
    options = {"image_size": 8, "batch_size": 2, "epochs": 2}
    where = {seed: order_of(damaged, seed=seed).index(8) // 2 for seed in range(9)}
    options["seed"], good = next((s, at) for s, at in where.items() if at >= 3)
    alone = train_stream(damaged, workers=0, **options)
    beside = train_stream(damaged, workers=2, **options)
    for _ in range(good):
        same(next(beside), next(alone))
    assert beside.get_state() == alone.get_state() == {"next_index": good}
    with pytest.raises(DataError, match=r"8\.png cannot be decoded") as caught:
        next(beside)
    assert "\n" not in str(caught.value)


def test_vanished_file_is_a_data_error(tmp_path, put, image):
    path = put(tmp_path / "good/0.png", image(0))
    source = open_source(f"folder:{tmp_path}", root="", prepared="")
    path.unlink()
    with pytest.raises(DataError, match=r"0\.png cannot be read"):
        next(eval_stream(source, batch_size=2, **PASS))


def test_prediction_goes_on_after_bad_files(tmp_path, put, image):
    paths = [
        put(tmp_path / "a.png", image(5, (6, 4))),
        put(tmp_path / "b.png", b""),
        tmp_path / "absent.png",
        put(tmp_path / "c.jpg", image(9, (3, 7), "JPEG")),
        put(tmp_path / "d.png", image(7)),
    ]
    batches = list(predict_stream(paths, batch_size=4, **PASS))
    errors = batches[0]["error"].tolist()
    assert [bool(error) for error in errors] == [False, True, True, False]
    assert "b.png is empty" in errors[1] and "skip_bad_files" not in errors[1]
    assert "absent.png cannot be read (No such file" in errors[2]
    assert batches[0]["height"].tolist() == [4, 0, 0, 7]
    assert batches[0]["width"].tolist() == [6, 0, 0, 3]
    assert batches[0]["image"][:, 0, 0, 0].tolist() == [5, 0, 0, 9]
    assert real(batches) == [0, 1, 2, 3, 4]
    assert batches[1]["is_real"].tolist() == [True, False, False, False]


def test_no_paths_no_batches():
    assert list(predict_stream([], batch_size=4, **PASS)) == []


@pytest.mark.parametrize(
    "wrong", [{"batch_size": 0}, {"epochs": 0}, {"image_size": -1}, {"workers": -1}]
)
def test_sizes_are_checked(source, wrong):
    options = {"batch_size": 1, "epochs": 1, "seed": 0, **PASS, **wrong}
    with pytest.raises(DataError, match=f"{next(iter(wrong))} is "):
        train_stream(source, **options)


def test_orbax_saves_and_restores_the_position(source, tmp_path):
    checkpoint = pytest.importorskip("orbax.checkpoint")
    from grain.checkpoint import CheckpointRestore, CheckpointSave

    options = {"batch_size": 4, "epochs": 2, "seed": 9, **PASS}
    saved = train_stream(source, **options)
    next(saved), next(saved)
    with checkpoint.CheckpointManager(tmp_path / "c") as manager:
        manager.save(1, args=checkpoint.args.Composite(data=CheckpointSave(saved)))
        manager.wait_until_finished()
        restored = train_stream(source, **options)
        manager.restore(
            1, args=checkpoint.args.Composite(data=CheckpointRestore(restored))
        )
    same(next(restored), next(saved))


def test_real_mvtec_batch(shared, tmp_path):
    opened = open_source(
        "mvtec", root=str(shared), prepared=str(tmp_path), classes=("grid",)
    )
    batches = list(eval_stream(opened, image_size=518, batch_size=8, workers=0))
    assert sum(int(b["is_real"].sum()) for b in batches) == 39
    for batch in batches:
        has_region = batch["regions"].max(axis=(1, 2)) > 0
        np.testing.assert_array_equal(has_region, batch["label"] == 1)
