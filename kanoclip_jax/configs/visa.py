"""Train on VisA's test split, evaluate on MVTec AD (the paper's second protocol).

python launch.py --config=configs/visa.py --config.data.root=DATA
"""

from ml_collections import ConfigDict

from kanoclip_jax.configs import base


def get_config(row: str = "") -> ConfigDict:
    """Auxiliary VisA, target MVTec AD."""
    config = base.get_config(row)
    config.train.dataset = "visa"
    config.eval.datasets = "mvtec"
    return config
