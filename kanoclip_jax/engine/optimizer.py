"""Adam with one learning rate for the prompts and one for everything else."""

import jax
import optax

from kanoclip_jax.models.base import Params


def make_optimizer(
    *,
    prompt_learning_rate: float,
    learning_rate: float,
    betas: tuple[float, float],
) -> optax.GradientTransformation:
    """Adam as AnomalyCLIP's training (β = 0.5, 0.999; constant rate; no decay).

    Args:
        prompt_learning_rate: of the parameters under `prompts`.
        learning_rate: of all others.
        betas: Adam's.
    """

    def labels(params: Params) -> Params:
        return {
            part: _constant("prompts" if part == "prompts" else "rest", tree)
            for part, tree in params.items()
        }

    first, second = betas
    return optax.multi_transform(
        {
            "prompts": optax.adam(prompt_learning_rate, b1=first, b2=second),
            "rest": optax.adam(learning_rate, b1=first, b2=second),
        },
        labels,
    )


def _constant(value: str, tree: Params) -> Params:
    return jax.tree.map(lambda _: value, tree)
