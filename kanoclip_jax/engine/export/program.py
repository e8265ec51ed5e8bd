"""What is exported: a trained method as one function of pixels, prompts baked in."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8

from kanoclip_jax.engine.step import Inference
from kanoclip_jax.models.base import Method, Params, Text

INPUTS = ("image", "class_index")
OUTPUTS = ("anomaly_map", "score")


@dataclass(frozen=True, eq=False)
class Program:
    """Maps and scores of square pictures, with every parameter a constant.

    Attributes:
        method: whose `visual` and `detect` it is.
        frozen, params: its parameters, on the host: what is computed from them alone
            is computed once, here.
        text: what the method makes of each class.
        class_names: in prompts; `class_index` counts them.
        image_size: side of the pictures.
    """

    method: Method
    frozen: Any
    params: Any
    text: Text
    class_names: tuple[str, ...]
    image_size: int

    def __call__(
        self, image: UInt8[Array, "b s s 3"], class_index: Int[Array, " b"]
    ) -> tuple[Float[Array, "b s s"], Float[Array, " b"]]:
        """As `Detector` at the model's own size; normalisation is inside."""
        visual = self.method.visual(self.frozen, image)
        text = jax.tree.map(lambda leaf: jnp.asarray(leaf)[class_index], self.text)
        found = self.method.detect(self.frozen, self.params, visual, text)
        return found.anomaly_map, found.score

    def arguments(
        self, batch: Any
    ) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
        """The types of what it is called with."""
        side = self.image_size
        return (
            jax.ShapeDtypeStruct((batch, side, side, 3), jnp.uint8),
            jax.ShapeDtypeStruct((batch,), jnp.int32),
        )


def make_program(
    method: Method,
    params: Params,
    inference: Inference,
    class_names: Sequence[str],
) -> Program:
    """A method's program.

    Args:
        method: the method,
        params: and its trained parameters.
        inference: the same, ready to run: it encodes the prompts.
        class_names: of these classes.
    """
    return Program(
        method=method,
        frozen=jax.device_get(method.frozen),
        params=jax.device_get(params),
        text=method.join([inference.text(name) for name in class_names]),
        class_names=tuple(class_names),
        image_size=method.image_size,
    )
