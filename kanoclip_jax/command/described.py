"""Every setting with its default and its meaning, as configs/base.py has them."""

import ast
import inspect
import io
import tokenize
from collections.abc import Iterator
from typing import Any, NamedTuple

from kanoclip_jax.command.overrides import keys
from kanoclip_jax.configs import base


class Setting(NamedTuple):
    """One of them, or a section of some.

    Attributes:
        key: of a section it ends in a dot.
        default: of a section, nothing.
        meaning: empty where the one before says it.
    """

    key: str
    default: Any
    meaning: str


def settings() -> Iterator[Setting]:
    """All, in the file's order."""
    config = base.get_config()
    known, meanings = set(keys(config)), _meanings()
    for key, meaning in meanings.items():
        if key in known:
            section, _, name = key.rpartition(".")
            yield Setting(key, (config[section] if section else config)[name], meaning)
        elif meaning:
            yield Setting(f"{key}.", None, meaning)


def _meanings() -> dict[str, str]:
    """What the comments at each assignment to `config` say, by its key."""
    source = inspect.getsource(base)
    comments = {
        token.start[0]: token
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    lines = source.splitlines()
    found = {}
    for node in ast.walk(ast.parse(source)):
        if not (
            isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute)
        ):
            continue
        above = []
        number = node.lineno - 1
        while number in comments and lines[number - 1].lstrip().startswith("#"):
            above.insert(0, comments[number].string)
            number -= 1
        beside = [
            comments[number].string
            for number in range(node.lineno, node.end_lineno + 1)
            if number in comments
        ]
        text = " ".join(comment.removeprefix("#").strip() for comment in above + beside)
        found[ast.unparse(node.targets[0]).removeprefix("config.")] = text
    return found
