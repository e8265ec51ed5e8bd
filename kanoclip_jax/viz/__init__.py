"""Anomaly maps as pictures: heatmaps, overlays, boxes and contact sheets.

`embedding`, which draws text features, is imported by itself: matplotlib takes long.
"""

from kanoclip_jax.viz.heatmap import colourise, outline, overlay
from kanoclip_jax.viz.regions import Region, find_regions, hottest_box
from kanoclip_jax.viz.sheet import Panel, compare, contact_sheet

__all__ = [
    "Panel",
    "Region",
    "colourise",
    "compare",
    "contact_sheet",
    "find_regions",
    "hottest_box",
    "outline",
    "overlay",
]
