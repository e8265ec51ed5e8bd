"""Sentences of masks drawn by hand."""

import numpy as np
import pytest

from kanoclip_jax.knowledge.template import describe

GREY = (128, 128, 128)


def draw(
    rows: slice, columns: slice, colour: tuple[int, int, int], size: int = 90
) -> tuple[np.ndarray, np.ndarray]:
    """A grey image with one coloured rectangle, and its mask."""
    image = np.full((size, size, 3), GREY, np.uint8)
    mask = np.zeros((size, size), np.uint8)
    image[rows, columns], mask[rows, columns] = colour, 255
    return image, mask


def test_whole_sentence() -> None:
    image, mask = draw(slice(10, 20), slice(70, 80), (200, 40, 40))
    assert describe(image, mask, "metal nut", "scratch_head") == (
        "The metal nut has a medium-sized compact anomaly (scratch head) in the upper "
        "right, red, darker than the grey surface around it."
    )


@pytest.mark.parametrize(
    ("row", "column", "place"),
    [
        (0, 0, "in the upper left"),
        (0, 1, "in the upper centre"),
        (0, 2, "in the upper right"),
        (1, 0, "in the middle left"),
        (1, 1, "in the centre"),
        (1, 2, "in the middle right"),
        (2, 0, "in the lower left"),
        (2, 1, "in the lower centre"),
        (2, 2, "in the lower right"),
    ],
)
def test_place_on_the_three_by_three_grid(row: int, column: int, place: str) -> None:
    top, left = 30 * row + 11, 30 * column + 11
    image, mask = draw(slice(top, top + 8), slice(left, left + 8), (240, 240, 240))
    sentence = describe(image, mask, "tile", "crack")
    assert f"(crack) {place}, white, brighter than" in sentence


@pytest.mark.parametrize(
    ("side", "words"),
    [(4, "a tiny"), (9, "a small"), (20, "a medium-sized"), (40, "a large")],
)
def test_size_words(side: int, words: str) -> None:
    """Shares of 0.16, 0.81, 4 and 16 %."""
    image, mask = draw(slice(0, side), slice(0, side), GREY, size=100)
    assert f"has {words} compact anomaly" in describe(image, mask, "tile", "oil")


@pytest.mark.parametrize(
    ("height", "width", "word"),
    [(9, 9, "compact"), (5, 10, "elongated"), (2, 40, "line-like"), (1, 2, "dot-like")],
)
def test_shape_words(height: int, width: int, word: str) -> None:
    image, mask = draw(slice(40, 40 + height), slice(20, 20 + width), GREY)
    assert f" {word} anomaly" in describe(image, mask, "tile", "oil")


@pytest.mark.parametrize(
    ("colour", "words"),
    [
        ((250, 250, 250), "white, brighter than the grey"),
        ((5, 5, 5), "black, darker than the grey"),
        ((60, 150, 60), "green, darker than the grey"),
        ((225, 215, 70), "yellow, brighter than the grey"),
        ((128, 128, 128), "grey, as bright as the grey"),
    ],
)
def test_colour_words(colour: tuple[int, int, int], words: str) -> None:
    image, mask = draw(slice(30, 50), slice(30, 50), colour)
    sentence = describe(image, mask, "tile", "oil")
    assert sentence.endswith(f", {words} surface around it.")


def test_parts_are_counted_with_diagonals_joined() -> None:
    image, mask = draw(slice(10, 12), slice(10, 12), GREY)
    mask[12:14, 12:14] = 1
    assert "separate" not in describe(image, mask, "tile", "oil")
    mask[50:52, 50:52] = 1
    assert "in 2 separate places" in describe(image, mask, "tile", "oil")


def test_empty_and_full_masks_still_make_a_sentence() -> None:
    image, mask = draw(slice(0, 0), slice(0, 0), GREY)
    expected = "The tile has an anomaly of the kind gray stroke."
    assert describe(image, mask, "tile", "gray-stroke") == expected
    sentence = describe(image, np.ones_like(mask), "tile", "rough")
    assert sentence.endswith(
        "in the centre, grey, as bright as the grey surface around it."
    )
