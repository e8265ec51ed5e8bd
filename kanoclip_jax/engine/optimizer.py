"""Adam or AdamW, with a learning rate for prompts and one for everything else; its end."""

import functools

import jax
import optax

from kanoclip_jax.models.base import Params


def make_optimizer(
    *,
    prompt_learning_rate: float,
    learning_rate: float,
    betas: tuple[float, float],
    weight_decay: float = 0.0,
) -> optax.GradientTransformation:
    """Adam as AnomalyCLIP's training (β = 0.5, 0.999; constant rate; no decay).

    Args:
        prompt_learning_rate: of the parameters under `prompts`.
        learning_rate: of all others.
        betas: Adam's.
        weight_decay: AdamW's (Loshchilov and Hutter, 2019): with each step parameters
            lose this share of them times the learning rate. AdaCLIP has 0.01.
    """

    def labels(params: Params) -> Params:
        return {
            part: _constant("prompts" if part == "prompts" else "rest", tree)
            for part, tree in params.items()
        }

    first, second = betas
    adam = functools.partial(optax.adam, b1=first, b2=second)
    if weight_decay:
        adam = functools.partial(
            optax.adamw, b1=first, b2=second, weight_decay=weight_decay
        )
    return optax.multi_transform(
        {"prompts": adam(prompt_learning_rate), "rest": adam(learning_rate)}, labels
    )


def make_schedule(steps_per_epoch: float, full_epochs: int) -> optax.Schedule:
    """What a step's rates are multiplied by: 1, and then half with each further epoch.

    All that comes after is worth 1.44 epochs at full rates, however long it goes on.

    Args:
        steps_per_epoch: images over the batch; batches run on from epoch to epoch.
        full_epochs: epochs at full rates; 0 for all.
    """
    full = optax.constant_schedule(1.0)
    if not full_epochs:
        return full
    halving = optax.exponential_decay(1.0, steps_per_epoch, 0.5)
    return optax.join_schedules([full, halving], [round(full_epochs * steps_per_epoch)])


def _constant(value: str, tree: Params) -> Params:
    return jax.tree.map(lambda _: value, tree)
