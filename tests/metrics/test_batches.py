"""A batch in one program: the same bits as map by map, for every platform and choice."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pixel_reference import draw_maps, label_regions

from kanoclip_jax.metrics import batch as programs
from kanoclip_jax.metrics.batch import MapBatch
from kanoclip_jax.metrics.histograms import BINS, PixelHistogram, coarse_counts
from kanoclip_jax.metrics.report import ClassMetrics

ARRAYS = ("negatives", "positives", "overlap")
COUNT = 6


def draw_batch() -> tuple[np.ndarray, np.ndarray]:
    """Maps of very different ranges, every other one without a region."""
    maps, masks = draw_maps("smooth", 0.03)
    maps, masks = maps[:COUNT, ::4, ::4], masks[:COUNT, ::4, ::4].copy()
    masks[::2] = 0
    scale = np.float32([0.05, 1e-3, 1, 0.3, 1e-5, 0.2])[:, None, None]
    offset = np.float32([0.9, 0.2, 0, 0.1, 0.5, 0.7])[:, None, None]
    return maps * scale + offset, label_regions(masks).astype(np.int32)


MAPS, REGIONS = draw_batch()
REGION_COUNT = REGIONS.max((1, 2))


def batch_of(maps: np.ndarray = MAPS, shards: int = 1) -> MapBatch:
    return MapBatch(
        [jnp.asarray(part) for part in np.split(maps, shards)],
        REGIONS,
        REGION_COUNT,
        maps.min((1, 2)),
        maps.max((1, 2)),
    )


def one_by_one(rows: list[int]) -> PixelHistogram:
    histogram = PixelHistogram()
    for row in rows:
        histogram.update(MAPS[row], REGIONS[row])
    return histogram


def same(one: PixelHistogram, other: PixelHistogram) -> None:
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for name in ("regions", "lowest", "highest", "window"):
        assert getattr(one, name) == getattr(other, name)


@settings(max_examples=10, deadline=None)
@given(order=st.permutations(range(COUNT)), cut=st.integers(1, COUNT - 1))
def test_any_rows_in_any_order_give_the_bits_of_single_maps(order: list[int], cut: int):
    batch, states = batch_of(shards=2), (PixelHistogram(), PixelHistogram())
    for state, rows in zip(states, (order[:cut], order[cut:]), strict=True):
        state.update_rows(batch, np.array(rows))
        same(state, one_by_one(rows))
    same(states[0] + states[1], one_by_one(order))


def test_batches_and_maps_of_the_host_add_up():
    histogram = PixelHistogram()
    histogram.update(MAPS[0], REGIONS[0])
    assert histogram.negatives.sum() == MAPS[0].size
    histogram.update_rows(batch_of(), np.array([1, 3]))
    histogram.update(MAPS[2], REGIONS[2])
    same(histogram, one_by_one([0, 1, 2, 3]))


@pytest.mark.parametrize("with_regions", [False, True])
def test_both_forms_of_the_program_count_alike(with_regions: bool):
    """Of which a CPU runs the first and a GPU the second."""
    rows = np.array([0, 4, 1, 5, 0, 0], np.int32)
    count = 4 if with_regions else 2
    plan = np.array([2, count, 11, 0, *rows], np.int32)
    found = []
    with jax.enable_x64(True):
        for form in (programs.add_in_turns, programs.add_together):
            sums = jnp.ones((BINS, 3), jnp.int64)
            regions = jnp.asarray(REGIONS) if with_regions else None
            found.append(form(sums, jnp.asarray(MAPS), regions, plan))
    found = [np.asarray(sums) for sums in found]
    np.testing.assert_array_equal(*found)
    assert found[0][:, 0].sum() - BINS == sum(
        (REGIONS[row] == 0).sum() for row in rows[:count]
    )


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize("with_regions", [False, True])
def test_the_programs_lower_for_accelerators(platform: str, with_regions: bool):
    maps = jax.ShapeDtypeStruct(MAPS.shape, jnp.float32)
    labels = jax.ShapeDtypeStruct(MAPS.shape, jnp.int32) if with_regions else None
    with jax.enable_x64(True):
        sums = jax.ShapeDtypeStruct((BINS, 3), jnp.int64)
        plan = jax.ShapeDtypeStruct((4 + COUNT,), jnp.int32)
        for traced in (
            programs.add_together.trace(sums, maps, labels, plan),
            programs.count_coarsely.trace(maps, labels),
        ):
            text = traced.lower(lowering_platforms=(platform,)).as_text()
            # Branches and turns that the host would have to wait for.
            assert not ("stablehlo.while" in text or "stablehlo.case" in text)


def test_no_choice_of_rows_compiles_again():
    batch, histogram = batch_of(), PixelHistogram()
    histogram.update_rows(batch, np.arange(COUNT))
    histogram.update_rows(batch, np.array([0]))
    before = programs.add_in_turns._cache_size()
    for rows in ([1], [0, 1, 2], [5, 3], [2, 4], [0, 2, 3, 4, 5]):
        histogram.update_rows(batch, np.array(rows))
    assert programs.add_in_turns._cache_size() == before


def test_regions_are_sent_once_and_only_where_there_are_any(monkeypatch):
    sent = []
    put = jax.device_put
    monkeypatch.setattr(jax, "device_put", lambda *a: sent.append(1) or put(*a))
    batch, histogram = batch_of(), PixelHistogram()
    histogram.update_rows(batch, np.array([0, 2, 4]))
    assert not sent
    for rows in ([0, 1], [3], [5]):
        histogram.update_rows(batch, np.array(rows))
    assert len(sent) == 1


def test_coarse_counts_are_those_of_single_maps():
    expected = [coarse_counts(*pair) for pair in zip(MAPS, REGIONS, strict=True)]
    np.testing.assert_array_equal(batch_of(shards=3).coarse_counts(), expected)


@pytest.mark.parametrize("bad", [-0.001, 1.001, np.nan])
def test_scores_outside_the_scale_are_refused(bad: float):
    maps = MAPS.copy()
    maps[3, 0, 0] = bad
    histogram = PixelHistogram()
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        histogram.update_rows(batch_of(maps), np.arange(COUNT))
    assert histogram.lowest == np.inf
    histogram.update_rows(batch_of(maps), np.array([0, 1, 2]))


def test_regions_of_another_shape_are_refused():
    with pytest.raises((ValueError, TypeError)):
        MapBatch([jnp.asarray(MAPS[:2])], REGIONS, REGION_COUNT, MAPS[0], MAPS[0])


def test_regions_may_fill_all_the_room_there_is():
    """Isolated pixels, and one region of everything."""
    dots = np.zeros((1, 7, 7), np.int32)
    dots[0, ::2, ::2] = 1 + np.arange(16).reshape(4, 4)
    scores = np.linspace(0, 1, 49, dtype=np.float32).reshape(1, 7, 7)
    for regions, count in ((dots, 16), (np.ones_like(dots), 1)):
        alone, together = PixelHistogram(), PixelHistogram()
        alone.update(scores[0], regions[0])
        batch = MapBatch(
            [jnp.asarray(scores)], regions, np.array([count]), np.zeros(1), np.ones(1)
        )
        together.update_rows(batch, np.array([0]))
        same(alone, together)
        assert together.regions == count


def both_ways(has_masks: bool) -> tuple[ClassMetrics, ClassMetrics]:
    """A class's metrics of single images, and of the same as one batch."""
    scores = np.linspace(0.1, 0.9, COUNT, dtype=np.float32)
    labels = (REGION_COUNT > 0).astype(np.int32)
    alone, together = (ClassMetrics(has_masks=has_masks) for _ in range(2))
    for row in range(COUNT):
        alone.update(float(scores[row]), int(labels[row]), MAPS[row], REGIONS[row])
    together.update_rows(scores, labels, batch_of(), np.arange(COUNT))
    return alone, together


def test_a_class_has_the_row_of_its_single_images():
    alone, together = both_ways(has_masks=True)
    assert together.compute() == alone.compute()
    assert together.compute()["anomalous"] == 3


def test_without_masks_normal_images_alone_say_where_colour_begins():
    alone, together = both_ways(has_masks=False)
    assert together.compute()["pixel_auroc"] is None
    assert together.colour_range() == alone.colour_range()
    below = np.quantile(MAPS[::2], 0.99, method="higher")
    assert abs(together.colour_range()[0] - below) < 1e-5
