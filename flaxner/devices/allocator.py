"""The host's memory, where the CPU computes: one step's, kept for the next.

XLA asks malloc for the temporary memory of every run of a program. glibc answers a large request
with fresh pages and gives them back when freed, so that each training step begins with tens of
thousands of page faults: a quarter of its time on a CPU.
"""

from __future__ import annotations

import ctypes
import functools

import jax

# <malloc.h>
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
LARGE = 2**31 - 1  # mallopt takes an int
RESERVE = 64 * 2**20  # bytes; more than all small blocks between two steps, less than a step's
BEHIND = 2**20  # bytes, kept for good; so large that no other hole takes it


def run_where_dispatched() -> None:
    """Have JAX compute on a CPU in the thread that asks for it; call it before JAX is used.

    A program that is queued takes its memory beside that of the one which still runs, and gains
    nothing by it: host and device are the same cores. Other devices are not affected, nor is a
    mesh of several CPU devices in one process.
    """
    jax.config.update("jax_cpu_enable_async_dispatch", False)


@functools.cache  # a second hole would lie in that of a step's memory
def keep_freed_memory() -> bool:
    """Tell glibc to reuse large blocks; call it before JAX starts its threads.

    The process then holds on to the most memory it ever had. Threads share one heap, since only
    the main one can hold blocks of any size. glibc takes a block from the smallest hole that it
    fits into: a hole is left for the small ones, which would otherwise lie in that of a step's
    memory, and the next step would find it too small by a few bytes.

    Returns:
      whether this is glibc and it took the settings; elsewhere nothing changes.
    """
    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018, another malloc has other settings
        mallopt = libc.mallopt
    except (AttributeError, OSError, TypeError):
        return False
    settings = {M_ARENA_MAX: 1, M_MMAP_THRESHOLD: LARGE, M_TRIM_THRESHOLD: -1}
    if not all(mallopt(name, value) == 1 for name, value in settings.items()):
        return False
    _leave_a_hole(libc)
    return True


def _leave_a_hole(libc: ctypes.CDLL) -> None:
    """Free memory with something behind it; no page of it is touched yet."""
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.restype, libc.free.argtypes = None, [ctypes.c_void_p]
    hole = libc.malloc(RESERVE)
    libc.malloc(BEHIND)
    libc.free(hole)
