"""Points against what they cost, as parts of a page."""

import re
from typing import NamedTuple
from xml.etree import ElementTree

import pytest

from kanoclip_jax.viz.tradeoff import plot_tradeoff


class Point(NamedTuple):
    name: str
    cost: float
    value: float
    spread: float | None = None


POINTS = [
    Point("CLIP", 0, 0.6),
    Point("CLIP-AC", 0, 0.61),
    Point("small", 20_000, 0.7, 0.1),
    Point("KAnoCLIP", 2_000_000, 0.9),
]


def places(svg: str) -> dict[str, tuple[float, float]]:
    """Where the texts start, in points from the upper left corner."""
    found = {}
    for element in ElementTree.fromstring(svg).iter("text"):
        moved = re.search(r"translate\(([-\d.]+) ([-\d.]+)\)", str(element.attrib))
        own = element.get("x"), element.get("y")
        x, y = moved.groups() if moved else own
        found[element.text] = (float(x), float(y))
    return found


def bars(svg: str) -> list[tuple[float, float, float]]:
    """Of each upright line in a colour of points: where it stands, and its ends."""
    line = r'<path d="M ([\d.]+) ([\d.]+) L ([\d.]+) ([\d.]+) " style="[^"]*--fill'
    found = [tuple(map(float, numbers)) for numbers in re.findall(line, svg)]
    return [(a, max(b, d), min(b, d)) for a, b, c, d in found if a == c]


@pytest.fixture(scope="module")
def drawn() -> str:
    return plot_tradeoff(POINTS, "trained parameters", "image AUROC")


def test_it_is_one_element_in_the_page_s_own_look(drawn: str) -> None:
    root = ElementTree.fromstring(drawn)
    assert root.get("aria-label") == "image AUROC by trained parameters"
    assert root.get("viewBox") == "0 0 331.2 208.8"
    for element in root.iter():
        assert not {"id", "href", "clip-path"} & set(element.attrib)
    colours = set(re.findall(r"(?:fill|stroke): ([^;\"]+)", drawn))
    assert colours == {"none", "currentColor", "var(--fill-1)", "var(--fill-2)"}


def test_every_point_is_named_and_no_name_hides_another(drawn: str) -> None:
    found = places(drawn)
    assert {point.name for point in POINTS} <= set(found)
    # What costs nothing has the left edge, behind a line.
    assert {"0", "10k", "100k", "1M"} <= set(found) and "1k" not in found
    assert found["0"][0] < found["10k"][0] < found["KAnoCLIP"][0]
    clip, other = found["CLIP"], found["CLIP-AC"]
    assert abs(clip[1] - other[1]) > 7 or abs(clip[0] - other[0]) > 30


def test_names_that_are_formulas_stay_text() -> None:
    points = [Point("a$b$_c", 1, 0.5), Point("<b>", 2, 0.6)]
    assert {"a$b$_c", "<b>"} <= set(places(plot_tradeoff(points, "x", "y")))


def test_a_narrow_axis_has_its_own_ticks() -> None:
    points = [Point("one", 19, 0.5), Point("two", 55, 0.6)]
    found = places(plot_tradeoff(points, "images per second", "y"))
    assert {"20", "50"} <= set(found) and "0" not in found
    # Rows that are equal in all are drawn as well.
    same = [Point("one", 0, 0.5), Point("two", 0, 0.5, 0.0)]
    assert {"one", "two", "0"} <= set(places(plot_tradeoff(same, "x", "y")))


def test_a_deviation_is_a_line_of_its_length(drawn: str) -> None:
    """Of one seed there is none; it ends where the axis does."""
    ((_, bottom, top),) = bars(drawn)
    found = places(drawn)
    assert {"60", "80"} <= set(found)
    assert bottom - top == pytest.approx(found["60"][1] - found["80"][1], abs=0.1)
    high = [Point("one", 1, 0.5), Point("two", 2, 0.95, 0.5)]
    ((_, bottom, top),) = bars(plot_tradeoff(high, "x", "y"))
    assert 0 < top < bottom < 209
