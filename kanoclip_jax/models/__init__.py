"""The methods by name, and how to build one from its config."""

import dataclasses
import difflib
from collections.abc import Mapping

from kanoclip_jax.backbones import Clip
from kanoclip_jax.errors import InputError
from kanoclip_jax.models.base import Method
from kanoclip_jax.models.kanoclip import Kanoclip
from kanoclip_jax.models.median import Median
from kanoclip_jax.models.probe import Probe

METHODS: dict[str, type] = {"kanoclip": Kanoclip, "median": Median, "probe": Probe}


def build_method(name: str, clip: Clip, settings: Mapping[str, object]) -> Method:
    """Build a method; its constructor's keywords are the config's keys.

    Raises:
        InputError: an unknown method or setting, naming the nearest valid one.
    """
    allowed = settings_of(name)
    for key in settings:
        if key not in allowed:
            raise InputError(f"model.{key} is unknown; {_nearest(key, allowed)}")
    return METHODS[name](clip=clip, **settings)


def settings_of(name: str) -> frozenset[str]:
    """The keys of a method's `model` section.

    Raises:
        InputError: an unknown method, naming the nearest valid one.
    """
    if name not in METHODS:
        raise InputError(f"method {name!r} is unknown; {_nearest(name, METHODS)}")
    fields = dataclasses.fields(METHODS[name])
    return frozenset(field.name for field in fields) - {"clip"}


def _nearest(name: str, allowed: object) -> str:
    close = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.4)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}allowed: {', '.join(sorted(allowed))}"
