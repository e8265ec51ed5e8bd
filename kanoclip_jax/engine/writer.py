"""The log of a run: metrics.jsonl for scripts, TensorBoard events for eyes."""

import contextlib
import functools
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from kanoclip_jax.engine.bars import epoch_of, progress
from kanoclip_jax.engine.sharding import is_first
from kanoclip_jax.files import write_atomically
from kanoclip_jax.models.base import Terms


class MetricWriter:
    """Appends numbers to both logs.

    Args:
        workdir: the run's folder.
        step: lines of later steps, which a killed run may have written after its last
            checkpoint, are dropped.
    """

    def __init__(self, workdir: Path, step: int) -> None:
        self._path = workdir / "metrics.jsonl"
        self._keep_until(step)
        self._events = EventFileWriter(str(workdir))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Append one step's numbers."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        summary = Summary(
            value=[
                Summary.Value(tag=name, simple_value=value)
                for name, value in values.items()
            ]
        )
        self._events.add_event(Event(wall_time=time.time(), step=step, summary=summary))

    def close(self) -> None:
        """Flush the events."""
        self._events.close()

    def _keep_until(self, step: int) -> None:
        if not self._path.is_file():
            return
        kept = []
        for line in self._path.read_bytes().splitlines():
            try:
                content = json.loads(line)
                if content["step"] <= step:
                    kept.append(line + b"\n")
            except (ValueError, LookupError, TypeError, RecursionError):
                # A line that was cut off by a kill, or that nobody here wrote.
                continue
        write_atomically(self._path, b"".join(kept))


class Log:
    """A bar on the terminal, and numbers on disk that the first process writes.

    Args:
        workdir: the run's folder.
        first: the steps taken before,
        steps: of so many,
        batch_size: of so many images,
        epochs: which are so many passes over the dataset.
    """

    def __init__(
        self, workdir: Path, first: int, steps: int, batch_size: int, epochs: int
    ) -> None:
        self._writer = MetricWriter(workdir, first) if is_first() else None
        self._batch_size = batch_size
        self._where = functools.partial(epoch_of, steps=steps, epochs=epochs)
        self._bar = progress(
            self._where(first),
            steps * batch_size,
            done=first * batch_size,
            compiles=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close both, as far as they can be: what failed is said by whoever failed."""
        self._bar.close()
        if self._writer is not None:
            with contextlib.suppress(OSError):
                self._writer.close()

    def count(self, step: int) -> None:
        """A step is done."""
        self._bar.set_description_str(self._where(step), refresh=False)
        self._bar.update(step * self._batch_size - self._bar.n)

    def write(self, step: int, terms: Terms) -> None:
        """The terms of the objective, at a step; of these, the bar has room for one."""
        values = {name: float(value) for name, value in terms.items()}
        if self._writer is not None:
            self._writer.write(step, values)
        name = "loss" if "loss" in values else next(iter(values))
        self._bar.set_postfix_str(f"{name} {values[name]:.3f}")
