"""Anomaly maps as pictures: heatmaps, overlays, boxes and contact sheets.

`embedding`, which draws text features, is imported by itself: matplotlib takes long.
"""

from kanoclip_jax.viz.heatmap import colourise, outline, overlay
from kanoclip_jax.viz.regions import hottest_box
from kanoclip_jax.viz.sheet import Panel, compare, contact_sheet

__all__ = [
    "Panel",
    "colourise",
    "compare",
    "contact_sheet",
    "hottest_box",
    "outline",
    "overlay",
]
