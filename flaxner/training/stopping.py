"""How a run stops before its end: signals, failures, and the messages about them."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import jax
import jax.numpy as jnp

from flaxner import terminal
from flaxner.devices.lost_process import RESUMABLE, gone, is_of_others
from flaxner.runs.folder import RunFolder
from flaxner.runs.steps import StepFolders
from flaxner.terminal import Stopped
from flaxner.typed_commands import command_line
from flaxner.wording import first_line


class EvaluationCut(Exception):
    """A stop request cuts an evaluation short."""


class NotFinite(ArithmeticError):
    """Loss, gradient or parameters are not finite."""


@jax.jit
def all_finite(params: Any) -> jax.Array:
    """Whether every element is a finite number."""
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params)]).all()


def go_on(run: RunFolder) -> str:
    """Say what is saved of a run that stopped, and the command that continues it."""
    steps = StepFolders(run.checkpoints).steps()
    command = command_line("train", "--config", str(run.restart), "--resume")
    if steps:
        return f"; saved up to step {steps[-1]} in {run.checkpoints}; resume with: {command}"
    if run.config.is_file():
        return f"; no checkpoint yet; start again with: {command}"
    return "; nothing was written yet"


def device_failure(error: Exception, run: RunFolder) -> Exception:
    """Return the exception to raise for a failure of devices or of the connection to them."""
    first = first_line(error)
    if "RESOURCE_EXHAUSTED" in first or "out of memory" in first.lower():
        return ValueError(
            f"the devices ran out of memory: {first}; try a larger --accumulate, --remat, "
            "--fsdp over more devices, a smaller --batch-size or fewer --seeds-at-once"
        )
    index, count = jax.process_index(), jax.process_count()
    if is_of_others(error, count):
        return stopped_alone(f"{gone(index, count)}{go_on(run)}")
    return stopped_alone(f"a device failed: {first}{go_on(run)}")


def advice(run: RunFolder) -> str:
    """Say what to try when values are no longer finite, and what is left of the run."""
    folders = StepFolders(run.checkpoints)
    steps, kept = folders.steps(), ""
    if steps:
        kept = f"; the last good checkpoint is step {steps[-1]} in {run.checkpoints}"
        best = folders.best(steps[-1])
        if best in steps:
            command = command_line("convert", str(run.path), "--step", str(best))
            kept += f"; export the best, step {best}, with: {command}"
    return (
        "try a lower --learning-rate, a higher --warmup-ratio, a lower --max-grad-norm or "
        f"--precision float32{kept}"
    )


def stopped_alone(message: str, code: int = RESUMABLE) -> RunStopped:
    """Return the exception of a process that stops while others may be waiting for it."""
    return RunStopped(message, code, at_once=jax.process_count() > 1)


SIGNALS = (signal.SIGINT, signal.SIGTERM)


class RunStopped(Stopped):
    """A run stopped early; the message says what is saved and how to resume."""

    def __init__(self, message: str, code: int = RESUMABLE, *, at_once: bool = False) -> None:
        super().__init__(message, code, at_once=at_once)


class Interruption:
    """While entered, the first SIGINT or SIGTERM requests a stop and a second one exits.

    Within `deferred`, a signal is only recorded, for the loop to see in `requested`; elsewhere it
    raises KeyboardInterrupt in the main thread. A second signal exits with 128 + its number. A
    thread receives the signals, so that they are seen during compilation. Outside the main thread
    nothing is installed, because Python does not allow handlers there.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._received: int | None = None
        self._noted: int | None = None  # the same, but set before the handler returns
        self._deferred = 0  # number of running loops
        self._before: dict[int, object] = {}

    @property
    def requested(self) -> str | None:
        """The name of the signal that requested a stop, if any."""
        number = self._received or self._noted
        return None if number is None else signal.Signals(number).name

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Defer signals, so that the loop handles them."""
        self._deferred += 1
        try:
            yield
        finally:
            self._deferred -= 1

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            terminal.repeating.clear()
            self._read, self._write = os.pipe()
            os.set_blocking(self._write, False)
            self._old_fd = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
            self._before = {number: signal.signal(number, self._raise) for number in SIGNALS}
            threading.Thread(target=self._watch, name="flaxner-signals", daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._before:
            for number, handler in self._before.items():
                signal.signal(number, handler)  # type: ignore[arg-type]
            signal.set_wakeup_fd(self._old_fd)
            os.close(self._write)  # ends the thread

    def _watch(self) -> None:
        while numbers := os.read(self._read, 64):
            for number in filter(SIGNALS.__contains__, numbers):
                self._receive(number)
        os.close(self._read)

    def _receive(self, number: int) -> None:
        if self._received is not None:
            if terminal.repeating.is_set():
                terminal.repeating.clear()
                return
            os._exit(128 + number)
        self._received = number
        if self._deferred:
            name = signal.Signals(number).name
            self._say(f"{name}: stopping after this step; repeat it to stop now without saving")

    def _raise(self, number: int, frame: FrameType | None) -> None:
        self._noted = number
        if not self._deferred:
            terminal.interrupt(number, frame)
