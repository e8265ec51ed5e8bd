"""Words to token ids, with the positions that the text tower needs."""

import functools
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int
from transformers import CLIPTokenizerFast

from kanoclip_jax import documents
from kanoclip_jax.backbones import shapes
from kanoclip_jax.errors import InputError


class Tokens(NamedTuple):
    """Token ids, truncated after the last prompt's end, and where each prompt ends."""

    ids: Int[np.ndarray, "p t"]
    end: Int[np.ndarray, " p"]


class Tokenizer:
    """CLIP's byte-pair encoding, read from a model's own directory.

    Args:
        directory: holds `vocab.json` and `merges.txt`, or `tokenizer.json`.
        length: the text tower's context length (77).
    """

    def __init__(self, directory: Path, length: int) -> None:
        for name, shape in shapes.TOKENIZER.items():
            if (directory / name).is_file():
                documents.read(directory / name, shape, shapes.FETCH)
        try:
            self._bpe = CLIPTokenizerFast.from_pretrained(str(directory))
            if None in (self._bpe.bos_token_id, self._bpe.eos_token_id):
                raise ValueError("it has no token for the start or the end of a text")
        except (KeyboardInterrupt, SystemExit):
            raise
        # The library of the tokenizer ends in panics, which are no `Exception`.
        except BaseException as error:  # noqa: BLE001
            reason = str(error).partition("\n")[0][:200] or type(error).__name__
            raise InputError(
                f"{directory} holds no CLIP tokenizer ({reason}); "
                "vocab.json and merges.txt, or tokenizer.json, belong beside the weights"
            ) from None
        self.length = length

    @functools.cached_property
    def highest(self) -> int:
        """The highest token there is."""
        return max(self._bpe.get_vocab().values())

    @functools.cached_property
    def fingerprint(self) -> str:
        """sha256 of all that token ids depend on, from whichever files it was read."""
        frame = (self._bpe.bos_token_id, self._bpe.eos_token_id, self.length)
        rules = self._bpe.backend_tokenizer.to_str()
        return hashlib.sha256(f"{frame}{rules}".encode()).hexdigest()

    @functools.cached_property
    def vocabulary(self) -> str:
        """sha256 of words and merges alone: the same in any version of the library."""
        model = json.loads(self._bpe.backend_tokenizer.to_str())["model"]
        # Pairs are lists in some versions, and words with a space between in others.
        merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
        words = sorted(model["vocab"].items())
        return hashlib.sha256(json.dumps([words, merges]).encode()).hexdigest()

    def count(self, text: str) -> int:
        """Tokens of a text with its start and end."""
        return len(self._words(text)) + 2

    def __call__(self, texts: Sequence[str], placeholders: int = 0) -> Tokens:
        """Encode texts behind room for learned vectors.

        Args:
            texts: plain words.
            placeholders: positions to leave free after the start token.

        Raises:
            InputError: a text does not fit the context length.
        """
        start, stop = self._bpe.bos_token_id, self._bpe.eos_token_id
        rows = [
            [start, *[stop] * placeholders, *self._words(text), stop] for text in texts
        ]
        for text, row in zip(texts, rows, strict=True):
            if len(row) > self.length:
                raise InputError(
                    f"{text!r} needs {len(row)} tokens, at most {self.length} fit; "
                    "shorten it"
                )
        end = np.array([len(row) - 1 for row in rows], np.int32)
        ids = np.full((len(rows), int(end.max()) + 1), stop, np.int32)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = row
        return Tokens(ids, end)

    def _words(self, text: str) -> list[int]:
        return self._bpe(text, add_special_tokens=False)["input_ids"]
