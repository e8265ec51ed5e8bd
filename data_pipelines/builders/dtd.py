"""DTD-Synthetic in its original layout, which is MVTec's, test split only.

Aota et al., Zero-Shot Versus Many-Shot: Unsupervised Texture Anomaly Detection, WACV
2023. Defects painted on twelve photographs of the Describable Textures Dataset.
"""

from typing import ClassVar

from data_pipelines.builders.mvtec import LayoutBuilder


class DtdSyntheticBuilder(LayoutBuilder):
    """DTD-Synthetic: `CLASS/test/{good,bad}/NNN.png`, `CLASS/ground_truth/bad`.

    A mask is called `NNN_mask.png`.
    """

    name: ClassVar[str] = "dtd_synthetic"
    layout: ClassVar[str] = (
        "{Woven_001,…}/{test/{good,bad},ground_truth/bad}/*.png, masks as *_mask.png"
    )
    anomalous_kinds: ClassVar[frozenset[str]] = frozenset(("bad",))
