"""Anomaly maps as pictures: heatmaps, overlays, boxes and contact sheets.

`embedding`, which draws text features, is imported by itself: matplotlib takes long.
"""

from kanoclip_jax.viz.bar import Bar
from kanoclip_jax.viz.heatmap import colourise, outline, overlay
from kanoclip_jax.viz.regions import Region, find_regions, hottest_box
from kanoclip_jax.viz.scale import Scale, make_scale
from kanoclip_jax.viz.sheet import Heading, Panel, compare, contact_sheet

__all__ = [
    "Bar",
    "Heading",
    "Panel",
    "Region",
    "Scale",
    "colourise",
    "compare",
    "contact_sheet",
    "find_regions",
    "hottest_box",
    "make_scale",
    "outline",
    "overlay",
]
