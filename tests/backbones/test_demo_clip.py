"""The bundled demonstration CLIP: its files, its tokenizer, its configuration."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from kanoclip_jax.backbones.locate import DEMO
from kanoclip_jax.backbones.tokenizer import Tokenizer
from kanoclip_jax.backbones.weights import load_clip


def read(name):
    return json.loads((DEMO / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(DEMO, 77)


def test_every_file_of_the_hugging_face_layout_is_there_and_small():
    assert {path.name for path in DEMO.iterdir()} == {
        "README.md",
        "config.json",
        "merges.txt",
        "model.safetensors",
        "preprocessor_config.json",
        "special_tokens_map.json",
        "tokenizer_config.json",
        "vocab.json",
    }
    assert sum(path.stat().st_size for path in DEMO.iterdir()) < 5e6


def test_the_configuration_suits_the_four_taps():
    config = read("config.json")
    vision, text = config["vision_config"], config["text_config"]
    assert config["model_type"] == "clip"
    assert (vision["image_size"], vision["patch_size"]) == (128, 8)
    assert vision["num_hidden_layers"] % 4 == 0
    assert vision["hidden_size"] // vision["num_attention_heads"] in (32, 64)
    assert text["max_position_embeddings"] == 77
    assert text["vocab_size"] == len(read("vocab.json"))
    assert text["eos_token_id"] == text["vocab_size"] - 1


def test_weights_are_finite_and_their_preprocessing_is_stated():
    weights = load_file(DEMO / "model.safetensors")
    assert all(np.isfinite(tensor).all() for tensor in weights.values())
    assert weights["vision_model.embeddings.patch_embedding.weight"].shape == (
        128,
        3,
        8,
        8,
    )
    assert read("preprocessor_config.json")["image_mean"] == [0.5, 0.5, 0.5]


def test_words_of_the_trade_are_short_in_tokens(tokenizer):
    assert tokenizer.count("a photo of a damaged woven fabric.") <= 10
    assert tokenizer.count("perfect object") == 4


def test_tokens_spell_the_text_again(tokenizer):
    spelt = {index: token for token, index in read("vocab.json").items()}
    tokens = tokenizer(["A Scratched, rusty gear-wheel!"])
    row = tokens.ids[0, 1 : tokens.end[0]]
    text = "".join(spelt[int(i)] for i in row).replace("</w>", " ")
    assert text == "a scratched , rusty gear - wheel ! "
    assert [spelt[int(tokens.ids[0, i])] for i in (0, tokens.end[0])] == [
        "<|startoftext|>",
        "<|endoftext|>",
    ]


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=12))
def test_any_text_encodes_without_an_unknown_token(tokenizer, text):
    tokens = tokenizer([text])
    words = tokens.ids[0, 1 : tokens.end[0]]
    assert (words < len(read("vocab.json")) - 2).all()


def test_it_loads_at_its_own_and_at_another_size():
    assert load_clip("demo").grid == 16
    assert load_clip("demo", 160).grid == 20
