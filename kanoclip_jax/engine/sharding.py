"""Devices and processes: batches are split over all of them, parameters are copied.

One data axis is enough: the trainable tree is small and the frozen tower fits a device.
The global batch defines a run, whatever the number of devices; every process reads its
own rows of each batch.
"""

import pickle
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from kanoclip_jax.errors import InputError

T = TypeVar("T")
_AXIS = "data"


def join(coordinator_address: str, num_processes: int, process_id: int) -> None:
    """Become one of several processes; before anything else touches a device.

    Args:
        coordinator_address: HOST:PORT of process 0; empty leaves everything to the
            cluster's environment (Slurm, Open MPI, Kubernetes, TPU pods).
        num_processes: how many there are; -1 if the environment says.
        process_id: which this one is; likewise.

    Raises:
        InputError: the others cannot be joined.
    """
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(
            coordinator_address or None,
            None if num_processes < 0 else num_processes,
            None if process_id < 0 else process_id,
        )
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0][:200]
        raise InputError(
            f"the processes could not be joined ({reason}); start each with "
            "--coordinator_address=HOST:PORT --num_processes=N --process_id=I"
        ) from None


def is_first() -> bool:
    """Whether this process writes what is written once."""
    return jax.process_index() == 0


def barrier(name: str) -> None:
    """Wait for all processes."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def first_alone(name: str, action: Callable[[], T]) -> T:
    """Let process 0 act first, and the others when it is done: they find its files."""
    if not is_first():
        barrier(name)
        return action()
    try:
        return action()
    finally:
        barrier(name)


def gather(item: T) -> list[T]:
    """Every process's item, in order, in every process."""
    if jax.process_count() == 1:
        return [item]
    own = np.frombuffer(pickle.dumps(item), np.uint8)
    sizes = multihost_utils.process_allgather(np.int32(own.size))
    padded = np.zeros(sizes.max(), np.uint8)
    padded[: own.size] = own
    rows = multihost_utils.process_allgather(padded)
    return [
        pickle.loads(row[:size].tobytes())
        for row, size in zip(rows, sizes, strict=True)
    ]


class Devices:
    """The devices that share batches of one size.

    In one process, as many as divide the batch; of several processes, all.

    Args:
        batch_size: the global batch.
        setting: its name, for the error.
        most: devices of this process to use; all if None.

    Attributes:
        mesh: one axis over the devices.
        split: shards of a batch's rows.
        whole: a copy on each device.
        part: this process's share of each batch, as (index, count).

    Raises:
        InputError: the batch cannot be shared evenly by the processes.
    """

    def __init__(self, batch_size: int, setting: str, most: int | None = None) -> None:
        processes, local = jax.process_count(), most or jax.local_device_count()
        if batch_size % processes:
            raise InputError(
                f"{setting} is {batch_size}; {processes} processes share it, so it must "
                f"be a multiple of {processes}"
            )
        rows = batch_size // processes
        used = max(n for n in range(1, local + 1) if rows % n == 0)
        if used < local and is_first():
            print(
                f"{used} of {local} devices share a batch of {rows}; "
                f"a {setting} that {local} divides would use all"
            )
        devices = [
            device
            for process in range(processes)
            for device in jax.local_devices(process)[:used]
        ]
        self.mesh = _mesh(devices)
        self.split = NamedSharding(self.mesh, PartitionSpec(_AXIS))
        self.whole = NamedSharding(self.mesh, PartitionSpec())
        self.part = (jax.process_index(), processes)

    def put(self, batch: T) -> T:
        """This process's rows of a batch, as their part of the global arrays."""
        return jax.tree.map(
            lambda rows: jax.make_array_from_process_local_data(self.split, rows),
            batch,
        )

    def copy(self, tree: T) -> T:
        """The same values on every device."""
        if jax.process_count() == 1:
            return jax.device_put(tree, self.whole)
        return jax.tree.map(
            lambda leaf: (
                leaf
                if getattr(leaf, "sharding", None) == self.whole
                else jax.make_array_from_process_local_data(
                    self.whole, np.asarray(leaf), np.shape(leaf)
                )
            ),
            tree,
        )

    def each(self, function: Callable[..., Any], copied: Sequence[int]) -> Callable:
        """Compile a function of independent rows: each device runs its own.

        Args:
            function: of arrays or trees, whose rows do not see each other.
            copied: which of its arguments have no rows.
        """

        def wrapped(*arguments: Any) -> Any:
            specs = tuple(
                PartitionSpec() if i in copied else PartitionSpec(_AXIS)
                for i in range(len(arguments))
            )
            return jax.shard_map(
                function,
                mesh=self.mesh,
                in_specs=specs,
                out_specs=PartitionSpec(_AXIS),
                check_vma=False,
            )(*arguments)

        return jax.jit(wrapped)


def everywhere() -> NamedSharding:
    """A copy on each device of all processes."""
    return NamedSharding(_mesh(jax.devices()), PartitionSpec())


class Rows(Sequence["Row"]):
    """This process's rows of a batch, on the devices until one is asked for.

    Then all of its device come to the host together: to cut it out would wait for what
    the device does since.

    Args:
        array: the batch.

    Attributes:
        shards: consecutive rows, each on a device.
    """

    def __init__(self, array: Array) -> None:
        self.shards = local_shards(array)
        self._at = [
            (s, k) for s, part in enumerate(self.shards) for k in range(len(part))
        ]

    def __len__(self) -> int:
        return len(self._at)

    def __getitem__(self, row: int) -> "Row":
        shard, inside = self._at[row]
        return Row(self.shards[shard], inside)


class Row:
    """A row that `np.asarray` brings to the host."""

    def __init__(self, shard: Array, inside: int) -> None:
        self._shard, self._inside = shard, inside

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        # An array remembers its copy on the host.
        return np.array(np.asarray(self._shard)[self._inside], dtype, copy=copy)


def local_shards(array: Array) -> list[Array]:
    """This process's rows of a batch in order, by device."""
    shards = sorted(
        array.addressable_shards, key=lambda shard: shard.index[0].start or 0
    )
    return [shard.data for shard in shards]


def fetch(array: Array) -> np.ndarray:
    """This process's rows of a batch, on the host."""
    return np.concatenate([np.asarray(shard) for shard in local_shards(array)])


def _mesh(devices: Sequence[jax.Device]) -> Mesh:
    # Explicit axes, the default, do not pass through the Flax CLIP.
    return Mesh(np.array(devices), (_AXIS,), axis_types=(AxisType.Auto,))
