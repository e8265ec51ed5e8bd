"""What methods with learned prompts share: their learner, and the check of its settings."""

from kanoclip_jax.backbones import Clip
from kanoclip_jax.errors import InputError
from kanoclip_jax.nn.prompt_learner import PromptLearner


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
