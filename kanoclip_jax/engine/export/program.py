"""What is exported: a trained method as one function of pixels, prompts baked in."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
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
        class_names: in prompts; `class_index` counts them where there are several.
        image_size: side of the pictures.
    """

    method: Method
    frozen: Any
    params: Any
    text: Text
    class_names: tuple[str, ...]
    image_size: int

    def __call__(
        self,
        image: UInt8[Array, "b s s 3"],
        class_index: Int[Array, " b"] | None = None,
    ) -> tuple[Float[Array, "b s s"], Float[Array, " b"]]:
        """As `Detector` at the model's own size; normalisation is inside."""
        visual = self.method.visual(self.frozen, image)
        text = jax.tree.map(
            lambda leaf: _rows(jnp.asarray(leaf), class_index, image.shape[0]),
            self.text,
        )
        found = self.method.detect(self.frozen, self.params, visual, text)
        return found.anomaly_map, found.score

    @property
    def inputs(self) -> tuple[str, ...]:
        """What it is called with: pictures, and where it knows classes theirs."""
        return INPUTS if len(self.class_names) > 1 else INPUTS[:1]

    def arguments(self, batch: Any) -> tuple[jax.ShapeDtypeStruct, ...]:
        """The types of what it is called with."""
        side = self.image_size
        types = (
            jax.ShapeDtypeStruct((batch, side, side, 3), jnp.uint8),
            jax.ShapeDtypeStruct((batch,), jnp.int32),
        )
        return types[: len(self.inputs)]

    def apart(
        self,
    ) -> tuple[dict[str, np.ndarray], Callable[..., tuple[jax.Array, jax.Array]]]:
        """Its parameters by name, and the function that takes them as an argument.

        Names that the function is not given it takes for zeros.
        """
        tree = {"frozen": self.frozen, "params": self.params, "text": self.text}
        found, structure = jax.tree_util.tree_flatten_with_path(tree)
        weights = {
            jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
            for path, leaf in found
        }

        def call(given: dict[str, Array], *inputs: Array) -> tuple[Array, Array]:
            leaves = [
                given[name] if name in given else np.zeros_like(leaf)
                for name, leaf in weights.items()
            ]
            parts = jax.tree_util.tree_unflatten(structure, leaves)
            return dataclasses.replace(self, **parts)(*inputs)

        return weights, call


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


def _rows(leaf: Array, index: Int[Array, " b"] | None, count: Any) -> Array:
    """A row of text for each picture: its class's, or the only one."""
    if index is not None:
        return leaf[index]
    return jnp.broadcast_to(leaf, (count, *leaf.shape[1:]))
