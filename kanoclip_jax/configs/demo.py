"""The embedded default: procedural surfaces and a small bundled CLIP; nothing is fetched.

python launch.py --config=configs/demo.py
python launch.py --config=configs/demo.py:none      plain CLIP on the same data
python launch.py --config=configs/demo.py:median    no text and no training
python launch.py --config=configs/demo.py:table     both beside the full method, 3 seeds
"""

from ml_collections import ConfigDict

from kanoclip_jax.configs import base


def get_config(row: str = "") -> ConfigDict:
    """Train on `textures_train`, evaluate on surfaces and defects it never saw."""
    config = base.get_config()
    config.clip.name = "demo"
    config.clip.image_size = 128
    # A small backbone, a small head and few epochs: minutes on two cores.
    config.model.bica_width = 64
    config.model.bica_heads = 4
    # Its surfaces fill the picture.
    config.model.spread = 1.0
    config.train.dataset = "textures_train"
    config.train.epochs = 8
    config.train.full_epochs = 8
    # This CLIP's features are small: its head has more to learn.
    config.train.learning_rate = 1e-4
    config.eval.datasets = "textures_eval"
    if row == "table":
        config.rows = "median,none,adapter"
        config.seeds = 3
        return config
    return base.with_row(config, row)
