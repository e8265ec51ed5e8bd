"""The paper's Table 2: six medical datasets, in one command.

python launch.py --config=configs/medical.py --config.data.root=DATA
python launch.py --config=configs/medical.py:methods --config.data.root=DATA

Trains on MVTec AD, or takes --config.checkpoint_mvtec=DIR.
"""

from ml_collections import ConfigDict

from kanoclip_jax.configs import base, methods


def get_config(row: str = "") -> ConfigDict:
    """The full method, a row, or all `methods`, on every dataset that is there."""
    if row == "methods":
        config = base.get_config()
        config.rows = methods.TABLE
    else:
        config = base.get_config(row)
        config.rows = row or "kanoclip"
    config.train.dataset = "mvtec"
    config.eval.datasets = "brainmri,liverct,resc,br35h,covid19,headct"
    return config
