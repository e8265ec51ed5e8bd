"""KAnoCLIP in JAX: zero-shot anomaly detection with a frozen CLIP."""
