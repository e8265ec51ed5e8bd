"""What is said of pictures' values: once a run, with how many it holds for."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
from tqdm import tqdm

from data_pipelines.sources import Source

T = TypeVar("T", bound=Mapping[str, Any])


class Remarks:
    """Counts the pictures that a reader had something to say of.

    Args:
        what: whose pictures they are, for the message.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._seen, self._count, self._first = 0, 0, ""

    def add(self, warning: str, name: str = "") -> None:
        """Count a picture, and what was said of it if anything."""
        self._seen += 1
        if warning:
            self._count += 1
            self._first = self._first or f"{name}: {warning}" if name else warning

    def of(self, batches: Iterable[T], source: Source) -> Iterator[T]:
        """The batches of a stream as they are; what there is to say comes at the end.

        Args:
            batches: of `train_stream` or `eval_stream`.
            source: whose records they are.
        """
        for batch in batches:
            for row in np.flatnonzero(batch["is_real"]) if "warning" in batch else ():
                self.add(
                    str(batch["warning"][row]), source.index[batch["index"][row]].path
                )
            yield batch
        self.say()

    def say(self) -> None:
        """Print the count, where there is one."""
        if self._count:
            tqdm.write(
                f"warning: {self._count} of {self._seen} pictures of {self._what} are "
                f"nearly black or without any contrast: {self._first}"
            )
