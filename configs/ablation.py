"""The paper's ablation (Table 3): five rows on MVTec AD and VisA, in one command.

python launch.py --config=configs/ablation.py --config.data.root=DATA
python launch.py --config=configs/ablation.py:cmci --config.data.root=DATA   one row

The rows are none, knpl, vv, cmci and adapter; each adds one part to the row before it.
VisA is evaluated after training on MVTec AD, MVTec AD after training on VisA.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(row: str = "") -> ConfigDict:
    """All rows, or one of them by name."""
    config = base.get_config()
    base.with_row(config.copy_and_resolve_references(), row)
    config.rows = row or ",".join(base.ROWS)
    config.train.dataset = "mvtec"
    config.train.second_dataset = "visa"
    config.eval.datasets = "mvtec,visa"
    return config
