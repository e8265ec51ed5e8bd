"""MPDD in its original layout, which is MVTec's, test split only.

Jezek et al., Deep Learning-based Defect Detection of Metal Parts, ICUMT 2021.
CC BY-NC-SA 4.0.
"""

from typing import ClassVar

from data_pipelines.builders.mvtec import LayoutBuilder


class MpddBuilder(LayoutBuilder):
    """MPDD: `CLASS/test/KIND/NNN.png`, `CLASS/ground_truth/KIND/NNN_mask.png`."""

    name: ClassVar[str] = "mpdd"
