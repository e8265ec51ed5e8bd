"""Plots as parts of a page."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from kanoclip_jax.viz.plots import plot_curves, plot_histograms

RATE = np.linspace(0, 1, 50)


@pytest.fixture(scope="module")
def curves() -> str:
    lines = {"image": (RATE, RATE**0.3), "pixel": (RATE, RATE**0.5)}
    return plot_curves(lines, "false-positive rate", "true-positive rate")


def texts(svg: str) -> list[str]:
    return [element.text for element in ElementTree.fromstring(svg).iter("text")]


def test_a_plot_is_one_element_in_the_page_s_own_look(curves: str) -> None:
    root = ElementTree.fromstring(curves)
    assert root.tag == "svg" and "width" not in root.attrib
    assert root.get("aria-label") == "true-positive rate by false-positive rate"
    for element in root.iter():
        assert not {"id", "href", "clip-path"} & set(element.attrib)
    colours = set(re.findall(r"(?:fill|stroke): ([^;\"]+)", curves))
    assert colours == {"none", "currentColor", "var(--line-1)", "var(--line-2)"}
    assert "font-family" not in curves and "http" not in curves


def test_axes_and_curves_are_named(curves: str) -> None:
    assert {"false-positive rate", "true-positive rate", "image", "pixel", "0.2"} <= {
        *texts(curves)
    }
    assert "pixel" not in texts(plot_curves({"pixel": (RATE, RATE)}, "x", "y", 0.3))


def test_what_is_left_out_leaves_the_other_its_look() -> None:
    svg = plot_curves({"image": None, "pixel": (RATE, RATE)}, "x", "y")
    assert "pixel" in texts(svg) and "image" not in texts(svg)
    assert "var(--line-2)" in svg and "var(--line-1)" not in svg
    svg = plot_histograms([0, 1], {"normal": [0], "anomalous": [5]}, "score")
    assert "var(--fill-2)" in svg and "var(--fill-1)" not in svg


def test_a_curve_is_where_its_points_are() -> None:
    svg = plot_curves({"one": ([0, 0, 0.3], [0, 1, 1])}, "x", "y", 0.3)
    (path,) = re.findall(r'<path d="([^"]*)" style="[^"]*var\(--line-1\)', svg)
    points = np.array(re.findall(r"([\d.]+) ([\d.]+)", path), float)
    left, top = points.min(0)
    right, bottom = points.max(0)
    np.testing.assert_allclose(points, [(left, bottom), (left, top), (right, top)])
    assert right - left > 150 and bottom - top > 120


def test_a_histogram_shows_shares() -> None:
    counts = {"normal": [3, 1], "anomalous": [0, 0]}
    svg = plot_histograms([0, 0.5, 1], counts, "score")
    assert "normal" in texts(svg) and "anomalous" not in texts(svg)
    assert "60%" in texts(svg) and "var(--fill-2)" not in svg
    counts = {"normal": [999_999, 1], "anomalous": [1, 9]}
    svg = plot_histograms([0, 0.5, 1], counts, "score", log=True)
    assert {"0.001%", "100%", "anomalous"} <= {*texts(svg)}
