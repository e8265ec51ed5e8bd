"""One row of the paper's ablation (Table 3), on MVTec AD's protocol.

    python launch.py --config=configs/ablation.py:ROW --config.data.root=DATA

ROW is none, knpl, vv, cmci or adapter; each adds one part to the row before it.
"""

from ml_collections import ConfigDict

from configs import base, mvtec


def get_config(row: str = "") -> ConfigDict:
    """The row by name."""
    if not row:
        raise ValueError(
            f"configs/ablation.py needs a row, as in configs/ablation.py:cmci; "
            f"allowed: {', '.join(base.ROWS)}"
        )
    return mvtec.get_config(row)
