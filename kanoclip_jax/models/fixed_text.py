"""Text that never learns: sentences of an ensemble, encoded once for a list of classes."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from kanoclip_jax.backbones import Clip
from kanoclip_jax.models.base import Params
from kanoclip_jax.models.ensembles import Ensemble, sentences
from kanoclip_jax.nn.anomaly_map import normalise

# Positions are padded to a multiple of this, so that few programs serve all classes.
_POSITIONS = 16


class FixedText:
    """What a method with hand-written prompts says where others learn them.

    Attributes:
        ensemble: its words.
        unit_sentences: give every sentence's feature unit length before their mean.
    """

    clip: Clip
    ensemble: Ensemble
    unit_sentences: bool = True

    @functools.cached_property
    def _encode(self) -> Callable[[Params, Array, Array], Array]:
        def encode(frozen: Params, ids: Array, end: Array) -> Array:
            variables = {"params": frozen["clip"]}
            features = self.clip.module.apply(variables, ids, end, method="encode_text")
            features = features.astype(jnp.float32)
            if self.unit_sentences:
                features = normalise(features)
            return normalise(features.mean(0))

        return jax.jit(encode)

    def prompts(
        self, frozen: Params, class_names: Sequence[str]
    ) -> Float[np.ndarray, "c 2 joint"]:
        """Unit features of each class's normal and abnormal sentences."""
        words = self.ensemble
        features = [
            [
                self._feature(frozen, sentences(states, words.templates, name))
                for states in (words.normal, words.abnormal)
            ]
            for name in (name or "object" for name in class_names)
        ]
        return np.asarray(features, np.float32)

    def _feature(self, frozen: Params, texts: list[str]) -> Float[np.ndarray, " joint"]:
        ids, end = self.clip.tokenizer(texts)
        room = min(
            -ids.shape[1] % _POSITIONS, self.clip.tokenizer.length - ids.shape[1]
        )
        padded = np.pad(ids, ((0, 0), (0, room)), mode="edge")
        return np.asarray(self._encode(frozen, padded, end))

    def text(
        self, frozen: Params, params: Params, classes: Float[Array, "c 2 joint"]
    ) -> Float[Array, "c 2 joint"]:
        """The features as they are."""
        del frozen, params
        return jnp.asarray(classes)
