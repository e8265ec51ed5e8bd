"""The text of the exported runner: one file, made of the package's own modules."""

import functools

from kanoclip_jax.engine.export.assemble import assemble

_LICENCE = """\
# Copyright (c) 2026 The KAnoCLIP-JAX authors
# SPDX-License-Identifier: MIT
"""
MODULE = "kanoclip_jax.engine.export.runner"
# What the settings that messages name are called on the runner's command line.
_WORDS = {
    "--config.data.value_range": "--value-range",
    "--config.data.max_pixels": "--max-pixels",
    "--config.predict.tiles": "--tiles",
    "--workdir": "--output",
    "data.value_range is": "value_range is",
    "data.max_pixels is": "max_pixels is",
    "data.value_range cannot": "value_range cannot",
    "pip install 'kanoclip-jax[formats]'": (
        "pip install tifffile imagecodecs pydicom pillow-heif"
    ),
}


@functools.cache
def standalone() -> str:
    """The file's text."""
    return assemble(MODULE, words=_WORDS, licence=_LICENCE)
