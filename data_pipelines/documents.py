"""JSON documents that others may have written: size, depth and shape before any use.

A shape is plain Python. A type stands for its values (`float` for any finite number,
`object` for anything), a dict for an object with these keys (`"key?"` may be absent,
`...` stands for all others), a list of one shape for any number of them, a tuple for
alternatives, None for null; `Row`, `Span` and `Choice` are below.
"""

import json
import math
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

from data_pipelines.errors import DataError

Shape: TypeAlias = Any
MEGABYTE = 2**20
# Larger than any document that is not a list of a dataset's pictures.
_MOST_BYTES = 64 * MEGABYTE
# Ours have 8 levels, a checkpoint's settings some more.
_DEEPEST = 64
_LONGEST_SHOWN = 60
# Halves of pairs have no meaning alone, but for those that stand for a name's bytes.
_HALF = re.compile("[\ud800-\udc7f\udd00-\udfff]")
_ESCAPED_HALF = re.compile(r"\\u[dD][89a-fA-F]")
_NAMES = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "an object",
    list: "a list",
    object: "anything",
    None: "null",
}


class Row(tuple[Shape, ...]):
    """The shape of a list of a fixed length, each place with its own: `Row((str, int))`."""

    __slots__ = ()


class Span:
    """The shape of a finite number in a range, ends included.

    Args:
      low: The least.
      high: The greatest.
      whole: Whether only whole numbers are meant.
    """

    def __init__(self, low: float, high: float = math.inf, *, whole: bool = False):
        self.low, self.high, self.whole = low, high, whole

    def __str__(self) -> str:
        kind = _NAMES[int if self.whole else float]
        end = f" to {self.high:g}" if self.high < math.inf else ""
        return f"{kind} from {self.low:g}{end}"


class Choice(tuple[Any, ...]):
    """The shape of one of a few values: `Choice(("gelu", "quick_gelu"))`."""

    __slots__ = ()


def read(
    path: Path,
    shape: Shape,
    remedy: str,
    *,
    most: int = _MOST_BYTES,
    deepest: int = _DEEPEST,
    opened: Callable[[dict[str, Any]], Any] | None = None,
) -> Any:
    """Reads a JSON file of a known shape.

    Args:
      path: The file.
      shape: What it must hold; see the module.
      remedy: What the message tells the user to do, as a clause of its own.
      most: Bytes that it may have at most.
      deepest: Levels of lists and objects in each other that it may have.
      opened: Takes a seal off an object before its shape is looked at, and raises
        ValueError where it was broken.

    Returns:
      The content, which has the shape.

    Raises:
      DataError: the file cannot be read, is larger or deeper, is no JSON, names a key
        of an object twice, holds NaN or numbers beyond 64 bits, or has another shape.
    """
    data = read_bytes(path, remedy, most)
    return parse(data, str(path), shape, remedy, deepest, opened)


def read_bytes(path: Path, remedy: str, most: int = _MOST_BYTES) -> bytes:
    """Reads a file of a limited size; a pipe or a device is none.

    Raises:
      DataError: it cannot be read, or is larger.
    """
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise DataError(f"{path} is no regular file; {remedy}")
            if found.st_size <= most:
                data = file.read(most + 1)
                if len(data) <= most:
                    return data
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"{path} cannot be read ({reason}); {remedy}") from None
    except ValueError as error:
        # A name that no file can have.
        raise DataError(f"{path} cannot be read ({error}); {remedy}") from None
    except MemoryError:
        raise DataError(f"{path} does not fit the memory; {remedy}") from None
    size = max(found.st_size, most + 1) / MEGABYTE
    raise DataError(
        f"{path} has {size:.0f} MB; allowed are {most / MEGABYTE:.0f}: {remedy}"
    )


def parse(
    data: bytes,
    place: str,
    shape: Shape,
    remedy: str,
    deepest: int = _DEEPEST,
    opened: Callable[[dict[str, Any]], Any] | None = None,
) -> Any:
    """Reads a JSON document of a known shape.

    Args:
      data: The document, in any UTF.
      place: Where it is from, for the message.
      shape: What it must hold; see the module.
      remedy: What the message tells the user to do.
      deepest: Levels of lists and objects in each other that it may have.
      opened: As of `read`.

    Raises:
      DataError: as `read` does.
    """
    try:
        text = data.decode(json.detect_encoding(data))
        content = _DECODER.decode(text)
        if data.count(b"[") + data.count(b"{") > deepest and _depth(content) > deepest:
            raise RecursionError
        if _ESCAPED_HALF.search(text) and any(map(_HALF.search, _texts(content))):
            raise ValueError("half of a surrogate pair, which no text has")
    except RecursionError:
        raise DataError(
            f"{place} nests lists and objects in each other; allowed are {deepest} "
            f"levels: {remedy}"
        ) from None
    except MemoryError:
        raise DataError(f"{place} does not fit the memory; {remedy}") from None
    except ValueError as error:
        raise DataError(f"{place} cannot be read as JSON ({error}); {remedy}") from None
    if opened is not None and isinstance(content, dict):
        try:
            content = opened(content)
        except ValueError as error:
            raise DataError(f"{place} is damaged ({error}); {remedy}") from None
    check(content, shape, place, remedy)
    return content


