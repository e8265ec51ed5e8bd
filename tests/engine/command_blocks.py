"""The blocks of commands and code of README and docs, and what stands about them there."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", *(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")))
# Above a block that is not run: why.
_REASON = r"(?:<!-- not run: (?P<reason>[^>]+?) -->\n+)?"
_BLOCK = re.compile(
    _REASON + r"```(?P<kind>bash|python)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE
)
# How a command of ours begins.
_OURS = (["python", "launch.py"], ["kanoclip"], [".venv/bin/python", "launch.py"])


@dataclass(frozen=True)
class Block:
    """One block.

    Attributes:
        page: file that it stands in.
        line: of its fence.
        kind: `bash` or `python`.
        code: its text.
        reason: why it is not run; empty where it is.
    """

    page: str
    line: int
    kind: str
    code: str
    reason: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks() -> Iterator[Block]:
    """Those of all pages."""
    for page in sorted(PAGES):
        text = (ROOT / page).read_text(encoding="utf-8")
        for found in _BLOCK.finditer(text):
            line = text.count("\n", 0, found.start("kind")) + 1
            yield Block(page, line, found["kind"], found["code"], found["reason"] or "")


def commands(code: str) -> Iterator[list[str]]:
    """The commands of a shell's block, split into words; comments are left out."""
    for line in code.replace("\\\n", " ").splitlines():
        words: list[str] = []
        for word in shlex.split(line, comments=True):
            if word in ("&&", "||", ";"):
                yield words
                words = []
            else:
                words.append(word)
        if words:
            yield words


def arguments(command: list[str]) -> list[str] | None:
    """What is given to the package's own command; None of any other."""
    for begin in _OURS:
        if command[: len(begin)] == begin:
            return command[len(begin) :]
    return None
