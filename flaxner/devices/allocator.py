"""Host memory when the CPU computes: memory freed by one step is kept for the next.

XLA allocates the temporary memory of every run of a program with malloc. glibc serves large
requests with fresh pages and returns them to the system when freed, so each training step starts
with tens of thousands of page faults: a quarter of its time on a CPU.
"""

from __future__ import annotations

import ctypes
import functools
import glob

import jax

from flaxner.devices import plugins

# <malloc.h>
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGE = 2**31 - 1  # mallopt takes an int
RESERVE = 128 * 2**20  # bytes; more than all small blocks between two steps, less than a step
BEHIND = 2**20  # bytes, never freed; too large to be placed in another hole
# NVIDIA, AMD, Windows' subsystem for Linux; TPUs, older and newer
DEVICE_FILES = ("/dev/nvidia[0-9]*", "/dev/kfd", "/dev/dxg", "/dev/accel[0-9]*", "/dev/vfio/[0-9]*")


def run_where_dispatched() -> None:
    """Make JAX compute on a CPU in the calling thread; call this before JAX is used.

    A queued program allocates its memory in addition to that of the running one, and gains nothing:
    host and device are the same cores. Other devices are not affected, nor is a mesh of several CPU
    devices in one process.
    """
    jax.config.update("jax_cpu_enable_async_dispatch", False)


@functools.cache  # a second hole would lie within the one of a step's memory
def keep_freed_memory() -> bool:
    """Make glibc reuse large blocks; call this before JAX starts its threads.

    The process then keeps its peak memory. glibc places a block in the smallest hole that fits: one
    hole is left for small blocks, which would otherwise be placed in that of a step's memory and
    make it a few bytes too small for the next step. The main thread must run the programs, as
    `run_where_dispatched` makes it: only its heap can hold blocks of any size. XLA's workers keep
    heaps of their own. In a common one, which compiling leaves in fragments, they would wait for
    each other while glibc searches these.

    Where a GPU or TPU computes, nothing changes: there, programs take no memory from malloc.

    Returns:
      whether the CPU computes, and this is glibc and it accepted the settings.
    """
    if _accelerated():
        return False
    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018, another malloc has other settings
        mallopt = libc.mallopt
    except (AttributeError, OSError, TypeError):
        return False
    settings = {M_MMAP_THRESHOLD: LARGE, M_TRIM_THRESHOLD: -1}
    if not all(mallopt(name, value) == 1 for name, value in settings.items()):
        return False
    _leave_a_hole(libc)
    return True


def _accelerated() -> bool:
    """Whether JAX will probably use a GPU or TPU; asking JAX would start its threads."""
    wanted = jax.config.jax_platforms  # type: ignore[attr-defined]
    if wanted:
        return wanted.split(",")[0] != "cpu"
    return plugins.has_plugin() and any(map(glob.glob, DEVICE_FILES))


def _leave_a_hole(libc: ctypes.CDLL) -> None:
    """Free a block with another one behind it; none of its pages has been touched."""
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.restype, libc.free.argtypes = None, [ctypes.c_void_p]
    hole = libc.malloc(RESERVE)
    libc.malloc(BEHIND)
    libc.free(hole)
