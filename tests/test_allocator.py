"""Allocator settings, each in a process of its own, since they last until the process exits."""

import ctypes
import os
import platform
import subprocess
import sys

import pytest

CODE = """
import resource
import numpy as np
from flaxner.devices.allocator import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        np.full(10_000_000, 1.0)  # 80 MB, freed at once
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if {setting}:
    assert keep_freed_memory()
faults()
print(faults())
"""

SIZES = """
import ctypes
from flaxner.devices import allocator

class Info(ctypes.Structure):  # struct mallinfo2, <malloc.h>
    _fields_ = [(name, ctypes.c_size_t) for name in "arena b c d e f g used free j".split()]

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Info
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
"""

HOLE = f"""
{SIZES}
if not {{setting}}:
    allocator._leave_a_hole = lambda libc: None
assert allocator.keep_freed_memory()

def step():
    block = libc.malloc(300_000_000)
    libc.malloc(2_000_000)  # something behind it
    libc.free(block)

step()
before = libc.mallinfo2().arena
for _ in range(5):
    libc.malloc(1_000_000)  # kept by someone between two steps
    step()
print(libc.mallinfo2().arena - before)
"""

WHERE = """
import jax
from flaxner.devices import allocator

for platforms, plugin, files, accelerated in [
    ("cpu", True, ("/dev/null",), False),
    ("cuda,cpu", False, (), True),
    (None, True, ("/dev/null",), True),
    (None, True, ("/dev/none[0-9]",), False),  # only the compiler, for preflight
    (None, False, ("/dev/null",), False),
]:
    jax.config.update("jax_platforms", platforms)
    allocator.plugins.has_plugin, allocator.DEVICE_FILES = lambda: plugin, files
    assert allocator._accelerated() is accelerated, platforms
    assert not accelerated or not allocator.keep_freed_memory.__wrapped__()
print("as expected")
"""

TWICE = f"""
{SIZES}
assert allocator.keep_freed_memory()
before = libc.mallinfo2().used
assert allocator.keep_freed_memory()
print(libc.mallinfo2().used - before)
"""

HEAPS = f"""
import threading
{SIZES}
if {{setting}}:
    assert allocator.keep_freed_memory()
else:
    libc.mallopt(-8, 1)  # M_ARENA_MAX: one heap
heap = next(line.split()[0] for line in open("/proc/self/maps") if line.endswith("[heap]\\n"))
low, high = (int(end, 16) for end in heap.split("-"))
block = None

def work():
    global block
    block = libc.malloc(2000)  # in no cache of a thread

threading.Thread(target=work).start()
while block is None:
    pass
print(low <= block < libc.malloc(200_000))
"""

DISPATCH = """
import jax, jax.numpy as jnp
from flaxner.devices.allocator import run_where_dispatched
if {setting}:
    run_where_dispatched()
slow = jax.jit(lambda x: jax.lax.fori_loop(0, 40, lambda _, y: jnp.tanh(y @ y), x))
x = jnp.ones((600, 600))
slow(x).block_until_ready()
print(slow(x).is_ready())
"""

sizes = pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="needs mallinfo2 of glibc 2.33 or newer"
)


def output(code, setting):
    """Return what the code prints when run in a new process."""
    command = [sys.executable, "-c", code.replace("{setting}", str(setting))]
    environment = {**os.environ, "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
    run = subprocess.run(command, capture_output=True, check=True, text=True, env=environment)
    return run.stdout.strip()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings exist only in glibc")
def test_freed_memory_is_reused():
    assert int(output(CODE, True)) < 100
    assert int(output(CODE, False)) > 100


@sizes
def test_step_memory_stays_contiguous():
    assert int(output(HOLE, True)) < 30_000_000
    assert int(output(HOLE, False)) > 250_000_000


@sizes
def test_the_settings_are_applied_once():
    """Every run in a process requests them, as in a cross-validation or a sweep."""
    assert int(output(TWICE, None)) < 100_000


@sizes
def test_threads_have_heaps_of_their_own():
    """XLA's workers waited for each other at a heap that compiling had left in fragments."""
    assert output(HEAPS, True) == "False"
    assert output(HEAPS, False) == "True"


def test_cpu_programs_run_in_the_calling_thread():
    assert output(DISPATCH, True) == "True"
    assert output(DISPATCH, False) == "False"


def test_nothing_changes_where_an_accelerator_computes():
    """There, programs take no memory from malloc, and what compiling leaves goes back."""
    ran = subprocess.run([sys.executable, "-c", WHERE], capture_output=True, text=True)
    assert ran.stdout == "as expected\n", ran.stderr
