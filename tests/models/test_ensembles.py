"""Sentences against those that the public code was given, and by hand."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from kanoclip_jax.models.ensembles import (
    ADACLIP,
    APRIL_GAN,
    CLIP,
    CLIP_AC,
    IMAGENET_SUBSET,
    WINCLIP,
    Ensemble,
    sentences,
)


@pytest.fixture
def published() -> Path:
    shared = os.environ.get("KANOCLIP_SHARED")
    if not shared:
        pytest.skip("KANOCLIP_SHARED is unset: no published lists to compare with")
    return Path(shared) / "methods/parity"


def say(ensemble: Ensemble, name: str) -> tuple[list[str], list[str]]:
    return (
        sentences(ensemble.normal, ensemble.templates, name),
        sentences(ensemble.abnormal, ensemble.templates, name),
    )


def test_templates_change_fastest() -> None:
    found = sentences(("{}", "{} with {{}}"), ("a {}.", "the {}!"), "{x}")
    assert found == ["a {x}.", "the {x}!", "a {x} with {}.", "the {x} with {}!"]


@pytest.mark.parametrize(
    ("ensemble", "counts", "first", "last"),
    [
        (CLIP, (1, 1), "a photo of a normal nut.", "a photo of an anomalous nut."),
        (
            CLIP_AC,
            (80, 80),
            "a bad photo of a normal nut.",
            "a tattoo of the anomalous nut.",
        ),
        (
            WINCLIP,
            (147, 84),
            "a cropped photo of the nut.",
            "a photo of a nut with damage for anomaly detection.",
        ),
        (
            APRIL_GAN,
            (245, 175),
            "a bad photo of a nut.",
            "this is one nut with damage in the scene.",
        ),
        (
            ADACLIP,
            (28, 20),
            "a bad photo of a nut.",
            "a cropped photo of the nut with damage.",
        ),
    ],
    ids=["clip", "clip_ac", "winclip", "april_gan", "adaclip"],
)
def test_numbers_of_sentences_and_the_outermost(
    ensemble: Ensemble, counts: tuple[int, int], first: str, last: str
) -> None:
    normal, abnormal = say(ensemble, "nut")
    assert (len(normal), len(abnormal)) == counts
    assert (normal[0], abnormal[-1]) == (first, last)


def test_winclip_says_one_sentence_twice() -> None:
    normal, _ = say(WINCLIP, "metal_nut")
    twice = {sentence for sentence in normal if normal.count(sentence) == 2}
    assert len(set(normal)) == 140 and len(twice) == 7
    assert "a jpeg corrupted photo of the metal_nut without flaw." in twice


def test_the_subset_is_of_the_eighty() -> None:
    assert len(IMAGENET_SUBSET) == 7
    assert set(IMAGENET_SUBSET) < set(CLIP_AC.templates)
    assert len(set(CLIP_AC.templates)) == 80


def test_lists_are_the_published_ones(published: Path) -> None:
    clip = json.loads((published / "prompts_clip.json").read_text())
    assert say(CLIP, "{}") == (clip["clip"]["normal"], clip["clip"]["abnormal"])
    assert list(IMAGENET_SUBSET) == clip["clip_ac"]["templates_best7"]
    for ensemble, told in (
        (CLIP_AC, clip["clip_ac"]),
        (WINCLIP, json.loads((published / "prompts_winclip.json").read_text())),
        (APRIL_GAN, json.loads((published / "prompts_aprilgan.json").read_text())),
        (ADACLIP, json.loads((published / "prompts_adaclip.json").read_text())),
    ):
        assert list(ensemble.normal) == told["states_normal"]
        assert list(ensemble.abnormal) == told["states_abnormal"]
        assert list(ensemble.templates) == told["templates"]


@pytest.mark.parametrize(
    ("ensemble", "file", "prefix"),
    [
        (CLIP, "parity_clip.npz", "clip/"),
        (CLIP_AC, "parity_clip.npz", "clip_ac/"),
        (WINCLIP, "parity_winclip.npz", "text/"),
        (APRIL_GAN, "parity_aprilgan.npz", "text/"),
        (ADACLIP, "parity_adaclip.npz", "text/"),
    ],
)
def test_sentences_are_those_that_the_public_code_encoded(
    published: Path, ensemble: Ensemble, file: str, prefix: str
) -> None:
    with np.load(published / file) as reference:
        keys = [key for key in reference if key.endswith("/normal/sentences")]
        keys = [key for key in keys if key.startswith(prefix)]
        assert len(keys) == 2
        for key in keys:
            normal, abnormal = say(ensemble, key.split("/")[1])
            assert normal == reference[key].tolist()
            other = key.replace("/normal/", "/abnormal/")
            assert abnormal == reference[other].tolist()
