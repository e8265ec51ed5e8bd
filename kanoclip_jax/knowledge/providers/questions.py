"""The paper's two questions, word by word but for the class."""

import hashlib

# Section 2.2 of the paper: n = 5 answers of a language model for each class.
_ABOUT_CLASS = "Describe what an abnormal image of {} looks like?"
# One answer of a vision model for each anomalous image; the paper's «(e.g., fabric)».
_ABOUT_IMAGE = (
    "Identify anomalies in the input image of the specified class ({}). Describe each "
    "anomaly's location, color, shape, size, and other characteristics."
)


def about_class(name: str) -> str:
    """The language question about a class, by its name in prompts."""
    return _ABOUT_CLASS.format(name)


def about_image(name: str) -> str:
    """The vision question about an image of a class, by its name in prompts."""
    return _ABOUT_IMAGE.format(name)


def prompt_sha(prompt: str) -> str:
    """The hash by which records name their question."""
    return hashlib.sha256(prompt.encode()).hexdigest()
