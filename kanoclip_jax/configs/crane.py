r"""Crane's Table 1: fourteen datasets, in one command.

python launch.py --config=configs/crane.py --config.data.root=DATA
python launch.py --config=configs/crane.py:crane --config.data.root=DATA
python launch.py --config=configs/crane.py:crane_plus --mode=eval --config.data.root=DATA \
    --config.checkpoint_mvtec=A.pth --config.checkpoint_visa=B.pth

Trains on MVTec AD for the others, and on VisA for MVTec AD where both are there.
"""

from ml_collections import ConfigDict

from kanoclip_jax.configs import base

DATASETS = (
    "mvtec,visa,mpdd,btad,sdd_thirds,dagm,dtd_synthetic,"
    "headct,brainmri_kaggle,br35h,isic,colondb,clinicdb,tn3k"
)


def get_config(row: str = "") -> ConfigDict:
    """Crane and Crane+, or one row, on every dataset that is there."""
    config = base.get_config(row)
    config.rows = row or "crane,crane_plus"
    config.train.dataset = "mvtec"
    config.train.second_dataset = "visa"
    config.eval.datasets = DATASETS
    return config
