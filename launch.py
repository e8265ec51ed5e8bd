"""Entry point: `python launch.py --config=configs/NAME.py [--mode=…] [--config.KEY=…]`."""

from kanoclip_jax.command import main, run

__all__ = ["main", "run"]

if __name__ == "__main__":
    run()
