"""The benchmarks: figures are of what they say, and add up."""

import json
import subprocess
import sys

import pytest

from flaxner.benchmark.train import main


def figures(printed):
    return [json.loads(line) for line in printed.splitlines()]


def test_training_steps_in_turns(capsys):
    pytest.importorskip("torch")
    main(["--steps", "2", "--turns", "2", "--compilation-cache", "", "--against", "torch-grouped"])
    machine, ours, theirs = figures(capsys.readouterr().out)
    assert set(machine["matmul_gflops"]) == {"jax", "torch"}
    assert (ours["contender"], theirs["contender"]) == ("flaxner", "torch-grouped")
    assert ours["ratios"] == [1.0, 1.0]
    assert len(theirs["ratios"]) == 2
    assert min(theirs["ratios"]) > 0
    assert 0 < ours["fill"] <= 1
    assert 0 < theirs["fill"] <= 1


def test_an_unknown_peer_is_refused():
    with pytest.raises(ValueError, match="there is no peer 'torch-slow'; known: torch, torch-fu"):
        main(["--against", "torch-slow"])


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the peak is getrusage's")
def test_peak_memory_is_not_that_of_the_process_before():
    ballast = bytearray(1_000_000_000)
    ballast[::4096] = b"x" * len(ballast[::4096])
    code = "from flaxner.benchmark.machine import peak_memory; print(peak_memory()['host_peak_mb'])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 50 < float(ran.stdout) < 900
    assert len(ballast) == 1_000_000_000
