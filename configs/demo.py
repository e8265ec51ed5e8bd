"""The embedded default: procedural surfaces and a small bundled CLIP; nothing is fetched.

python launch.py --config=configs/demo.py
python launch.py --config=configs/demo.py:none      plain CLIP on the same data
"""

from ml_collections import ConfigDict

from configs import base


def get_config(row: str = "") -> ConfigDict:
    """Train on `textures_train`, evaluate on surfaces and defects it never saw."""
    config = base.get_config(row)
    config.clip.name = "demo"
    config.clip.image_size = 160
    config.train.dataset = "textures_train"
    config.eval.datasets = "textures_eval"
    return config
