"""Exported models: a trained method as files that need no JAX."""
