"""Names and texts that others wrote: how they are compared, and how they are shown."""

import re
import unicodedata
from collections.abc import Sequence

# Joiners within words: scripts need them, and they turn or hide nothing.
_WITHIN_WORDS = "\u200c\u200d"
# What spreadsheets take for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_MARKDOWN = re.compile(r"([\\`|<>*\[\]])")


def readable(class_name: str) -> str:
    """A class's name as prompts have it."""
    return class_name.replace("_", " ")


def canonical(class_name: str) -> str:
    """What class names have in common that CLIP's tokenizer reads alike.

    It composes letters (NFC), joins blanks and lowers each letter by itself, so that
    `Metal_Plate` and `metal plate` make the same prompts and the same scores.
    """
    composed = unicodedata.normalize("NFC", readable(class_name))
    return " ".join("".join(map(str.lower, composed)).split())


def printable(text: object) -> str:
    """A text on one line of any terminal: what cannot be shown is escaped.

    That is control characters (a terminal's own commands among them), what turns the
    direction of writing, and bytes of file names that are no UTF-8.
    """
    whole = str(text)
    if whole.isprintable():
        return whole
    return "".join(
        char if _is_shown(char) else char.encode("unicode_escape").decode()
        for char in whole
    )


def _is_shown(char: str) -> bool:
    return (
        char.isprintable()
        or char in _WITHIN_WORDS
        or unicodedata.category(char) == "Zs"
    )


def name_some(names: Sequence[str], most: int = 3) -> str:
    """The first of some names in words, as in `a, b, c and 4 more`, on one line."""
    shown = ", ".join(map(printable, names[:most]))
    more = len(names) - most
    return f"{shown} and {more} more" if more > 0 else shown


def table_cell(value: object) -> object:
    """A cell of a csv file that no spreadsheet takes for a formula; texts alone change.

    They are `printable`, behind an apostrophe where they begin as formulas do.
    """
    if not isinstance(value, str):
        return value
    quote = "'" if value.startswith(_FORMULA) else ""
    return quote + printable(value)


def markdown(text: object) -> str:
    """A text as Markdown shows it: one line, without marks of its own."""
    return _MARKDOWN.sub(r"\\\1", printable(text))


def markdown_code(text: object) -> str:
    """A text as Markdown's inline code, whatever backticks it has."""
    shown = printable(text)
    longest = max(map(len, re.findall("`+", shown)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if longest else ""
    return f"{fence}{pad}{shown}{pad}{fence}"
