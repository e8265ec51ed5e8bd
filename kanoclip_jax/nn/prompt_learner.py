"""KnPL's learnable contexts: one for normal prompts, one for abnormal ones (eq. 1)."""

from typing import NamedTuple

import flax.linen as nn
from jaxtyping import Array, Float


class Contexts(NamedTuple):
    """Vectors that the text tower splices in.

    Attributes:
        polarity: contexts of the normal and the abnormal prompts.
        deep: tokens that overwrite the prompts' beginning in deeper blocks, or None.
    """

    polarity: Float[Array, "2 k w"]
    deep: Float[Array, "j m w"] | None


class PromptLearner(nn.Module):
    """Holds the contexts; they are shared over classes and state words.

    Attributes:
        width: of the text tower.
        context_length: K of eq. 1.
        deep_depth: 0, or the text block up to which deep prompts act (AnomalyCLIP: 9,
            which makes 8 sets, for blocks 2 … 9).
        deep_length: tokens in each set.
    """

    width: int
    context_length: int = 12
    deep_depth: int = 0
    deep_length: int = 4

    @nn.compact
    def __call__(self) -> Contexts:
        """The contexts, drawn from N(0, 0.02²) at the start as in CoOp."""
        draw = nn.initializers.normal(0.02)
        polarity = self.param("context", draw, (2, self.context_length, self.width))
        deep = None
        if self.deep_depth > 1:
            shape = (self.deep_depth - 1, self.deep_length, self.width)
            deep = self.param("deep", draw, shape)
        return Contexts(polarity, deep)
