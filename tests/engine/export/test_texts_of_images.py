"""Texts that wait for their image are exported with the tower that reads them."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from kanoclip_jax.ops import lowering


@pytest.mark.filterwarnings("ignore")
def test_a_prompt_of_each_of_any_number_of_images_in_onnx(
    backbones: Callable[[str], dict],
) -> None:
    """As Crane's `context_at_test` has it: a start for all, an image's own token."""
    jax2onnx = pytest.importorskip("jax2onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    clip = backbones("crane")["clip"]
    ids, end = clip.tokenizer(["damaged object."], 3)
    drawn = np.random.default_rng(0)
    context = drawn.normal(size=(2, 32)).astype(np.float32)
    images = drawn.normal(size=(3, 32)).astype(np.float32)

    def encode(images: Array) -> Array:
        count = images.shape[0]
        return clip.module.apply(
            {"params": clip.params},
            jnp.broadcast_to(jnp.asarray(ids), (count, ids.shape[1])),
            jnp.broadcast_to(jnp.asarray(end), (count,)),
            context=context,
            inserted=images,
            method="encode_text",
        )

    types = [jax.ShapeDtypeStruct(("batch", 32), jnp.float32)]
    with lowering.tracing_for("onnx"):
        model = jax2onnx.to_onnx(encode, types, opset=21)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (name,) = (given.name for given in session.get_inputs())
    expected = np.asarray(encode(images))
    assert np.abs(expected[0] - expected[1]).max() > 1e-3
    for rows in (slice(0, 1), slice(None)):
        (found,) = session.run(None, {name: images[rows]})
        np.testing.assert_allclose(found, expected[rows], atol=1e-5)
