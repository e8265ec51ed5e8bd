"""From pictures to scores and maps, of a model that is one line of numpy."""

from collections.abc import Iterable, Iterator

import numpy as np
import pytest
from PIL import Image

from data_pipelines.pictures import Picture
from data_pipelines.pipeline import Batch
from kanoclip_jax.engine.prediction import scoring
from kanoclip_jax.engine.prediction.scoring import Scored, Scorer
from kanoclip_jax.engine.step import Found
from kanoclip_jax.errors import InputError
from kanoclip_jax.viz.regions import hottest_box

SIZE, BATCH = 32, 8


class Bright:
    """What is brighter than the picture's surface is anomalous; 255 is no number."""

    def __init__(self) -> None:
        self.batches = 0

    def __call__(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, Found]]:
        for batch in batches:
            self.batches += 1
            grey = batch["image"][..., 0].astype(np.float32)
            maps = np.clip((grey - 100) / 155, 0, 1)
            maps[grey == 255] = np.nan
            extremes = maps.min((1, 2)), maps.max((1, 2))
            yield batch, Found(maps, extremes[1], *extremes)


def score(pictures: Iterable, tiles: str, model: Bright | None = None) -> list[Scored]:
    run = model or Bright()
    scorer = Scorer(run, image_size=SIZE, batch_size=BATCH, tiles=tiles)
    return list(scorer.score(pictures))


def surface(height: int, width: int, at: tuple[int, int] | None) -> Picture:
    """Grey, with a bright square of 8 px where it is asked for."""
    pixels = np.full((height, width, 3), 100, np.uint8)
    if at:
        pixels[at[0] : at[0] + 8, at[1] : at[1] + 8] = 250
    return Picture(Image.fromarray(pixels))


@pytest.mark.parametrize(
    ("size", "at"), [((100, 2000), (40, 1300)), ((500, 600), (300, 477))]
)
def test_a_small_defect_is_found_in_windows_alone(size, at):
    pictures = [("clean", surface(*size, None)), ("marked", surface(*size, at))]
    clean, missed = score(pictures, "never")
    assert missed.score < clean.score + 0.2
    clean, found = score(pictures, "auto")
    assert clean.score == 0 and found.score > 0.9
    assert found.anomaly_map.shape == size
    x, y, width, height = hottest_box(found.anomaly_map)
    assert abs(x - at[1]) <= 4 and abs(x + width - at[1] - 8) <= 4
    assert abs(y - at[0]) <= 4 and abs(y + height - at[0] - 8) <= 4


def test_windows_of_several_pictures_share_batches():
    model = Bright()
    sizes = [(32, 32), (32, 100), (20, 30), (100, 32), (32, 32)]
    pictures = [(i, surface(*size, None)) for i, size in enumerate(sizes)]
    found = score(pictures, "auto", model)
    assert [one.key for one in found] == [0, 1, 2, 3, 4]
    assert [one.anomaly_map.shape for one in found] == sizes
    # 1 + 4 + 1 + 4 + 1 windows.
    assert model.batches == 2


def test_few_pictures_are_in_memory_at_a_time():
    taken = []

    def pictures() -> Iterator[tuple[int, Picture]]:
        for i in range(20):
            taken.append(i)
            yield i, surface(64, 400, None)

    scorer = Scorer(Bright(), image_size=SIZE, batch_size=BATCH, tiles="auto")
    for one in scorer.score(pictures()):
        assert max(taken) - one.key <= 2


@pytest.mark.parametrize("tiles", ["never", "auto"])
def test_a_picture_at_fault_spoils_no_other(tiles):
    blinding = Picture(Image.fromarray(np.full((200, 40, 3), 255, np.uint8)))
    good = surface(200, 40, (100, 10))
    alone = score([("good", good)], tiles)[0]
    given = [("a", good), ("b", blinding), ("c", "c is no picture"), ("d", good)]
    found = score(given, tiles)
    assert [one.key for one in found] == ["a", "b", "c", "d"]
    assert found[1].error.startswith("b: its score is nan, which is no result")
    assert found[1].anomaly_map is None
    assert found[2].error == "c is no picture"
    for one in (found[0], found[3]):
        assert not one.error and one.score == alone.score
        assert np.array_equal(one.anomaly_map, alone.anomaly_map)


@pytest.mark.parametrize("step", ["cut", "resize_map"])
def test_memory_that_runs_out_is_that_pictures_error(monkeypatch, step):
    step_of_all = getattr(scoring, step)

    def short(given, *rest):
        # The cuts of the second picture, or the maps of its windows.
        size = given.size if step == "cut" else rest[::-1]
        if 200 in size or 40 in size:
            raise MemoryError
        return step_of_all(given, *rest)

    monkeypatch.setattr(scoring, step, short)
    given = [("a", surface(90, 30, None)), ("b", surface(200, 40, None))]
    found = score([*given, ("c", surface(32, 32, None))], "150")
    assert [bool(one.error) for one in found] == [False, True, False]
    assert "b does not fit the memory" in found[1].error


def test_what_is_found_is_checked_row_by_row():
    values = np.array([0.1, np.nan, 0.3, 0.4])
    found = Found(None, values, np.zeros(4), np.array([1, 1, np.inf, 1]))
    assert [bool(found.why_none(row)) for row in range(4)] == [0, 1, 1, 0]
    found.check(np.array([0, 3]), str)
    with pytest.raises(InputError, match="picture 2: its anomaly map holds inf"):
        found.check(np.array([0, 2]), lambda row: f"picture {row}")
