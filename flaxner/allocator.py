"""Freed host memory kept for the next step, where the processor computes.

XLA asks malloc for the temporary memory of every run of a program. glibc answers a large request
with fresh pages and gives them back when freed, so that each training step begins with tens of
thousands of page faults: a quarter of its time on a CPU.
"""

from __future__ import annotations

import ctypes

# <malloc.h>
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
LARGE = 2**31 - 1  # mallopt takes an int


def keep_freed_memory() -> bool:
    """Tell glibc to reuse large blocks; call it before JAX starts its threads.

    The process then holds on to the most memory it ever had. Threads share one heap, since only
    the main one can hold blocks of any size.

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
    return all(mallopt(name, value) == 1 for name, value in settings.items())
