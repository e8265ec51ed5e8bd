r"""The paper's Table 1: six industrial datasets, in one command.

python launch.py --config=configs/industrial.py --config.data.root=DATA
python launch.py --config=configs/industrial.py:methods --config.data.root=DATA
python launch.py --config=configs/industrial.py --mode=eval --config.data.root=DATA \
    --config.checkpoint_mvtec=A/checkpoints --config.checkpoint_visa=B/checkpoints

Trains on MVTec AD for the others, and on VisA for MVTec AD where both are there.
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
    config.train.second_dataset = "visa"
    config.eval.datasets = "mvtec,visa,mpdd,btad,sdd,dagm"
    return config
