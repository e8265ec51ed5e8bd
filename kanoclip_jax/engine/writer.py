"""The log of a run: metrics.jsonl for scripts, TensorBoard events for eyes."""

import json
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from kanoclip_jax.files import write_atomically


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
