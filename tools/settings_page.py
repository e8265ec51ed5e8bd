"""The tables of all settings, from the assignments and comments of `configs`."""

import ast
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path

from kanoclip_jax.command.described import Setting, settings
from kanoclip_jax.command.options import OPTIONS

_HEAD = ("", "| `--config.` | default | meaning |", "|---|---|---|")


def render(methods: Path) -> str:
    """All settings as Markdown, a heading and a table for each section.

    Args:
        methods: configs/methods.py.
    """
    lines = ["## Of a run", *_HEAD]
    section = ""
    meaning = ""
    known = {setting.key: setting for setting in settings()}
    for setting in known.values():
        if setting.key.endswith("."):
            meaning = setting.meaning
            continue
        own = setting.key.rpartition(".")[0]
        if own != section:
            section = own
            lines += ["", f"## `{section}`", "", meaning, *_HEAD]
            meaning = ""
        lines.append(_row(setting))
    for name, inherits, said, own_settings in _methods(methods.read_text("utf-8")):
        lines += ["", f"## `model` of `{name}`", "", said]
        lines += ["", f"Those of `{inherits}`, and:"] if inherits else []
        # What several methods have means the same in each.
        lines += [
            *_HEAD,
            *(
                _row(one._replace(meaning=one.meaning or known[one.key].meaning))
                if one.key in known
                else _row(one)
                for one in own_settings
            ),
        ]
    return "\n".join(lines) + "\n"


def _row(setting: Setting) -> str:
    default = setting.default
    if isinstance(default, str | int | float | tuple):
        words = f"`{default}`" if default != "" else "empty"
    else:
        words = "none" if default is None else "see the file"
    short = dict.fromkeys(o.word for o in OPTIONS if o.key == setting.key)
    meaning = " ".join([setting.meaning, *(f"(`--{word}`)" for word in short)])
    meaning = meaning.replace("|", "\\|").strip()
    return f"| `{setting.key}` | {words} | {meaning} |"


def _methods(source: str) -> Iterator[tuple[str, str, str, list[Setting]]]:
    """Of each section: its method, whose settings it has too, what it is, its own."""
    lines = source.splitlines()
    comments = {
        token.start[0]: token.string.removeprefix("#").strip()
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    for node in ast.parse(source).body:
        if not isinstance(node, ast.Assign):
            continue
        name, value = ast.unparse(node.targets[0]), node.value
        inherits = ""
        if isinstance(value, ast.BinOp):
            inherits, value = ast.unparse(value.left).lower(), value.right
        if name.startswith("_") or name == "ROWS" or not isinstance(value, ast.Dict):
            continue
        above = lines[node.lineno - 2].removeprefix("#").strip()
        own = [
            Setting(
                f"model.{ast.literal_eval(key)}",
                ast.literal_eval(item),
                comments.get(item.lineno, ""),
            )
            for key, item in zip(value.keys, value.values, strict=True)
            if key is not None
        ]
        yield name.lower(), inherits, above if above != "}" else "", own