def check(content: Any, shape: Shape, place: str, remedy: str) -> None:
    """Compares what was read with a shape.

    Args:
      content: Of JSON's types.
      shape: What it must be; see the module.
      place: Where it is from, for the message.
      remedy: What the message tells the user to do.

    Raises:
      DataError: names the key, what it holds and what is allowed.
    """
    misfit = _misfit(content, shape, "")
    if misfit:
        key, found, allowed = misfit
        lead = f"{place} lacks {key}" if found is _ABSENT else f"{place} has "
        if found is not _ABSENT:
            lead += f"{key} = {_shown(found)}" if key else _shown(found)
        raise DataError(f"{lead}; allowed is {allowed}: {remedy}")


_ABSENT = object()
_Misfit: TypeAlias = tuple[str, Any, str]


def _misfit(value: Any, shape: Shape, key: str) -> _Misfit | None:
    """The first place that is not as its shape, what is there, and what may be."""
    if isinstance(shape, dict):
        return _misfit_of_object(value, shape, key)
    if isinstance(shape, Row):
        if not isinstance(value, list) or len(value) != len(shape):
            return key, value, describe(shape)
        pairs = enumerate(zip(value, shape, strict=True))
        found = (_misfit(item, own, f"{key}[{i}]") for i, (item, own) in pairs)
        return next(filter(None, found), None)
    if isinstance(shape, list):
        if not isinstance(value, list):
            return key, value, describe(shape)
        found = (_misfit(item, shape[0], f"{key}[{i}]") for i, item in enumerate(value))
        return next(filter(None, found), None)
    if isinstance(shape, tuple) and not isinstance(shape, Choice):
        return _misfit_of_alternatives(value, shape, key)
    return None if _fits(value, shape) else (key, value, describe(shape))


def _misfit_of_object(value: Any, shape: dict, key: str) -> _Misfit | None:
    if not isinstance(value, dict):
        return key, value, describe(shape)
    named = {name.removesuffix("?") for name in shape if name is not ...}
    for name, own in shape.items():
        if name is ...:
            continue
        bare = name.removesuffix("?")
        inner = f"{key}.{bare}" if key else bare
        if bare not in value:
            if bare == name:
                return inner, _ABSENT, describe(own)
            continue
        found = _misfit(value[bare], own, inner)
        if found:
            return found
    if ... in shape:
        for name in value.keys() - named:
            found = _misfit(value[name], shape[...], f"{key}.{name}" if key else name)
            if found:
                return found
    return None


def _misfit_of_alternatives(value: Any, shape: tuple, key: str) -> _Misfit | None:
    found = [_misfit(value, own, key) for own in shape]
    if None in found:
        return None
    # Of an object or a list that is one in kind, say what is wrong inside.
    inner = [misfit for misfit in found if misfit[0] != key]
    return inner[0] if inner else (key, value, describe(shape))


def _fits(value: Any, shape: Shape) -> bool:
    if shape is object:
        return True
    if isinstance(shape, Choice):
        return any(type(value) is type(one) and value == one for one in shape)
    if shape is None:
        return value is None
    # A bool is an int to Python, and no number to a reader.
    if isinstance(value, bool) or shape is bool:
        return isinstance(value, bool) and shape is bool
    if isinstance(shape, Span):
        kinds = int if shape.whole else (int, float)
        return isinstance(value, kinds) and shape.low <= value <= shape.high
    if shape is int:
        return isinstance(value, int) and -(2**63) <= value < 2**64
    return isinstance(value, (int, float) if shape is float else shape)


def describe(shape: Shape) -> str:
    """What a shape allows, in a few words."""
    if isinstance(shape, Row):
        own = set(map(describe, shape))
        return f"a list of {len(shape)}" + (
            f", each {own.pop()}" if len(own) == 1 else ""
        )
    if isinstance(shape, Choice):
        return " or ".join(json.dumps(one) for one in shape)
    if isinstance(shape, tuple):
        return " or ".join(map(describe, shape))
    if isinstance(shape, dict | list):
        return _NAMES[type(shape)]
    return _NAMES.get(shape, str(shape)) if not isinstance(shape, Span) else str(shape)


def _shown(value: Any) -> str:
    """A value as JSON has it, as far as a line has room; of large ones, what they are."""
    if isinstance(value, dict | list) and len(value) > 3:
        return f"{_NAMES[type(value)]} of {len(value)}"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def _depth(content: Any) -> int:
    """Levels of lists and objects, without recursion."""
    level, depth = [content], 0
    while level := [node for node in level if isinstance(node, dict | list)]:
        depth += 1
        level = [
            inner
            for node in level
            for inner in (node.values() if isinstance(node, dict) else node)
        ]
    return depth


def _texts(content: Any) -> Iterator[str]:
    todo = [content]
    while todo:
        node = todo.pop()
        if isinstance(node, str):
            yield node
        elif isinstance(node, dict):
            todo += [*node.keys(), *node.values()]
        elif isinstance(node, list):
            todo += node


def _without_waiting(path: str, flags: int) -> int:
    """A pipe that nobody writes to would be waited for."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"it has the key {twice[:_LONGEST_SHOWN]!r} twice")
    return found


def _whole(text: str) -> int:
    # Some tokenizers say 10^30 for no limit; what is used must be of 64 bits.
    if len(text) > 40:
        raise ValueError(f"the number {text[:20]}… has {len(text)} digits")
    return int(text)


def _fraction(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"the number {text[:20]} is beyond 64 bits")
    return number


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique,
    parse_int=_whole,
    parse_float=_fraction,
    parse_constant=_no_number,
)
