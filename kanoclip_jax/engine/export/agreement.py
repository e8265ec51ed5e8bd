"""Whether what was exported says what JAX says, on pictures."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from data_pipelines import textures
from data_pipelines.pictures import DEFAULT_READING, Reading
from data_pipelines.transforms import decode_image, read_image
from kanoclip_jax.engine.export.formats import Run
from kanoclip_jax.engine.prediction.inputs import find_inputs
from kanoclip_jax.engine.step import Inference

# Relative, of maps and scores.
TOLERANCE = 1e-3
# Lower scores count as this one: single precision leaves any of them uncertain by 2e-5,
# whoever computes it.
_FLOOR = 0.1
_PICTURES = 3


class Sample(NamedTuple):
    """Pictures, and what JAX says of each alone.

    Attributes:
        images: squashed to the model's size.
        classes: the class that each passes for.
        maps, scores: what JAX says.
    """

    images: UInt8[np.ndarray, "b s s 3"]
    classes: Int[np.ndarray, " b"]
    maps: Float[np.ndarray, "b s s"]
    scores: Float[np.ndarray, " b"]


class Agreement(NamedTuple):
    """The largest relative differences over all pixels and pictures.

    Attributes:
        maps: of maps; infinite where one is no map, or holds no numbers.
        scores: of scores.
        pictures: how many were compared.
    """

    maps: float
    scores: float
    pictures: int

    def __bool__(self) -> bool:
        return max(self.maps, self.scores) <= TOLERANCE


def take_sample(
    inference: Inference,
    class_names: Sequence[str],
    given: str,
    size: int,
    reading: Reading = DEFAULT_READING,
) -> Sample:
    """A few pictures and JAX's answers.

    Args:
        inference: that answers.
        class_names: taken in turn.
        given: pictures as `find_inputs` takes them; embedded textures where empty.
        size: of the model.
        reading: what the numbers of pictures mean.

    Raises:
        InputError, DataError: there is no such picture, it cannot be read, or JAX's
            answer is no number.
    """
    if given:
        paths = find_inputs(given, key="export.input")[:_PICTURES]
        images = np.stack([read_image(path, size, reading)[0] for path in paths])
    else:
        drawn = textures.generate("eval", normal_per_class=0, anomalous_per_class=1)
        images = np.stack(
            [
                decode_image(record["image"], record["path"], size)
                for record in itertools.islice(drawn, _PICTURES)
            ]
        )
    classes = np.arange(len(images), dtype=np.int32) % len(class_names)
    rows = (
        {"image": images[i : i + 1], "class_index": classes[i : i + 1]}
        for i in range(len(images))
    )
    found = []
    for _, one in inference.detections(class_names, rows):
        one.check(np.arange(1), lambda _: f"picture {len(found)} of the comparison")
        found.append(one)
    maps = np.stack([np.asarray(one.maps[0]) for one in found])
    return Sample(images, classes, maps, np.concatenate([one.score for one in found]))


def compare(run: Run, sample: Sample, batch_size: int | None) -> Agreement:
    """Run pictures through what was exported: alone and together.

    Args:
        run: what was exported.
        sample: the pictures.
        batch_size: the only one that it takes, which is filled up; any where None.
    """
    count = len(sample.images)
    if batch_size is None:
        batches = [np.arange(count), *np.arange(count)[:, None]]
    else:
        rows = np.arange(-(-count // batch_size) * batch_size) % count
        batches = list(rows.reshape(-1, batch_size))
    worst = {"maps": 0.0, "scores": 0.0}
    for rows in batches:
        maps, scores = run(sample.images[rows], sample.classes[rows])
        for name, ours in (("maps", maps), ("scores", scores)):
            expected = getattr(sample, name)[rows]
            worst[name] = max(worst[name], _difference(np.asarray(ours), expected))
    return Agreement(**worst, pictures=count)


def _difference(ours: np.ndarray, expected: np.ndarray) -> float:
    if ours.shape != expected.shape or not np.isfinite(ours).all():
        return float("inf")
    apart = np.abs(ours - expected) / np.maximum(np.abs(expected), _FLOOR)
    return float(apart.max())
