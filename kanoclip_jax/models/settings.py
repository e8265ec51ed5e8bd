"""A method's settings: the fields of its dataclass, read by their annotations."""

import dataclasses
import difflib
import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints

from kanoclip_jax.errors import InputError
from kanoclip_jax.models.base import Method


def annotations(method: type[Method]) -> dict[str, Any]:
    """The type of each setting, in the order of the class."""
    hints = get_type_hints(method)
    names = [field.name for field in dataclasses.fields(method)]
    return {name: hints[name] for name in names if name not in method.backbones}


def parse(method: type[Method], section: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration's `model` section as the constructor takes it.

    Lists are tuples, or strings with commas as the command line has them.

    Raises:
        InputError: an unknown key, naming the nearest, or a value of another type.
    """
    types = annotations(method)
    for key in section:
        if key not in types:
            raise InputError(f"model.{key} is unknown; {nearest(key, types)}")
    return {key: _read(key, value, types[key]) for key, value in section.items()}


def check_choices(method: Method) -> None:
    """Refuse what is none of a setting's few values.

    Raises:
        InputError: names them.
    """
    for name, kind in annotations(type(method)).items():
        _check_choice(name, getattr(method, name), kind)


def check_positive(method: Method, *names: str) -> None:
    """Refuse zero and less, and what is no finite number.

    Raises:
        InputError: names the setting.
    """
    for name in names:
        if not 0 < getattr(method, name) < math.inf:
            raise InputError(
                f"model.{name} is {getattr(method, name)}; it must be positive, as in "
                f"--config.model.{name}=8"
            )


def check_range(
    method: Method, name: str, least: float, below: float = math.inf
) -> None:
    """Refuse what lies outside of [least, below).

    Raises:
        InputError: names the setting and the range.
    """
    value = getattr(method, name)
    if not least <= value < below:
        end = "" if below == math.inf else f" and below {below:g}"
        raise InputError(
            f"model.{name} is {value}; a number from {least:g} on{end} is expected, as "
            f"in --config.model.{name}={least:g}"
        )


def check_divides(method: Method, name: str, *, whole: int, called: str) -> None:
    """Refuse parts that do not come out even.

    Args:
        method: whose setting it is.
        name: of the setting.
        whole: what it must divide,
        called: in words.

    Raises:
        InputError: names both.
    """
    if whole % getattr(method, name):
        raise InputError(
            f"model.{name} {getattr(method, name)} does not divide {called}"
        )


def of_type(name: str, value: Any, kind: type) -> Any:
    """A value of a type; an int serves as a float.

    Raises:
        InputError: another type, naming the setting.
    """
    wanted = (int, float) if kind is float else kind
    # A bool is an int to Python, and no number to a user.
    if not isinstance(value, wanted) or (isinstance(value, bool) and kind is not bool):
        raise InputError(
            f"{name} is {value!r}; a value of type {kind.__name__} is expected"
        )
    return kind(value)


def nearest(name: str, allowed: Iterable[str]) -> str:
    """What a wrong name may have meant, for an error."""
    allowed = list(allowed)
    close = difflib.get_close_matches(name, allowed, n=1, cutoff=0.4)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}allowed: {', '.join(sorted(allowed))}"


def _read(key: str, value: Any, kind: Any) -> Any:
    if get_origin(kind) is tuple:
        return _read_list(key, value, get_args(kind)[0])
    if get_origin(kind) is Literal:
        _check_choice(key, value, kind)
        return value
    return of_type(f"model.{key}", value, kind)


def _read_list(key: str, value: Any, kind: type) -> tuple[Any, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    # One number, as a row of the command line has it.
    parts = (parts,) if isinstance(parts, int | float) else parts
    try:
        texts = [p.strip() if isinstance(p, str) else p for p in parts]
        return tuple(kind(part) for part in texts if part != "")
    except (TypeError, ValueError):
        wanted = "numbers, as in 6,12,18,24," if kind is int else "a list with commas"
        raise InputError(
            f"model.{key} is {value!r}; {wanted} is expected: --config.model.{key}=…"
        ) from None


def _check_choice(key: str, value: Any, kind: Any) -> None:
    if get_origin(kind) is Literal and value not in get_args(kind):
        raise InputError(
            f"model.{key} is {value!r}; allowed: {', '.join(map(str, get_args(kind)))}"
        )
