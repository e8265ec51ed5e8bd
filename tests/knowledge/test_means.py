"""Knowledge means by hand, and an encoder that reads each text once."""

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import numpy_clip
import pytest
import tiny_clip

from kanoclip_jax.backbones import Clip, Tokenizer, load_clip
from kanoclip_jax.errors import InputError
from kanoclip_jax.knowledge.means import (
    CachedEncoder,
    knowledge_means,
    split_to_fit,
)
from kanoclip_jax.knowledge.store import Record

FEATURES = {"x": (1.0, 0.0), "y": (0.0, 2.0), "z": (0.0, 4.0), "far": (9.0, -9.0)}


class FakeEncoder:
    """Features by hand; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += texts
        return np.float32([FEATURES[text] for text in texts])


RECORDS = [
    Record("d", "bolt", "llm", "x"),
    Record("d", "bolt", "vqa", "y"),
    Record("d", "bolt", "template", "z"),
    Record("d", "bolt", "llm", "far", polarity="background"),
    Record("d", "nut", "llm", "z"),
    Record("d", "washer", "vqa", "x"),
]


@pytest.mark.parametrize(
    ("weighting", "bolt"),
    [
        # The mean of x, y and z is (1, 6) / 3; of x and the mean of y and z, (1, 3) / 2.
        ("count", np.array([1, 6]) / 37**0.5),
        ("balanced", np.array([1, 3]) / 10**0.5),
    ],
)
def test_means_by_hand(weighting: str, bolt: np.ndarray) -> None:
    found = knowledge_means(RECORDS, ["nut", "bolt"], FakeEncoder(), weighting)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [[0, 1], bolt], atol=1e-6)


def test_balanced_with_one_source_only() -> None:
    found = knowledge_means(RECORDS, ["washer", "nut"], FakeEncoder(), "balanced")
    np.testing.assert_allclose(found, [[1, 0], [0, 1]], atol=1e-6)


@pytest.mark.parametrize(
    ("weighting", "bolt"),
    [
        # Of unit features: x and twice the other axis; x and their mean.
        ("count", np.array([1, 2]) / 5**0.5),
        ("balanced", np.array([1, 1]) / 2**0.5),
    ],
)
def test_normalised_features_weigh_alike(weighting: str, bolt: np.ndarray) -> None:
    found = knowledge_means(
        RECORDS, ["bolt", "nut"], FakeEncoder(), weighting, normalize_each=True
    )
    np.testing.assert_allclose(found, [bolt, [0, 1]], atol=1e-6)


def test_normalising_unit_features_changes_nothing() -> None:
    unit = {"x": (1.0, 0.0), "y": (0.0, 1.0), "z": (0.6, 0.8)}
    encode = lambda texts: np.float32([unit[text] for text in texts])
    records = [r for r in RECORDS if r.polarity == "abnormal"]
    for weighting in ("count", "balanced"):
        plain, normalised = (
            knowledge_means(
                records, ["bolt"], encode, weighting, normalize_each=normalize
            )
            for normalize in (False, True)
        )
        np.testing.assert_allclose(normalised, plain, atol=1e-6)


def test_background_is_not_even_encoded() -> None:
    encoder = FakeEncoder()
    found = knowledge_means(RECORDS, ["bolt"], encoder)
    without = [r for r in RECORDS if r.polarity == "abnormal"]
    np.testing.assert_array_equal(
        found, knowledge_means(without, ["bolt"], FakeEncoder())
    )
    assert "far" not in encoder.asked
    assert sorted(encoder.asked) == sorted(set(encoder.asked))


@pytest.mark.parametrize(
    "records", [[], RECORDS, [Record("d", "screw", "llm", "x", polarity="background")]]
)
def test_class_without_a_sentence_is_refused(records: list[Record]) -> None:
    with pytest.raises(InputError, match="no knowledge of class 'screw'") as caught:
        knowledge_means(records, ["screw"], FakeEncoder())
    assert "--config.model.knpl=False" in str(caught.value)


class CountingEncoder(CachedEncoder):
    """Records the texts that reach the tower."""

    def __init__(self, clip: Clip, folder: Path) -> None:
        super().__init__(clip, folder, batch_size=2)
        self.read: list[str] = []

    def _encode_batch(self, texts: list[str]) -> np.ndarray:
        self.read += texts
        return super()._encode_batch(texts)


@pytest.fixture(scope="module")
def encoder(clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> CountingEncoder:
    return CountingEncoder(clip, tmp_path_factory.mktemp("knowledge"))


def features(clip: Clip, weights: Mapping[str, np.ndarray], text: str) -> np.ndarray:
    """One text, truncated after its end, in numpy."""
    tokens = clip.tokenizer([text])
    embedded = weights["text_model.embeddings.token_embedding.weight"][tokens.ids]
    return numpy_clip.text_feature(embedded, tokens.end, weights, tiny_clip.CONFIG)[0]


def test_each_text_is_encoded_once(
    encoder: CountingEncoder, clip: Clip, tiny_weights: Mapping[str, np.ndarray]
) -> None:
    texts = ["normal bottle", "a photo", "perfect"]
    first = encoder(texts)
    assert encoder.read == texts
    np.testing.assert_allclose(
        first[1], features(clip, tiny_weights, "a photo"), atol=1e-5
    )
    second = encoder(["perfect", "object", "perfect"])
    assert encoder.read == [*texts, "object"]
    np.testing.assert_array_equal(second[0], first[2])
    np.testing.assert_array_equal(second[2], first[2])


def test_file_outlives_the_encoder(encoder: CountingEncoder, clip: Clip) -> None:
    before = encoder(["defective bottle"])
    again = CountingEncoder(clip, encoder._path.parent)
    np.testing.assert_array_equal(again(["defective bottle"]), before)
    assert again.read == []


def test_each_backbone_has_a_file_of_its_own(
    clip: Clip, encoder: CountingEncoder, tiny_directory: Path, tmp_path: Path
) -> None:
    """Other weights, other words, another activation or another precision."""
    encoder(["bottle"])
    folder = encoder._path.parent
    other = tmp_path / "other"
    shutil.copytree(tiny_directory, other)
    merges = (other / "merges.txt").read_text().splitlines()
    (other / "merges.txt").write_text("\n".join(merges[:-1]))
    changed = (
        dataclasses.replace(clip, fingerprint="0" * 64),
        dataclasses.replace(clip, tokenizer=Tokenizer(other, 77)),
        dataclasses.replace(clip, module=clip.module.clone(dtype=jnp.bfloat16)),
        load_clip(str(tiny_directory), activation="gelu"),
    )
    for backbone in changed:
        again = CountingEncoder(backbone, folder)
        again(["bottle"])
        assert again.read == ["bottle"]
    assert len(list(folder.glob("*.npz"))) == 5


def test_broken_cache_is_rebuilt(
    encoder: CountingEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder, "_path", tmp_path / "own.npz")
    before = encoder(["abnormal"])
    encoder._path.write_bytes(encoder._path.read_bytes()[:100])
    encoder.read.clear()
    np.testing.assert_array_equal(encoder(["abnormal"]), before)
    assert encoder.read == ["abnormal"]


def test_long_text_is_split_at_sentences_and_averaged(
    encoder: CountingEncoder, clip: Clip
) -> None:
    first, second = ("object " * 50).strip() + ".", ("bottle " * 40).strip() + "!"
    encoder.read.clear()
    found = encoder([f"{first} {second}"])[0]
    assert encoder.read == [first, second]
    expected = np.mean(encoder([first, second]), axis=0)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_text_that_fits_is_left_alone(clip: Clip) -> None:
    assert split_to_fit("normal. perfect.", clip) == ["normal. perfect."]


def test_sentence_beyond_the_context_is_cut_between_words(clip: Clip) -> None:
    words = ("object " * 100).split()
    pieces = split_to_fit(" ".join(words), clip)
    assert " ".join(pieces).split() == words
    assert [len(piece.split()) for piece in pieces] == [75, 25]


def test_word_beyond_the_context_is_refused(clip: Clip) -> None:
    with pytest.raises(InputError, match="is one word of 102 tokens; at most 77 fit"):
        split_to_fit("q" * 100, clip)
