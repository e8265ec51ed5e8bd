"""What a training is made of besides its settings, so that it goes on with the same."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from data_pipelines.digests import of_document
from data_pipelines.sources import Source
from kanoclip_jax import documents
from kanoclip_jax.engine import shapes
from kanoclip_jax.errors import InputError
from kanoclip_jax.models.base import Method

# Of what a step computes; a change after which the same inputs train otherwise adds 1.
_CODE = 1
_NO_META = "give another step"
_REMEDY = "restore what it was, or pass another --workdir to train anew"
_WORDS = {
    "code": "by a version of this package that computes otherwise (install that one",
    "data": "on other pictures, masks, labels or class names (restore those",
    "visual": (
        "with another reading of its images: their size, constants or "
        "activation (restore the backbone's files"
    ),
}


def training_inputs(method: Method, source: Source) -> dict[str, Any]:
    """Digests of all that the steps of a training depend on besides settings.

    Sentences have one of their own, for they are read when they are needed.

    Args:
        method: what is trained.
        source: on what.
    """
    return {
        "code": _CODE,
        **backbone_files(method),
        "data": source.digest(),
        "visual": of_document(
            {name: _read(getattr(method, name)) for name in method.backbones}
        ),
        "dtype": jnp.dtype(method.clip.module.dtype).name,
    }


def backbone_files(method: Method) -> dict[str, str]:
    """What the backbones' files say besides weights: tokenizer, constants, widths."""
    found = {name: getattr(method, name).description for name in method.backbones}
    return {f"{name}.files": digest for name, digest in found.items()}


def refuse_other_weights(
    where: Path, meta: Mapping[str, Any], method: Method, remedy: str = ""
) -> None:
    """Compare the backbones, weight for weight, with those of a checkpoint.

    Raises:
        InputError: it was trained with others, though their names may be the same.
    """
    for field, ours in method.backbone_identity().items():
        documents.check(meta, {field: shapes.BACKBONE}, f"{where}/meta", _NO_META)
        theirs = meta[field]
        if ours["fingerprint"] != theirs["fingerprint"]:
            named = remedy or f"name the former with --config.{field}.name=…"
            same = ": the files have changed" if ours["name"] == theirs["name"] else ""
            raise InputError(
                f"{where} was trained with the {field.upper()} {theirs['name']!r} "
                f"(weights {theirs['fingerprint'][:12]}), not with {ours['name']!r} "
                f"({ours['fingerprint'][:12]}){same}; {named}"
            )
    refuse_other_files(where, meta, method)


def refuse_other_files(where: Path, meta: Mapping[str, Any], method: Method) -> None:
    """Compare what the backbones' small files say with what they said in training.

    Raises:
        InputError: they say something else; older checkpoints do not know.
    """
    saved = meta.get("inputs", {})
    for key, ours in backbone_files(method).items():
        if saved.get(key, ours) != ours:
            field = key.removesuffix(".files")
            raise InputError(
                f"{where} was trained with other files of the {field.upper()} than "
                f"{getattr(method, field).name!r} has now (config.json, the tokenizer's "
                "or the preprocessing constants; its weights are the same); restore "
                f"them, or name another copy with --config.{field}.name=…"
            )


def refuse_other_inputs(
    workdir: Path, meta: Mapping[str, Any], method: Method, source: Source
) -> None:
    """Check that a training goes on with what it began with.

    Raises:
        InputError: it would not; says what differs.
    """
    refuse_other_weights(workdir, meta, method, _REMEDY)
    saved = meta.get("inputs")
    if saved is None:
        print(
            f"{workdir} was begun by a version that kept no digest of its pictures, so "
            "whether they are the same cannot be checked"
        )
        return
    now = training_inputs(method, source)
    for key, words in _WORDS.items():
        if saved.get(key, now[key]) != now[key]:
            raise InputError(
                f"{workdir} was trained {words}), and would go on with a mixture; "
                f"{_REMEDY}"
            )
    if saved.get("dtype", now["dtype"]) != now["dtype"]:
        print(
            f"{workdir} was trained in {saved['dtype']} so far, and this device computes "
            f"in {now['dtype']}"
        )


def _read(backbone: Any) -> dict[str, object]:
    """How a backbone reads images, but for what another device moves.

    Its dtype is said instead of refused; the last bits of resized positions, which
    follow from its weights, are as the device rounds.
    """
    own = backbone.reading().items()
    return {key: value for key, value in own if key not in ("compute", "positions")}
