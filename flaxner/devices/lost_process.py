"""What a process of a run does when another one is gone: one sentence, and a quick end.

The service by which JAX's processes know of each other ends every one of them with an abort and
the stack of a C++ program, and the library under it talks on standard output. Both are met here,
for runs of several processes only.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from flaxner.terminal import one_line

HEARTBEAT = 60  # seconds without a sign of life after which a process counts as gone
GRACE = 5.0  # seconds that the main thread has to say itself what it met
RESUMABLE = 75  # exit code (EX_TEMPFAIL): the same command with --resume goes on
GLOO = re.compile(rb"^\[Gloo\] Rank \d+ is connected to ")
SERVICE = re.compile(rb"^[EFW]\d{4} .*(coordination_service|distributed service|coordination ser)")
LOGGED = re.compile(rb"^[IWEF]\d{4} \d\d:")
SILENT = re.compile(rb"heartbeats\):\n(\d+(?:\n\d+)*)\n")
# How an error begins that another process's end leads to.
OF_OTHERS = re.compile(
    r"Gloo|connection (closed|reset)|barrier|UNAVAILABLE|heartbeat|coordination service", re.I
)
# How JAX begins what it says of a failure, also where it raises a ValueError for it.
STATUS = re.compile(r"(UNKNOWN|INTERNAL|UNAVAILABLE|ABORTED|CANCELLED|DEADLINE_EXCEEDED): ")
_keep: list[Any] = []  # what C holds on to
_left = threading.Lock()
_last_words: Callable[[], str] = str


def watch(index: int, count: int) -> None:
    """Begin: hide the service's talk, and answer its abort with a sentence.

    Args:
      index: number of this process.
      count: of the processes of the run.
    """
    talk = [_filtered(1, "stdout"), _filtered(2, "stderr")]

    def aborted(number: int) -> None:
        time.sleep(GRACE)  # the main thread may be about to say more
        leave(f"{gone(index, count, b''.join(talk[1]))}{_last_words()}", RESUMABLE)

    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(aborted)
    libc = ctypes.CDLL(None)
    libc.signal.restype = ctypes.c_void_p
    libc.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
    libc.signal(signal.SIGABRT, ctypes.cast(handler, ctypes.c_void_p))
    _keep.append(handler)
    atexit.register(libc.signal, signal.SIGABRT, None)


def gone(index: int, count: int, talk: bytes = b"") -> str:
    """Which process is gone, as far as it can be told."""
    silent = SILENT.search(talk)
    if silent:
        return f"process {silent[1].decode().replace(chr(10), ', ')} of the run is gone"
    if count == 2:
        return f"process {1 - index} of the run is gone"
    return "another process of the run is gone"


def is_of_others(error: BaseException | None, count: int) -> bool:
    """Whether an error of this process comes of another one's end."""
    while count > 1 and error is not None:
        if OF_OTHERS.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def is_failure_of_others(error: ValueError, count: int) -> bool:
    """Whether a ValueError is JAX's, of another process's end, and none of settings or corpora."""
    return STATUS.match(str(error)) is not None and is_of_others(error, count)


def say_on_loss(words: Callable[[], str]) -> None:
    """What to add to the sentence: what is saved, and how to go on."""
    global _last_words
    _last_words = words


def leave(message: str, code: int) -> None:
    """End the process now, after one sentence; what waits for the others would wait for ever."""
    if not _left.acquire(blocking=False):
        time.sleep(GRACE)
    name = os.path.basename(sys.argv[0]) or "flaxner"
    print(f"{name}: {one_line(message)}", file=sys.stderr, flush=True)
    os._exit(code)


def _filtered(number: int, name: str) -> list[bytes]:
    """Put a thread before a file descriptor; Python's own stream goes round it.

    Returns:
      what was left out, as it comes.
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
    os.dup2(own, number)  # the last end of the pipe that writes: the thread comes to its end
    thread.join(1)
