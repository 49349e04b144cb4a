"""What a process of a run does when another one is gone: print one sentence and exit quickly.

The service that connects JAX's processes aborts every one of them with a C++ stack trace, and the
library under it prints to standard output. This module replaces both, for runs of several
processes only.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from flaxner.terminal import Stopped, one_line

HEARTBEAT = 60  # seconds without a heartbeat after which a process counts as gone
GRACE = 5.0  # seconds that the main thread has to report its own error
RESUMABLE = 75  # exit code (EX_TEMPFAIL): the same command with --resume continues
GLOO = re.compile(rb"^\[Gloo\] Rank \d+ is connected to ")
SERVICE = re.compile(rb"^[EFW]\d{4} .*(coordination_service|distributed service|coordination ser)")
LOGGED = re.compile(rb"^[IWEF]\d{4} \d\d:")
SILENT = re.compile(rb"heartbeats\):\n(\d+(?:\n\d+)*)\n")
# Found in errors that another process's end leads to.
OF_OTHERS = re.compile(
    r"Gloo|connection (closed|reset)|barrier|UNAVAILABLE|heartbeat|coordination service", re.I
)
# The start of JAX's messages about failures, including those that it raises as a ValueError.
STATUS = re.compile(r"(UNKNOWN|INTERNAL|UNAVAILABLE|ABORTED|CANCELLED|DEADLINE_EXCEEDED): ")
_keep: list[Any] = []  # objects that C code refers to; empty in a single process
_left = threading.Lock()
_last_words: Callable[[], str] = str


def watch(index: int, count: int) -> None:
    """Start: hide the service's output, print a sentence when it aborts, and do not wait for the
    other processes after an exception that nothing caught.

    Args:
      index: number of this process.
      count: number of processes of the run.
    """
    talk = [_filtered(1, "stdout"), _filtered(2, "stderr")]

    def aborted(number: int) -> None:
        time.sleep(GRACE)  # the main thread may be about to report more
        leave(f"{gone(index, count, b''.join(talk[1]))}{_last_words()}", RESUMABLE)

    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(aborted)
    libc = ctypes.CDLL(None)
    libc.signal.restype = ctypes.c_void_p
    libc.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
    libc.signal(signal.SIGABRT, ctypes.cast(handler, ctypes.c_void_p))
    _keep.append(handler)
    sys.excepthook = _exiting(sys.excepthook)
    atexit.register(libc.signal, signal.SIGABRT, None)


def _exiting(report: Callable[..., object]) -> Callable[..., None]:
    """Return an excepthook that exits after the report: a normal exit would wait for the others,
    which wait for this process."""

    def hook(*error: Any) -> None:
        report(*error)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(1)

    return hook


@contextlib.contextmanager
def not_waiting() -> Iterator[None]:
    """Let a script exit at once after a ValueError in one of several processes: at a normal exit it
    would wait for the others, which may be waiting for it.

    Raises:
      Stopped: instead of the ValueError, if there are other processes.
    """
    try:
        yield
    except ValueError as error:
        if not _keep:
            raise
        raise Stopped(str(error), 2, at_once=True) from error


def gone(index: int, count: int, talk: bytes = b"") -> str:
    """Say which process is gone, as far as it is known."""
    silent = SILENT.search(talk)
    if silent:
        return f"process {silent[1].decode().replace(chr(10), ', ')} of the run is gone"
    if count == 2:
        return f"process {1 - index} of the run is gone"
    return "another process of the run is gone"


def is_of_others(error: BaseException | None, count: int) -> bool:
    """Whether another process's end caused an error of this one."""
    while count > 1 and error is not None:
        if OF_OTHERS.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def is_failure_of_others(error: ValueError, count: int) -> bool:
    """Whether JAX raised a ValueError because another process ended, not our own checks."""
    return STATUS.match(str(error)) is not None and is_of_others(error, count)


def say_on_loss(words: Callable[[], str]) -> None:
    """Set what to add to the sentence: what is saved, and how to continue."""
    global _last_words
    _last_words = words


def leave(message: str, code: int) -> None:
    """Print one sentence and exit now: whatever waits for the others would wait for ever."""
    if not _left.acquire(blocking=False):
        time.sleep(GRACE)
    name = os.path.basename(sys.argv[0]) or "flaxner"
    print(f"{name}: {one_line(message)}", file=sys.stderr, flush=True)
    os._exit(code)


def _filtered(number: int, name: str) -> list[bytes]:
    """Put a thread in front of a file descriptor; Python's own stream bypasses it.

    Returns:
      the lines that are left out, as they come.
    """
    own, python = os.dup(number), getattr(sys, name)
    read, write = os.pipe()
    if hasattr(python, "reconfigure"):
        python.flush()
        options: dict[str, Any] = {"encoding": python.encoding, "errors": "backslashreplace"}
        setattr(sys, name, os.fdopen(os.dup(own), "w", buffering=1, **options))
    os.dup2(write, number)
    os.close(write)
    hidden: list[bytes] = []
    thread = threading.Thread(
        target=_pass_on, args=(read, own, hidden), name=f"flaxner-{name}", daemon=True
    )
    thread.start()
    atexit.register(_restore, own, number, thread)
    return hidden


def _pass_on(read: int, own: int, hidden: list[bytes]) -> None:
    dropping = False
    with os.fdopen(read, "rb") as lines:
        for line in lines:
            if SERVICE.match(line):
                dropping = True
            elif LOGGED.match(line):
                dropping = False
            if dropping or GLOO.match(line):
                hidden.append(line)
            else:
                os.write(own, line)


def _restore(own: int, number: int, thread: threading.Thread) -> None:
    os.dup2(own, number)  # closes the pipe's last writing end, so the thread ends
    thread.join(1)
