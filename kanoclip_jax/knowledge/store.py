"""The knowledge base on disk: one JSON record a line, with where each sentence is from."""

import dataclasses
import functools
import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from data_pipelines.names import canonical
from kanoclip_jax import documents
from kanoclip_jax.errors import InputError
from kanoclip_jax.files import write_atomically

BUNDLED = Path(__file__).parent / "data"
# The SHA-256 of each bundled file.
DIGESTS = "digests.json"
# What a line that was written here ends with; one written by hand may lack it.
_CHECK = "crc32"


@dataclass(frozen=True)
class Record:
    """One sentence about a class, and its provenance.

    Attributes:
        dataset, class_name: what it is about (`class` in the file).
        source: `llm` (from the class name), `vqa` (from an image) or `template` (from
            an image's mask, standing in for `vqa`).
        image: path of the image relative to its dataset, or None.
        polarity: `abnormal`, or `background` (what a normal one looks like), which
            eq. 3 leaves out.
        text: the sentence.
        provider, model: who wrote it.
        prompt_sha: sha256 of the question that was asked.
        sample, seed: which of several answers, and its seed.
        created: ISO date.
        v: version of this format.
    """

    dataset: str
    class_name: str
    source: str
    text: str
    image: str | None = None
    polarity: str = "abnormal"
    provider: str = "bundled"
    model: str = ""
    prompt_sha: str = ""
    sample: int = 0
    seed: int = 0
    created: str = ""
    v: int = 1


# In the order in which a line has them.
_KEYS = (
    "v",
    "dataset",
    "class",
    "source",
    "image",
    "polarity",
    "text",
    "provider",
    "model",
    "prompt_sha",
    "sample",
    "seed",
    "created",
)
_MOST_BYTES = 512 * documents.MEGABYTE
_COUNT = documents.Span(-(2**63), 2**63 - 1, whole=True)
_SHAPE = {
    **dict.fromkeys(("dataset", "class", "source", "text"), str),
    "v?": documents.Choice((1,)),
    "image?": (None, str),
    "polarity?": documents.Choice(("abnormal", "background")),
    **dict.fromkeys(("provider?", "model?", "prompt_sha?", "created?"), str),
    "sample?": _COUNT,
    "seed?": _COUNT,
}
_REMEDY = (
    "it is no knowledge record: each line is a JSON object with "
    f"{', '.join(sorted(_KEYS))}"
)


def read_records(path: Path) -> list[Record]:
    """Read a knowledge file.

    Raises:
        InputError: a line that is no such record, naming file and line.
    """
    data = documents.read_bytes(
        path, "--config.knowledge.path names a .jsonl file", _MOST_BYTES
    )
    # Not splitlines: sentences may hold other line ends than the file's own.
    return [
        from_line(line, f"{path}:{number}")
        for number, line in enumerate(data.split(b"\n"), start=1)
        if line.strip()
    ]


def from_line(line: bytes, place: str = "the line") -> Record:
    """Read one record.

    Args:
        line: JSON.
        place: where it is, for the message.

    Raises:
        InputError: it is none.
    """
    content = documents.parse(line, place, dict, _REMEDY)
    check = content.pop(_CHECK, None)
    if check is not None and check != _crc(content):
        raise InputError(
            f"{place} has changed since it was written; take its {_CHECK!r} out of the "
            "line if that was on purpose"
        )
    extra = set(content) - set(_KEYS)
    if extra:
        raise InputError(f"{place} has the unknown key {min(extra)!r:.60}; {_REMEDY}")
    documents.check(content, _SHAPE, place, _REMEDY)
    try:
        content["text"].encode()
    except UnicodeEncodeError:
        raise InputError(f"{place} holds half a letter; {_REMEDY}") from None
    return Record(class_name=content.pop("class"), **content)


def to_line(record: Record) -> str:
    """Write one record, with the line's end."""
    content = dataclasses.asdict(record)
    content["class"] = content.pop("class_name")
    content = {key: content[key] for key in _KEYS}
    content[_CHECK] = _crc(content)
    return json.dumps(content, ensure_ascii=False) + "\n"


def _crc(content: Mapping[str, object]) -> str:
    """Of a record's content, whatever its layout in the line."""
    return f"{zlib.crc32(json.dumps(content, sort_keys=True).encode()):08x}"


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Write a whole knowledge file, or nothing."""
    write_atomically(path, "".join(map(to_line, records)).encode())


def bundled_records(dataset: str, names: Mapping[str, str]) -> list[Record]:
    """The sentences that come with the project, for some classes.

    A dataset's own records come first. A class that it lacks (a user's folder, say)
    takes as its own what is on file under its id or its name in prompts.

    Args:
        dataset: catalog id, or a folder source's.
        names: class ids, with their names in prompts.
    """
    records = _bundled(BUNDLED)
    found = []
    for name, words in names.items():
        own = [r for r in records if (r.dataset, r.class_name) == (dataset, name)]
        called = {canonical(name), canonical(words)}
        found += own or [
            dataclasses.replace(record, class_name=name)
            for record in records
            if canonical(record.class_name) in called
        ]
    return found


def write_digests(folder: Path) -> None:
    """Write down what the files of a bundle are; whoever edits one does it again."""
    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob("*.jsonl"))
    }
    write_atomically(folder / DIGESTS, f"{json.dumps(found, indent=2)}\n".encode())


@functools.cache
def _bundled(folder: Path) -> tuple[Record, ...]:
    """All sentences of the project, which are the ones that it was published with.

    Raises:
        InputError: a file is missing or another.
    """
    try:
        digests = json.loads((folder / DIGESTS).read_bytes())
        for name, digest in digests.items():
            if hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest:
                raise ValueError(f"{name} is not what was published")
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(
            f"the bundled knowledge {folder} is damaged ({error}); install the package "
            "again, or give sentences of your own with --config.knowledge.path=FILE.jsonl"
        ) from None
    return tuple(r for name in sorted(digests) for r in read_records(folder / name))
