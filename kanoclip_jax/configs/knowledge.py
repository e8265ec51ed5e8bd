"""What KnPL brings: hand-written prompts, margin 0 as in the paper, margin 0.2.

python launch.py --config=configs/knowledge.py --config.data.root=DATA
python launch.py --config=configs/knowledge.py:demo      on the embedded surfaces

Three seeds each; everything else is the full method. The fraction of classes where the
knowledge loss acts is `knowledge_active` in each run's metrics.jsonl.
"""

from ml_collections import ConfigDict

from kanoclip_jax.configs import demo, mvtec


def get_config(where: str = "") -> ConfigDict:
    """On MVTec AD's protocol, or on the demonstration."""
    if where not in ("", "demo"):
        raise ValueError(f"{where!r} is unknown; allowed: demo, or nothing")
    config = demo.get_config() if where else mvtec.get_config()
    config.rows = "handwritten,margin_0,margin_02"
    config.row_settings = ConfigDict(
        {
            "handwritten": {"model": {"knpl": False}},
            "margin_0": {"model": {"margin": 0.0}},
            "margin_02": {"model": {"margin": 0.2}},
        }
    )
    config.seeds = 3
    return config
