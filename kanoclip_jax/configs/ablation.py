"""The paper's ablation (Table 3) on MVTec AD and VisA, beside yardsticks, in one command.

python launch.py --config=configs/ablation.py --config.data.root=DATA
python launch.py --config=configs/ablation.py:cmci --config.data.root=DATA   one row

The paper's rows are none, knpl, vv, cmci and adapter; each adds one part to the row
before it. Before them stand what has no text, median and probe, and the full method on
both paths' taps, both; the headline figures of a report are those of the last row.
VisA is evaluated after training on MVTec AD, MVTec AD after training on VisA.
"""

from ml_collections import ConfigDict

from kanoclip_jax.configs import base


def get_config(row: str = "") -> ConfigDict:
    """All rows, or one of them by name."""
    config = base.get_config()
    base.with_row(config.copy_and_resolve_references(), row)
    config.rows = row or ",".join(["median", "probe", "both", *base.ROWS])
    config.train.dataset = "mvtec"
    config.train.second_dataset = "visa"
    config.eval.datasets = "mvtec,visa"
    return config
