"""The allocator's settings: in a process of its own, since they hold until it ends."""

import platform
import subprocess
import sys

import pytest

CODE = """
import resource
import numpy as np
from flaxner.allocator import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        np.full(10_000_000, 1.0)  # 80 MB, freed at once
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if {keep}:
    assert keep_freed_memory()
faults()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are glibc's")
def test_freed_memory_is_reused():
    def faults(keep):
        command = [sys.executable, "-c", CODE.replace("{keep}", str(keep))]
        return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)

    assert faults(True) < 100
    assert faults(False) > 100
