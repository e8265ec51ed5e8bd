"""The methods by name, and how to build one from its settings."""

from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from kanoclip_jax.errors import InputError
from kanoclip_jax.models.anomalyclip import AnomalyClip
from kanoclip_jax.models.april_gan import AprilGan
from kanoclip_jax.models.base import Method
from kanoclip_jax.models.clip import ClipAC, PlainClip
from kanoclip_jax.models.kanoclip import Kanoclip
from kanoclip_jax.models.median import Median
from kanoclip_jax.models.mvfa import Mvfa
from kanoclip_jax.models.probe import Probe
from kanoclip_jax.models.settings import annotations, nearest, parse
from kanoclip_jax.models.winclip import WinClip

METHODS: dict[str, type[Method]] = {
    "clip": PlainClip,
    "clip_ac": ClipAC,
    "winclip": WinClip,
    "april_gan": AprilGan,
    "anomalyclip": AnomalyClip,
    "mvfa": Mvfa,
    "kanoclip": Kanoclip,
    "median": Median,
    "probe": Probe,
}


# Under it other packages name their methods: `NAME = "package.module:Class"`.
ENTRY_POINTS = "kanoclip_jax.methods"


def method_class(name: str) -> type[Method]:
    """A method by its name: one of these, or one that another package brings.

    Raises:
        InputError: an unknown one, naming the nearest.
    """
    if name in METHODS:
        return METHODS[name]
    others = {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
    if name not in others:
        raise InputError(
            f"method {name!r} is unknown; {nearest(name, [*METHODS, *others])}"
        )
    return _load(others[name])


def all_methods() -> Iterator[tuple[str, type[Method]]]:
    """Every method with its name, these first.

    Raises:
        InputError: another package's cannot be imported.
    """
    yield from METHODS.items()
    for entry in entry_points(group=ENTRY_POINTS):
        if entry.name not in METHODS:
            yield entry.name, _load(entry)


def _load(entry: EntryPoint) -> type[Method]:
    try:
        return entry.load()
    except (ImportError, AttributeError) as error:
        brought = f" of {entry.dist.name}" if entry.dist else ""
        raise InputError(
            f"method {entry.name!r} is {entry.value}{brought}, which cannot be "
            f"imported ({error}); install that package again, or name another method"
        ) from None


def build_method(name: str, settings: Mapping[str, Any], **backbones: object) -> Method:
    """Build a method; its constructor's keywords are the config's keys.

    Args:
        name: of the method.
        settings: a `model` section.
        **backbones: the frozen ones that it names.

    Raises:
        InputError: an unknown method or setting, naming the nearest valid one.
    """
    method = method_class(name)
    return method(**backbones, **parse(method, settings))


def settings_of(name: str) -> frozenset[str]:
    """The keys of a method's `model` section.

    Raises:
        InputError: an unknown method, naming the nearest valid one.
    """
    return frozenset(annotations(method_class(name)))


def parse_settings(name: str, section: Mapping[str, Any]) -> dict[str, Any]:
    """A method's `model` section, read and checked; see `settings.parse`."""
    return parse(method_class(name), section)
