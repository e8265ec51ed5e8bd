"""Prompts of a state that several words say: tokens of each class, and their mean."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from kanoclip_jax.backbones import Clip
from kanoclip_jax.models.base import Params
from kanoclip_jax.nn.anomaly_map import normalise


class PromptTokens(NamedTuple):
    """Tokenised prompts of one state: for each class its words."""

    ids: Int[Array, "c k t"]
    end: Int[Array, "c k"]


def tokenise(
    clip: Clip,
    names: Sequence[str],
    words: Sequence[str],
    pattern: str,
    placeholders: int,
) -> PromptTokens:
    """Every word of a state before every class, on the host.

    Args:
        clip: whose tokenizer it is.
        names: of the classes.
        words: of the state.
        pattern: of a sentence, with `{}` where «word class» goes.
        placeholders: positions that learned vectors take.
    """
    sentences = [pattern.format(f"{word} {name}") for name in names for word in words]
    tokens = clip.tokenizer(sentences, placeholders)
    shape = (len(names), len(words))
    return PromptTokens(tokens.ids.reshape(*shape, -1), tokens.end.reshape(shape))


def encode(
    clip: Clip,
    frozen: Params,
    tokens: PromptTokens,
    context: Float[Array, "k width"] | None = None,
    deep: Float[Array, "m n width"] | None = None,
) -> Float[Array, "c joint"]:
    """Unit features of a state, one for each class.

    Each prompt is normalised, then averaged over its words, then normalised again
    (APRIL-GAN's ensemble).

    Args:
        clip: the backbone.
        frozen: the parameters of all.
        tokens: of the state.
        context: learned vectors, and
        deep: those of deeper blocks; see `DualPathCLIP.encode_text`.
    """
    count, words, length = tokens.ids.shape
    features = clip.module.apply(
        {"params": frozen["clip"]},
        tokens.ids.reshape(-1, length),
        tokens.end.reshape(-1),
        context=context,
        deep=deep,
        method="encode_text",
    )
    features = normalise(features.astype(jnp.float32)).reshape(count, words, -1)
    return normalise(features.mean(1))
