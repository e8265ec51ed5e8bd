"""A trained method as files that other runtimes run without this package.

`runner.py` is copied beside them; it repeats what it needs of this package on purpose,
and the tests hold the two together.
"""

from kanoclip_jax.engine.export.run import main

__all__ = ["main"]
