"""Train on MVTec AD's test split, evaluate elsewhere (the paper's main protocol).

python launch.py --config=configs/mvtec.py --config.data.root=DATA
"""

from ml_collections import ConfigDict

from kanoclip_jax.configs import base


def get_config(row: str = "") -> ConfigDict:
    """Auxiliary MVTec AD; targets are the paper's other eleven, where they are there."""
    config = base.get_config(row)
    config.train.dataset = "mvtec"
    config.eval.datasets = (
        "visa,mpdd,btad,sdd,dagm,brainmri,liverct,resc,br35h,covid19,headct"
    )
    return config
