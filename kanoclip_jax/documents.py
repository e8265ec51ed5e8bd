"""JSON documents of the package's own kinds; see `data_pipelines.documents`."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from data_pipelines import documents
from data_pipelines.documents import MEGABYTE, Choice, Row, Span
from data_pipelines.errors import DataError
from kanoclip_jax.errors import InputError

__all__ = ["MEGABYTE", "Choice", "Row", "Span", "check", "parse", "read", "read_bytes"]
_P = ParamSpec("_P")
_T = TypeVar("_T")


def _raising_ours(function: Callable[_P, _T]) -> Callable[_P, _T]:
    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return function(*args, **kwargs)
        except DataError as error:
            raise InputError(error) from None

    return call


check = _raising_ours(documents.check)
parse = _raising_ours(documents.parse)
read = _raising_ours(documents.read)
read_bytes = _raising_ours(documents.read_bytes)
