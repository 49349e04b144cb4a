"""Many processes, one run: how they start, and how they agree."""

from __future__ import annotations

import dataclasses
import glob
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from flaxner.devices import lost_process
from flaxner.devices.environment import check_devices
from flaxner.wording import few, first_line

T = TypeVar("T")

_in_main = ContextVar("_in_main", default=False)  # whether `on_main` is calling a function


def start(coordinator: str | None, num_processes: int, process_id: int) -> None:
    """Join the other processes of the run, if there are any; call before any use of a device.

    Args:
      coordinator: HOST:PORT of process 0; if None, jax.distributed finds it on TPU pods, under
        SLURM and Open MPI, and from JAX_COORDINATOR_ADDRESS; elsewhere the run has one process.
      num_processes: number of processes of the run; 0: found as above.
      process_id: number of this process; -1: found as above.

    Raises:
      ValueError: the settings are incomplete, or the other processes cannot be reached.
    """
    given = {"coordinator": coordinator, "num_processes": num_processes or None}
    if any(given.values()) or process_id >= 0:
        missing = [name for name, value in given.items() if not value]
        missing += ["process_id"] * (process_id < 0)
        if missing:
            raise ValueError(f"several processes need --{missing[0].replace('_', '-')} too")
        if process_id >= num_processes:
            raise ValueError(f"process_id must be from 0 to num_processes - 1: got {process_id}")
    if jax.distributed.is_initialized():
        return
    try:
        # We agree on the step to stop after by ourselves (StopVote): JAX's own service would take
        # over SIGTERM, and does not handle SIGINT.
        jax.config.update("jax_enable_preemption_service", False)
        if coordinator is not None:
            jax.distributed.initialize(
                coordinator,
                num_processes,
                process_id,
                heartbeat_timeout_seconds=lost_process.HEARTBEAT,
            )
        elif expects_others(os.environ):
            jax.distributed.initialize(heartbeat_timeout_seconds=lost_process.HEARTBEAT)
        elif on_tpu_machine():
            _try_pod()
    except (RuntimeError, ValueError) as error:
        reason = first_line(error)
        raise ValueError(f"the processes of this run cannot connect: {reason}") from error
    if not jax.distributed.is_initialized():
        return
    check_devices()  # counting the processes needs a device
    if jax.process_count() > 1:
        lost_process.watch(jax.process_index(), jax.process_count())
        _refuse_uneven()


def _refuse_uneven() -> None:
    held = Counter(device.process_index for device in jax.devices())
    if len(set(held.values())) > 1:
        counts = ", ".join(map(str, (held[index] for index in sorted(held))))
        raise ValueError(f"every process needs the same number of devices: they have {counts}")


def expects_others(environment: Mapping[str, str]) -> bool:
    """Whether a launcher has set that this process is one of several."""
    counts = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE", "MEGASCALE_NUM_SLICES")
    return (
        "JAX_COORDINATOR_ADDRESS" in environment
        or "," in environment.get("TPU_WORKER_HOSTNAMES", "")
        or any(
            environment.get(name, "").isdigit() and int(environment[name]) > 1 for name in counts
        )
    )


def on_tpu_machine() -> bool:
    """Whether this machine has TPU chips that JAX may use."""
    platforms = os.environ.get("JAX_PLATFORMS", "tpu")
    return "tpu" in platforms and bool(
        glob.glob("/dev/accel[0-9]*") or glob.glob("/dev/vfio/[0-9]*")
    )


def _try_pod() -> None:
    """Join the pod, on a TPU machine; a single machine may fail to, which is no error."""
    try:
        jax.distributed.initialize()
    except (RuntimeError, ValueError) as error:
        if jax.process_count() > 1:
            raise
        print(f"running on a single TPU machine: {first_line(error)}")


def _is_alone() -> bool:
    """Whether there are no others; JAX is asked only if others were looked for.

    It needs a device to count them, which a command that only reads a run may not find.
    """
    return not jax.distributed.is_initialized() or jax.process_count() == 1


def is_main() -> bool:
    """Whether this process is the one that writes files and prints."""
    return _is_alone() or jax.process_index() == 0


def on_main(function: Callable[[], T]) -> T:
    """Call `function` in the main process; all processes get its result (JSON) or its error.

    Raises:
      RuntimeError: called within such a function, which only one process calls: it would wait for
        the others for ever. Raised in a single process too, so that the mistake is found there.
    """
    if _in_main.get():
        raise RuntimeError("on_main within on_main: the other processes do not call it")
    if _is_alone():
        return _called(function)
    answer: dict[str, Any] = {}
    failure: Exception | None = None
    if is_main():
        try:
            answer = {"value": _called(function)}
        except Exception as error:
            failure, answer = error, _for_others(error)
    answer = _broadcast(answer)
    if failure is not None:
        raise failure
    if "error" in answer:
        raise ValueError(answer["error"])
    if "os" in answer:
        raise OSError(*answer["os"])
    return answer["value"]


