"""A trained method as files that other runtimes run without this package."""

from kanoclip_jax.engine.export.run import main

__all__ = ["main"]
