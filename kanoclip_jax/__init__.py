"""KAnoCLIP in JAX: zero-shot anomaly detection with a frozen CLIP."""

import importlib

__all__ = ["Detector", "Prediction"]


def __getattr__(name: str) -> object:
    # Only who asks for a detector waits for JAX.
    if name in __all__:
        return getattr(
            importlib.import_module("kanoclip_jax.engine.prediction.detector"), name
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
