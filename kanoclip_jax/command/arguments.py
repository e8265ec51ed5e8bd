"""A command line taken apart: words, and flags with their values."""

import difflib
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple


class Flag(NamedTuple):
    """One flag.

    Attributes:
        name: without its dashes.
        value: what it was given; None for a switch, and where nothing was.
    """

    name: str
    value: str | None = None

    def __str__(self) -> str:
        """As absl reads it."""
        return f"--{self.name}" if self.value is None else f"--{self.name}={self.value}"


class Arguments(NamedTuple):
    """What stands on a command line, after the program's name."""

    words: tuple[str, ...]
    flags: tuple[Flag, ...]


def take_apart(given: Sequence[str], is_switch: Callable[[str], bool]) -> Arguments:
    """Words and flags, as absl tells them apart: `--name=value`, `--name value`.

    Args:
        given: the arguments; what comes after `--` is words.
        is_switch: whether a flag of that name takes no value from the next argument.
    """
    words: list[str] = []
    flags: list[Flag] = []
    rest = iter(given)
    for argument in rest:
        if argument == "--":
            words += rest
        elif not is_flag(argument):
            words.append(argument)
        else:
            name, equals, value = (
                argument.removeprefix("-").removeprefix("-").partition("=")
            )
            if equals:
                flags.append(Flag(name, value))
            else:
                flags.append(Flag(name, None if is_switch(name) else next(rest, None)))
    return Arguments(tuple(words), tuple(flags))


def is_flag(argument: str) -> bool:
    """Whether an argument is one, and no word such as `-` or `-1`."""
    return argument.startswith("-") and argument.lstrip("-")[:1].isalpha()


def nearest(word: str, known: Iterable[str], shown: str = "{}") -> str:
    """` Did you mean …?` of the name that one is most like, or nothing.

    Args:
        word: that nobody knows.
        known: all that it may be.
        shown: how a name is written, around `{}`.
    """
    found = difflib.get_close_matches(word, list(known), 1, 0.7)
    return f" Did you mean {shown.format(found[0])}?" if found else ""
