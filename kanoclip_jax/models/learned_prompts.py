"""What methods with learned prompts share: learner, settings, and published files."""

from collections.abc import Mapping

import numpy as np

from kanoclip_jax.backbones import Clip
from kanoclip_jax.errors import InputError
from kanoclip_jax.models.base import Published
from kanoclip_jax.nn.prompt_learner import PromptLearner

_CONTEXTS = ("ctx_pos", "ctx_neg")


class LearnedPrompts:
    """Settings of a method that learns contexts and, if asked to, deep prompts.

    Attributes:
        clip: the backbone, whose text tower reads them.
        context_length: learned vectors before the words.
        deep_prompt_depth: text block up to which deep prompts act.
        deep_prompt_length: tokens that each of them overwrites.
    """

    clip: Clip
    context_length: int
    deep_prompt_depth: int
    deep_prompt_length: int

    def check_deep_prompts(self) -> None:
        """Refuse deep prompts that reach beyond the context.

        Raises:
            InputError: names both lengths.
        """
        if self.deep_prompt_depth > 1 and self.deep_prompt_length > self.context_length:
            raise InputError(
                f"model.deep_prompt_length {self.deep_prompt_length} exceeds "
                f"model.context_length {self.context_length}; deep prompts take the "
                "place of learned context only"
            )

    @property
    def prompt_learner(self) -> PromptLearner:
        """The module that holds them."""
        return PromptLearner(
            width=self.clip.module.config.text_config.hidden_size,
            context_length=self.context_length,
            deep_depth=self.deep_prompt_depth,
            deep_length=self.deep_prompt_length,
        )


def read_published(learner: Mapping[str, np.ndarray]) -> Published:
    """Two contexts and deep prompts as AnomalyCLIP's code saves them, and Crane's.

    Args:
        learner: named tensors, of which others than these are not read.
    """
    deep = [key for key in learner if key.startswith("compound_prompts_text.")]
    deep.sort(key=lambda key: int(key.rpartition(".")[2]))
    context = [learner[key].reshape(learner[key].shape[-2:]) for key in _CONTEXTS]
    prompts = {
        "context": np.stack(context).astype(np.float32),
        "deep": np.stack([learner[key] for key in deep]).astype(np.float32),
    }
    _, length, _ = prompts["context"].shape
    depth, overwritten, _ = prompts["deep"].shape
    settings = {
        "context_length": length,
        "deep_prompt_depth": depth + 1,
        "deep_prompt_length": overwritten,
    }
    return Published({"prompts": prompts}, settings)
