"""The picture of text features: what is drawn, and what moves nothing."""

import numpy as np
import pytest

from kanoclip_jax.viz import embedding
from kanoclip_jax.viz.embedding import LEARNED, MEAN, WRITTEN, Marks, draw_embedding


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


CLASSES = np.array([0, 0, 0, 1, 1, 1])
CENTRES = np.eye(8)[:2]
NOISE = np.random.default_rng(0).normal(size=(6, 8))
SENTENCES = Marks("llm", unit(CENTRES[CLASSES] + 0.2 * NOISE), CLASSES)
MEANS = Marks(MEAN, CENTRES, np.array([0, 1]))


def count(picture: np.ndarray, colour: str) -> int:
    """Pixels of a colour."""
    rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return int((picture == rgb).all(-1).sum())


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return draw_embedding([SENTENCES], [MEANS], ["bolt", "nut"], "title")


def test_classes_are_told_apart_by_colour(picture: np.ndarray) -> None:
    assert picture.dtype == np.uint8
    assert (picture[0] == 255).all() and (picture[-1] == 255).all()
    first, second, third = (embedding._colour(i) for i in range(3))
    # A mean and a mark in the legend; no more than a few hundred pixels each.
    assert 100 < count(picture, first) < 2000
    assert 100 < count(picture, second) < 2000
    assert count(picture, third) == 0


def test_equal_arguments_give_equal_pictures(picture: np.ndarray) -> None:
    again = draw_embedding([SENTENCES], [MEANS], ["bolt", "nut"], "title")
    np.testing.assert_array_equal(again, picture)


def test_what_is_projected_moves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The places of the sentences are those of a plain SVD, whatever is laid over."""
    places: dict[str, np.ndarray] = {}
    original = embedding._draw_marks

    def remember(axes: object, marks: Marks, colours: list[str]) -> None:
        places[marks.kind] = marks.features
        original(axes, marks, colours)

    monkeypatch.setattr(embedding, "_draw_marks", remember)
    others = [Marks(kind, -CENTRES, np.array([0, 1])) for kind in (*WRITTEN, *LEARNED)]
    draw_embedding([SENTENCES], [MEANS, *others], ["bolt", "nut"], "")
    centre = SENTENCES.features.mean(0)
    _, _, axes = np.linalg.svd(SENTENCES.features - centre, full_matrices=False)
    for marks in (SENTENCES, MEANS):
        expected = (marks.features - centre) @ axes[:2].T
        np.testing.assert_allclose(
            np.abs(places[marks.kind]), np.abs(expected), atol=1e-9
        )
    assert list(places) == ["llm", MEAN, *WRITTEN, *LEARNED]


def test_names_are_shown_as_they_are_however_many_and_long() -> None:
    """A dollar is no formula, an underscore hides nothing, a kind of its own is drawn."""
    names = [f"_{'$x^2$' * 30}{i}" for i in range(70)]
    every = np.arange(70)
    features = unit(np.random.default_rng(1).normal(size=(70, 8)))
    wide = draw_embedding([Marks("people", features, every)], [], names, "$" * 500)
    narrow = draw_embedding([Marks("llm", features, every)], [], names[:1] * 70, "")
    assert wide.shape == narrow.shape
    # The margins are empty: nothing is cut off.
    for edge in (wide[:2], wide[-2:], wide[:, :2], wide[:, -2:]):
        assert (edge == 255).all()


def test_neighbouring_numbers_have_unlike_colours() -> None:
    colours = [embedding._colour(number) for number in range(30)]
    assert len(set(colours)) == 30
    rgb = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in colours])
    assert np.abs(np.diff(rgb, axis=0)).sum(1).min() > 100
