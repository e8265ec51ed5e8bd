"""Sentences to the knowledge mean of each class (eq. 3), each text encoded once."""

import hashlib
import io
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from kanoclip_jax.backbones import Clip
from kanoclip_jax.errors import InputError
from kanoclip_jax.files import write_atomically
from kanoclip_jax.knowledge.store import Record

Weighting = Literal["count", "balanced"]
Encoder = Callable[[Sequence[str]], Float[np.ndarray, "p d"]]


def knowledge_means(
    records: Sequence[Record],
    classes: Sequence[str],
    encode: Encoder,
    weighting: Weighting = "count",
    *,
    normalize_each: bool = False,
) -> Float[np.ndarray, "c d"]:
    """Unit mean of each class's abnormal knowledge features.

    Args:
        records: any classes; `background` records are left out.
        classes: in the order of the rows.
        encode: texts to features g(p), not normalised.
        weighting: `count` weighs every sentence alike, as eq. 3; `balanced` weighs
            language (`llm`) and image (`vqa`, `template`) sentences alike.
        normalize_each: scale each sentence's feature to unit length first, so that
            no sentence counts for more because its feature is long.

    Raises:
        InputError: a class without a sentence.
    """
    abnormal = [r for r in records if r.polarity == "abnormal"]
    texts = list(dict.fromkeys(r.text for r in abnormal))
    feature = dict(zip(texts, encode(texts), strict=True)) if texts else {}
    if normalize_each:
        feature = {text: g / np.linalg.norm(g) for text, g in feature.items()}
    means = []
    for name in classes:
        own = [r for r in abnormal if r.class_name == name]
        if not own:
            raise InputError(
                f"there is no knowledge of class {name!r}; give sentences with "
                "--config.knowledge.path=FILE.jsonl, masks for the template provider, "
                "or train without it: --config.model.knpl=False"
            )
        groups = [
            [feature[r.text] for r in own if (r.source == "llm") == language]
            for language in (True, False)
        ]
        if weighting == "count":
            groups = [groups[0] + groups[1]]
        mean = np.mean([np.mean(group, axis=0) for group in groups if group], axis=0)
        means.append(mean / np.linalg.norm(mean))
    return np.asarray(means, np.float32)


class CachedEncoder:
    """The frozen text tower, with a file that remembers every text it has encoded.

    Args:
        clip: the frozen backbone.
        folder: where a file for each backbone is kept, named after all that a feature
            depends on besides its text: weights, tokenizer, activation and the
            computation's dtype. Keys are the texts' sha256.
        batch_size: texts encoded at once.
    """

    def __init__(self, clip: Clip, folder: Path, batch_size: int = 32) -> None:
        self._clip = clip
        parts = (
            clip.fingerprint[:32],
            clip.tokenizer.fingerprint[:16],
            clip.module.config.text_config.hidden_act,
            jnp.dtype(clip.module.dtype).name,
        )
        self._path = folder / f"{'-'.join(parts)}.npz"
        self._batch_size = batch_size
        self._tower = jax.jit(
            lambda params, ids, end: clip.module.apply(
                {"params": params}, ids, end, method="encode_text"
            )
        )

    def __call__(self, texts: Sequence[str]) -> Float[np.ndarray, "p d"]:
        """Features g(p) of texts, not normalised."""
        known = self._load()
        keys = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
        new = [
            (key, text)
            for key, text in zip(keys, texts, strict=True)
            if key not in known
        ]
        if new:
            encoded = self._encode([text for _, text in new])
            known |= dict(zip([key for key, _ in new], encoded, strict=True))
            buffer = io.BytesIO()
            np.savez(buffer, **known)
            write_atomically(self._path, buffer.getvalue())
        return np.stack([known[key] for key in keys])

    def _encode_batch(self, texts: list[str]) -> Float[np.ndarray, "p d"]:
        """One padded shape for all batches, hence one compilation."""
        ids, end = self._clip.tokenizer(texts)
        shape = (self._batch_size, self._clip.tokenizer.length)
        padded = np.zeros(shape, np.int32)
        padded[: len(ids), : ids.shape[1]] = ids
        ends = np.zeros(self._batch_size, np.int32)
        ends[: len(end)] = end
        features = self._tower(self._clip.params, padded, ends)
        return np.asarray(features, np.float32)[: len(texts)]

    def _load(self) -> dict[str, np.ndarray]:
        try:
            with self._path.open("rb") as opened:
                # numpy may stop before the end of a part, and its sum is there.
                with zipfile.ZipFile(opened) as archive:
                    if archive.testzip() is not None:
                        raise ValueError("a part is damaged")
                opened.seek(0)
                with np.load(opened) as file:
                    return _alike(dict(file))
        except FileNotFoundError:
            return {}
        # A zip's header can ask for what this Python has not, and say so in any way.
        except (
            *(OSError, EOFError, ValueError, RuntimeError, LookupError),
            *(zipfile.BadZipFile, zlib.error, struct.error, OverflowError),
        ) as error:
            print(f"{self._path} is damaged ({error}); its sentences are encoded again")
            return {}

    def _encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        pieces = [split_to_fit(text, self._clip) for text in texts]
        flat = [piece for group in pieces for piece in group]
        rows: list[np.ndarray] = []
        for start in range(0, len(flat), self._batch_size):
            rows += list(self._encode_batch(flat[start : start + self._batch_size]))
        features, position = [], 0
        for group in pieces:
            features.append(np.mean(rows[position : position + len(group)], axis=0))
            position += len(group)
        return features


def _alike(rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Features of sentences, all of one kind.

    Raises:
        ValueError: they are not.
    """
    kinds = {(row.shape, row.dtype) for row in rows.values()}
    if len(kinds) > 1 or any(row.dtype != np.float32 for row in rows.values()):
        raise ValueError("its rows have other shapes or types")
    return rows


def split_to_fit(text: str, clip: Clip) -> list[str]:
    """Cut a text that exceeds the context at sentence ends, else between words."""
    tokenizer = clip.tokenizer
    if tokenizer.count(text) <= tokenizer.length:
        return [text]
    parts = re.split(r"(?<=[.!?;])\s+", text)
    glue = " "
    if len(parts) == 1:
        parts = text.split()
    if len(parts) == 1:
        raise InputError(
            f"{text[:40]!r}… is one word of {tokenizer.count(text)} tokens; at most "
            f"{tokenizer.length} fit"
        )
    pieces, current = [], ""
    for part in parts:
        joined = f"{current}{glue}{part}".strip()
        if current and tokenizer.count(joined) > tokenizer.length:
            pieces.append(current)
            current = part
        else:
            current = joined
    pieces.append(current)
    return [piece for long in pieces for piece in split_to_fit(long, clip)]
