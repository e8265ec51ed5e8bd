"""What scores depend on, as files keep it: whether two such records are the same."""

from collections.abc import Mapping
from typing import Any

from data_pipelines.pictures.reading import DEFAULT_READING

# What was so before there were settings for it.
_FORMER = {**DEFAULT_READING.identity(), "predict.tiles": "never"}


def misfits(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The keys of an identity, or of settings that hold one, that differ in another.

    Keys that only the new one has do not count, but for those that had one meaning
    before they were kept.
    """
    known = {key: value for key, value in _FORMER.items() if key in {*old, *new}}
    return [
        key
        for key, value in (known | dict(old)).items()
        if (known | dict(new)).get(key) != value
    ]
