"""A grain iterator over batches that resumes with any number of worker processes."""

import os
import sys
import weakref
from typing import Any, TypeAlias

import grain
import numpy as np
from absl import flags

from data_pipelines.errors import DataError

Batch: TypeAlias = dict[str, np.ndarray | list[np.ndarray]]

# Whole batches are read ahead: a few suffice, and each holds megabytes.
_BATCHES_AHEAD = 2
_MOST_THREADS = 4


class BatchStream(grain.DatasetIterator):
    """An iterator over batches whose state is the number of batches taken.

    Grain's own states differ with the number of workers; this one does not. Nothing
    is read, and no process started, before the first batch is asked for.
    """

    def __init__(self, batches: grain.MapDataset, workers: int):
        super().__init__()
        self._batches = batches
        self._workers = workers
        self._taken = 0
        self._inner: grain.DatasetIterator | None = None
        if workers < 0:
            raise DataError(f"workers is {workers}; allowed are 0 and above")

    def __len__(self) -> int:
        return len(self._batches)

    def __next__(self) -> Batch:
        self._assert_not_closed()
        if self._taken >= len(self._batches):
            raise StopIteration
        self.start_prefetch()
        try:
            batch = next(self._inner)
        except (OSError, RuntimeError) as error:
            self._stop()
            raise DataError(
                f"reading stopped: {' '.join(str(error).split())}"
            ) from error
        except DataError:
            self._stop()
            raise
        self._taken += 1
        return batch

    def start_prefetch(self) -> None:
        """Starts reading ahead; idempotent."""
        if self._inner is None and self._taken < len(self._batches):
            self._inner = self._open(self._batches[self._taken :])
            # Left to the interpreter's shutdown, grain's clean-up fails noisily.
            self._close_inner = weakref.finalize(self, self._inner.close)
            self._inner.start_prefetch()

    def get_state(self) -> dict[str, Any]:
        """Returns the number of batches taken."""
        return {"next_index": self._taken}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continues after the batches taken when `state` was got."""
        taken = int(state["next_index"])
        if not 0 <= taken <= len(self._batches):
            raise DataError(
                f"the saved data position {taken} lies outside this run's "
                f"{len(self._batches)} batches; resume with the data, batch size and "
                "epochs it was saved with"
            )
        self._stop()
        self._taken = taken

    def close(self) -> None:
        """Stops reading ahead and ends the worker processes."""
        self._stop()
        super().close()

    def _open(self, batches: grain.MapDataset) -> grain.DatasetIterator:
        threads = 1 if self._workers else min(_MOST_THREADS, os.cpu_count() or 1)
        ahead = threads * _BATCHES_AHEAD
        reading = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead)
        stream = batches.to_iter_dataset(reading)
        if self._workers:
            # Grain reads absl flags when it starts processes; as a library nobody
            # has parsed them.
            if not flags.FLAGS.is_parsed():
                flags.FLAGS.mark_as_parsed()
            # Batches travel through pipes: a container's /dev/shm is often 64 MB, less
            # than a few of them, and overrunning it kills the process.
            stream = grain.experimental.WithOptionsIterDataset(
                stream, grain.experimental.DatasetOptions(min_shm_size=sys.maxsize)
            ).mp_prefetch(
                grain.MultiprocessingOptions(
                    num_workers=min(self._workers, len(batches)),
                    per_worker_buffer_size=_BATCHES_AHEAD,
                )
            )
        return iter(stream)

    def _stop(self) -> None:
        if self._inner is not None:
            self._close_inner()
            self._inner = None
