"""The knowledge base on disk: one JSON record a line, with where each sentence is from."""

import dataclasses
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kanoclip_jax.errors import InputError

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


_KEYS = {field.name for field in dataclasses.fields(Record)} - {"class_name"} | {
    "class"
}


def read_records(path: Path) -> list[Record]:
    """Read a knowledge file.

    Raises:
        InputError: a line that is no such record, naming file and line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
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
            content = json.loads(line)
            extra = set(content) - _KEYS
            if extra:
                raise ValueError(f"unknown key {min(extra)!r}")
            records.append(Record(class_name=content.pop("class"), **content))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(
                f"{path}:{number} is no knowledge record ({error}); each line is a "
                f"JSON object with {', '.join(sorted(_KEYS))}"
            ) from None
    return records


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Write a whole knowledge file, or nothing."""
    lines = []
    for record in records:
        content = dataclasses.asdict(record)
        content["class"] = content.pop("class_name")
        lines.append(json.dumps(content, ensure_ascii=False))
    write_atomically(path, "".join(f"{line}\n" for line in lines).encode())


def write_atomically(path: Path, data: bytes) -> None:
    """Write beside the final name, then rename: a reader never sees a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


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
