"""What is said of pictures' values: once a run, with how many it holds for."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
from tqdm import tqdm

from data_pipelines.sources import Source
from data_pipelines.tally import Tally

T = TypeVar("T", bound=Mapping[str, Any])


class Remarks(Tally):
    """A tally of the pictures of a stream."""

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
        if said := self.said():
            tqdm.write(said)