def _for_others(error: Exception) -> dict[str, Any]:
    """Return what the other processes raise for an error of the main one."""
    if isinstance(error, OSError):
        name = None if error.filename is None else str(error.filename)
        return {"os": [error.errno, error.strerror, name]}
    if isinstance(error, ValueError):
        return {"error": str(error)}
    return {"error": "process 0 of the run failed: its own output says why"}


def _called(function: Callable[[], T]) -> T:
    token = _in_main.set(True)
    try:
        return function()
    finally:
        _in_main.reset(token)


def _broadcast(value: Any) -> Any:
    """Send a JSON value of the main process to every process."""
    data = np.frombuffer(json.dumps(value).encode(), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(data))))
    data = data if is_main() else np.zeros(size, np.uint8)
    return json.loads(np.asarray(multihost_utils.broadcast_one_to_all(data)).tobytes())


def _gathered(flags: Sequence[bool]) -> np.ndarray:
    """Return the flags of all processes, (processes, flags); each gives as many."""
    return np.asarray(multihost_utils.process_allgather(np.asarray(flags, np.int32))).astype(bool)


def where_not(holds: Callable[[], bool]) -> list[int]:
    """Return the processes where something does not hold; [] in a single one, without asking."""
    if _is_alone():
        return []
    return np.flatnonzero(~_gathered([holds()])[:, 0]).tolist()


def in_all(function: Callable[[], T]) -> T:
    """Call `function`, which needs no other process, in every process; fail in all if it fails in
    one, as the others would wait for it.

    Raises:
      ValueError: it failed in another process.
    """
    failure: BaseException | None = None
    try:
        value = function()
    except BaseException as error:
        failure = error
    failed = where_not(lambda: failure is None)
    if failure is not None:
        raise failure
    if failed:
        raise ValueError(f"process {failed[0]} of the run failed: its own output says why")
    return value


def refuse_differences(facts: Callable[[], Mapping[str, Any]]) -> None:
    """Reject a run whose processes differ, before they train on different things or wait for ever.

    Args:
      facts: returns what all must have in common, name -> JSON value, with the same names.

    Raises:
      ValueError: in every process; the message names what differs.
    """
    if _is_alone():
        return
    own = json.loads(json.dumps(dict(facts())))
    first = on_main(lambda: own)
    differs = _gathered([own.get(name) != value for name, value in first.items()])
    odd = [name for index, name in enumerate(first) if differs[:, index].any()]
    if odd:
        raise ValueError(
            f"the processes of this run do not have the same {few(odd)}: start all of them with "
            "the same settings, files and versions"
        )


def barrier(name: str) -> None:
    """Wait for all processes."""
    if not _is_alone():
        multihost_utils.sync_global_devices(name)


class StopVote:
    """Whether to stop, decided alike in all processes.

    Each process votes after dispatching a step; the votes are combined on the devices, in step
    with the training, and read one step later, so that nobody waits: all processes read the
    result of the same step, and stop after the same step. A single process decides by itself.
    """

    def __init__(self, mesh: Mesh, wish: Callable[[], bool]) -> None:
        self._wish, self._alone = wish, jax.process_count() == 1
        self._spread = NamedSharding(mesh, P(mesh.axis_names))
        self._any = jax.jit(lambda wishes: wishes.max(), out_shardings=NamedSharding(mesh, P()))
        self._local = len(mesh.local_devices)
        self._last: jax.Array | None = None

    def __call__(self) -> bool:
        """Cast a vote and read the one before; call at the same places in every process."""
        if self._alone:
            return self._wish()
        wishes = np.full(self._local, self._wish(), np.int32)
        last, self._last = (
            self._last,
            self._any(jax.make_array_from_process_local_data(self._spread, wishes)),
        )
        return last is not None and bool(last)

    def settled(self) -> bool:
        """Whether any process wants to stop by now; waits for the answer. For use at the end."""
        return self() or self()  # the second call reads the vote of the first


@dataclasses.dataclass(frozen=True)
class Part:
    """Which share of every batch this process holds: part `index` of `count` equal ones."""

    index: int = 0
    count: int = 1


WHOLE = Part()


def this_part() -> Part:
    """The share of every batch that this process holds."""
    return Part(jax.process_index(), jax.process_count())
