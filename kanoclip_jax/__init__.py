"""KAnoCLIP in JAX: zero-shot anomaly detection with a frozen CLIP."""

import importlib

__all__ = ["Detector", "Prediction", "__version__"]
# The one place: the package's metadata read it from here.
__version__ = "0.1.0"
_LAZY = ("Detector", "Prediction")


def __getattr__(name: str) -> object:
    # Only who asks for a detector waits for JAX.
    if name in _LAZY:
        return getattr(
            importlib.import_module("kanoclip_jax.engine.prediction.detector"), name
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
