"""BTAD in its original layout, test split only.

Mishra et al., VT-ADL: A Vision Transformer Network for Image Anomaly Detection and
Localization, ISIE 2021. CC BY-NC-SA 4.0.
"""

from typing import ClassVar

from data_pipelines.builders.mvtec import LayoutBuilder


class BtadBuilder(LayoutBuilder):
    """BTAD: `CLASS/test/{ok,ko}/NNNN.*`, `CLASS/ground_truth/ko/NNNN.*`.

    Images and masks of a class differ in format (01: .bmp and .png), so that only
    their stems agree.
    """

    name: ClassVar[str] = "btad"
    layout: ClassVar[str] = "{01,02,03}/test/{ok,ko}/*.{bmp,png}"
    normal_kind: ClassVar[str] = "ok"
    anomalous_kinds: ClassVar[frozenset[str]] = frozenset(("ko",))
