"""The knowledge base on disk: one JSON record a line, with where each sentence is from."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kanoclip_jax.errors import InputError
from kanoclip_jax.files import write_atomically

BUNDLED = Path(__file__).parent / "data"


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


def read_records(path: Path) -> list[Record]:
    """Read a knowledge file.

    Raises:
        InputError: a line that is no such record, naming file and line.
    """
    try:
        # Not splitlines: sentences may hold other line ends than the file's own.
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise InputError(
            f"knowledge file {path} cannot be read ({error.strerror}); "
            "--config.knowledge.path names a .jsonl file"
        ) from None
    records = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            records.append(from_line(line))
        except ValueError as error:
            raise InputError(
                f"{path}:{number} is no knowledge record ({error}); each line is a "
                f"JSON object with {', '.join(sorted(_KEYS))}"
            ) from None
    return records


def from_line(line: bytes) -> Record:
    """Read one record.

    Raises:
        ValueError: it is none.
    """
    content = json.loads(line.decode("utf-8"))
    try:
        extra = set(content) - set(_KEYS)
        if extra:
            raise ValueError(f"unknown key {min(extra)!r}")
        return Record(class_name=content.pop("class"), **content)
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(str(error)) from None


def to_line(record: Record) -> str:
    """Write one record, with the line's end."""
    content = dataclasses.asdict(record)
    content["class"] = content.pop("class_name")
    return json.dumps({key: content[key] for key in _KEYS}, ensure_ascii=False) + "\n"


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
    records = [
        record
        for path in sorted(BUNDLED.glob("*.jsonl"))
        for record in read_records(path)
    ]
    found = []
    for name, words in names.items():
        own = [r for r in records if (r.dataset, r.class_name) == (dataset, name)]
        called = {_plain(name), _plain(words)}
        found += own or [
            dataclasses.replace(record, class_name=name)
            for record in records
            if _plain(record.class_name) in called
        ]
    return found


def _plain(name: str) -> str:
    return name.replace("_", " ").casefold()
