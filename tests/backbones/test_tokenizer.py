"""Token ids by hand, room for contexts, and what does not fit."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny_clip

from kanoclip_jax.backbones import Clip, Tokenizer
from kanoclip_jax.errors import InputError

WORD = {word: tiny_clip.VOCABULARY.index(f"{word}</w>") for word in tiny_clip.WORDS}
START, END = tiny_clip.START, tiny_clip.END
POINT = tiny_clip.VOCABULARY.index(".</w>")


def test_ids_are_framed_and_padded_with_the_end(clip: Clip) -> None:
    tokens = clip.tokenizer(["normal bottle.", "Perfect"])
    np.testing.assert_array_equal(
        tokens.ids,
        [
            [START, WORD["normal"], WORD["bottle"], POINT, END],
            [START, WORD["perfect"], END, END, END],
        ],
    )
    np.testing.assert_array_equal(tokens.end, [4, 2])


def test_placeholders_stand_behind_the_start(clip: Clip) -> None:
    tokens = clip.tokenizer(["object"], placeholders=2)
    assert tokens.ids[0, 0] == START
    assert tokens.ids[0, 3:].tolist() == [WORD["object"], END]
    assert tokens.end.tolist() == [4]


def test_count_includes_start_and_end(clip: Clip) -> None:
    assert clip.tokenizer.count("normal bottle.") == 5


def test_fingerprint_is_of_what_ids_depend_on(
    clip: Clip, tiny_directory: Path, tmp_path: Path
) -> None:
    """The same words from another format are the same; fewer merges or room are not."""
    own = clip.tokenizer.fingerprint
    assert len(own) == 64
    assert Tokenizer(tiny_directory, 77).fingerprint == own
    assert Tokenizer(tiny_directory, 76).fingerprint != own
    clip.tokenizer._bpe.save_pretrained(tmp_path / "one_file", legacy_format=False)
    assert not (tmp_path / "one_file" / "merges.txt").exists()
    assert Tokenizer(tmp_path / "one_file", 77).fingerprint == own
    clip.tokenizer._bpe.save_pretrained(tmp_path / "two_files", legacy_format=True)
    (tmp_path / "two_files" / "tokenizer.json").unlink(missing_ok=True)
    merges = tmp_path / "two_files" / "merges.txt"
    merges.write_text("\n".join(merges.read_text().splitlines()[:-1]))
    assert Tokenizer(tmp_path / "two_files", 77).fingerprint != own


def test_text_beyond_the_context_is_refused(clip: Clip) -> None:
    fits = "object " * 75
    assert clip.tokenizer([fits]).ids.shape == (1, 77)
    with pytest.raises(InputError, match="needs 78 tokens, at most 77 fit; shorten"):
        clip.tokenizer([f"{fits} object"])
    with pytest.raises(InputError, match="needs 78 tokens"):
        clip.tokenizer([fits], placeholders=1)


def test_directory_without_a_vocabulary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no CLIP tokenizer .*vocab\.json"):
        Tokenizer(tmp_path, 77)


def test_openai_vocabulary_places_the_end_as_published() -> None:
    """Positions that AnomalyCLIP's and KAnoCLIP's prompts have in OpenAI's BPE."""
    shared = os.environ.get("KANOCLIP_SHARED")
    if not shared:
        pytest.skip("KANOCLIP_SHARED, with a CLIP's own vocabulary, is not set")
    tokenizer = Tokenizer(Path(shared) / "clip" / "dinov2s-clip", 77)
    texts = [
        "object.",
        "damaged object.",
        "abnormal metal nut.",
        "defective electrical commutator.",
    ]
    tokens = tokenizer(texts, placeholders=12)
    assert tokens.end.tolist() == [15, 16, 17, 19]
    assert tokens.ids[0, 0] == 49406
    assert set(tokens.ids[np.arange(4), tokens.end]) == {49407}
    assert tokenizer(["X."]).ids.tolist() == [[49406, 343, 269, 49407]]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("vocab.json", '{"a</w>": "x"}', r"vocab\.json has a</w> = \"x\"; allowed"),
        ("vocab.json", '["a"]', r"vocab\.json has \[\"a\"\]; allowed is an object"),
        ("vocab.json", '{"a": -1}', "allowed is a whole number from 0"),
        ("vocab.json", "{}", "holds no CLIP tokenizer"),
        ("merges.txt", "#version\na b c d e\n\x00\n", "holds no CLIP tokenizer"),
        ("tokenizer_config.json", "[" * 100_000, r"tokenizer_config\.json nests"),
        ("tokenizer_config.json", '{"bos_token": 5}', "holds no CLIP tokenizer"),
        ("special_tokens_map.json", '{"eos_token": [1]}', "holds no CLIP tokenizer"),
        ("tokenizer.json", '{"model": 3}', "holds no CLIP tokenizer"),
        ("tokenizer.json", "NaN", r"tokenizer\.json cannot be read as JSON"),
    ],
)
def test_broken_files_are_named(
    tiny_directory: Path, tmp_path: Path, name: str, text: str, said: str
) -> None:
    for file in ("vocab.json", "merges.txt"):
        shutil.copy(tiny_directory / file, tmp_path)
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=said):
        Tokenizer(tmp_path, 77)
