"""The frozen backbones: weights, towers, tokenizer. Only here is transformers known."""

import logging
import os

# Set before transformers is imported: its notices (Flax leaves in version 5, no torch
# found) concern nobody who runs this project.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
logging.getLogger("transformers").setLevel(logging.ERROR)

from kanoclip_jax.backbones.dino import Dino, load_dino
from kanoclip_jax.backbones.tokenizer import Tokenizer, Tokens
from kanoclip_jax.backbones.towers import DualPathCLIP, VisualTokens
from kanoclip_jax.backbones.weights import Clip, load_clip

__all__ = [
    "Clip",
    "Dino",
    "DualPathCLIP",
    "Tokenizer",
    "Tokens",
    "VisualTokens",
    "load_clip",
    "load_dino",
]
