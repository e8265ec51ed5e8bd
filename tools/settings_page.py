"""The page of all settings, read from the assignments and comments of `configs`."""

import ast
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# What stands before the settings of a section in configs/base.py.
_SECTION = "ConfigDict()"


class Setting(NamedTuple):
    """One assignment: its dotted key, its default as code, and what is said of it."""

    key: str
    default: str
    meaning: str


def read_settings(source: str) -> list[Setting]:
    """The settings of `configs/base.py`, in its order.

    A section is itself a setting whose default is `ConfigDict()`.

    Args:
        source: the file's text, whose function assigns `config.KEY = DEFAULT`.
    """
    said = _Comments(source)
    return [
        Setting(key, ast.unparse(node.value), said.of(node))
        for node, key in _assignments(ast.parse(source))
    ]


def read_methods(source: str) -> dict[str, list[Setting]]:
    """The sections of `configs/methods.py`, by their constants' names.

    Args:
        source: the file's text; of `CRANE | {…}` the keys in braces count.
    """
    said = _Comments(source)
    found = {}
    for node in ast.parse(source).body:
        if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name):
            continue
        values = node.value.right if isinstance(node.value, ast.BinOp) else node.value
        name = node.targets[0].id
        if not isinstance(values, ast.Dict) or name.startswith("_") or name == "ROWS":
            continue
        above = said.of(node)
        found[name] = [Setting("", ast.unparse(node.value), above)] + [
            Setting(key.value, ast.unparse(value), said.beside(value))
            for key, value in zip(values.keys, values.values, strict=True)
            if isinstance(key, ast.Constant)
        ]
    return found


def render(base: Path, methods: Path) -> str:
    """Both files as Markdown tables, a heading for each section."""
    lines = ["## Of a run", "", *_HEAD]
    for setting in read_settings(base.read_text(encoding="utf-8")):
        if setting.default == _SECTION:
            lines += ["", f"## `{setting.key}`", "", setting.meaning, "", *_HEAD]
        else:
            lines.append(_row(setting))
    for name, (whole, *rest) in read_methods(methods.read_text("utf-8")).items():
        title = name.lower()
        lines += ["", f"## `model` of `{title}`", "", whole.meaning, ""]
        if "|" in whole.default:
            parent = whole.default.partition(" |")[0].lower()
            lines += [f"Those of `{parent}`, and:", ""]
        lines += [*_HEAD, *map(_row, (s._replace(key=f"model.{s.key}") for s in rest))]
    return "\n".join(lines) + "\n"


_HEAD = ["| `--config.` | default | meaning |", "|---|---|---|"]


def _row(setting: Setting) -> str:
    try:
        value = str(ast.literal_eval(setting.default))
        default = f"`{value}`" if value else "empty"
    except ValueError:  # Made by a call.
        default = "see the file"
    meaning = setting.meaning.replace("|", "\\|")
    return f"| `{setting.key}` | {default} | {meaning} |"


def _assignments(tree: ast.Module) -> Iterator[tuple[ast.Assign, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == "get_config":
            for line in node.body:
                if isinstance(line, ast.Assign):
                    target = ast.unparse(line.targets[0])
                    if target.startswith("config."):
                        yield line, target.removeprefix("config.")


class _Comments:
    """The comments of a file: those on a line, and the block that ends above it."""

    def __init__(self, source: str) -> None:
        self._alone: dict[int, str] = {}
        self._trailing: dict[int, str] = {}
        lines = source.splitlines()
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                line, column = token.start
                whole = not lines[line - 1][:column].strip()
                where = self._alone if whole else self._trailing
                where[line] = token.string.lstrip("# ")

    def of(self, node: ast.stmt) -> str:
        """What stands above a statement and behind it."""
        above: list[str] = []
        line = node.lineno - 1
        while line in self._alone:
            above.insert(0, self._alone[line])
            line -= 1
        behind = [
            self._trailing[line]
            for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
            if line in self._trailing and not isinstance(node.value, ast.Dict | ast.BinOp)
        ]
        return " ".join(above + behind)

    def beside(self, value: ast.expr) -> str:
        """What stands behind a value on its line."""
        return self._trailing.get(value.lineno, "")
