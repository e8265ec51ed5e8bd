"""A trained method as files that other runtimes run without this package.

`runner.py` lies beside them: one file, made of the very modules of this package that read
pictures, find regions and write results, and of a part of its own (`assemble`).
"""

from kanoclip_jax.engine.export.run import main

__all__ = ["main"]
