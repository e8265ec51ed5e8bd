"""Digests that travel with what is stored, so that damage is met when it is read.

Standard library only: whatever reads a stored document can check it.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# The key under which a document carries the digest of all its others.
DIGEST = "digest"


def seal(content: Mapping[str, Any]) -> dict[str, Any]:
    """Adds to a JSON document the SHA-256 of what it says, whatever its layout.

    Args:
      content: What JSON can hold; a digest that it has already is replaced.

    Returns:
      The document, its digest last.
    """
    bare = {key: value for key, value in content.items() if key != DIGEST}
    return bare | {DIGEST: of_document(bare)}


def is_whole(content: Mapping[str, Any]) -> bool:
    """Whether a document says what it said when it was sealed; so do those without."""
    return DIGEST not in content or seal(content)[DIGEST] == content[DIGEST]


def unseal(content: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a document without its digest.

    Raises:
      ValueError: It was changed since it was sealed.
    """
    if not is_whole(content):
        raise ValueError("its content is not what its digest says")
    return {key: value for key, value in content.items() if key != DIGEST}


def of_document(content: Any) -> str:
    """Returns the SHA-256 (hex) of what JSON makes of something."""
    # There and back first: JSON's keys are texts, and their order is that of texts.
    plain = json.loads(json.dumps(content))
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def of_bytes(data: bytes) -> str:
    """Returns the SHA-256 (hex) of what there is, empty where there is nothing."""
    return hashlib.sha256(data).hexdigest() if data else ""


def of_file(path: Path) -> str:
    """Returns the SHA-256 (hex) of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
