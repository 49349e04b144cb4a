"""Kill a run again and again, and compare its results with those of an undisturbed run.

    python -m tests.chaos --kills 20 --terms 5

The run is `python scripts/train.py` on a small corpus, in processes of its own. SIGKILL and SIGTERM
are sent at random moments during training, evaluation, saving and export.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from flaxner.reporting.record import read_speed
from tests.conll import sentences, write_conll

ROOT = Path(__file__).resolve().parent.parent
RESUMABLE = 75
MACHINE = ("seconds", "tokens_per_second")  # in results.json; differ between runs
# Runs a script as where torch, which training does not need, is not installed: importing it takes
# as long as a small run. (`transformers` imports it wherever it finds it.)
WITHOUT_TORCH = """
import runpy, sys
from importlib.machinery import PathFinder

find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *more: None if name == "torch" else find(name, *more)
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def command(folder, name, *, epochs):
    """Return the command line of a small run; with --resume it starts or continues."""
    files = {
        "--train-file": write_conll(folder / "train.conll", sentences(48)),
        "--validation-file": write_conll(folder / "dev.conll", sentences(16, shift=1)),
        "--test-file": write_conll(folder / "test.conll", sentences(16, shift=2)),
        "--output-dir": folder / name,
        "--model": "flaxner:tiny",
        "--epochs": epochs,
        "--batch-size": 8,
        "--max-length": 32,
        "--learning-rate": 2e-3,
        "--log-every": 1,
        "--save-every": 2,
        "--compilation-cache": folder / "cache",
    }
    flags = [str(part) for pair in files.items() for part in pair]
    return [sys.executable, "-c", WITHOUT_TORCH, "scripts/train.py", *flags, "--resume"]


def xla_flags(devices=None):
    """Return XLA_FLAGS with another number of CPU devices; None: as many as users have."""
    count = "--xla_force_host_platform_device_count"
    kept = [f for f in os.environ.get("XLA_FLAGS", "").split() if not f.startswith(count)]
    return " ".join(kept + ([f"{count}={devices}"] if devices else []))


def environment(devices=1):
    """Return an environment with `devices` CPU devices, no network, and this working tree first."""
    return os.environ | {
        "XLA_FLAGS": xla_flags(devices),
        "JAX_PLATFORMS": "cpu",
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": str(ROOT),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }


def launch(arguments, log, devices=1):
    return subprocess.Popen(
        arguments, cwd=ROOT, env=environment(devices), stdout=log, stderr=subprocess.STDOUT
    )


def wait_for_progress(process, run, rng):
    """Wait for a random time after the run has started to write, or until it has ended."""
    metrics = run / "metrics.jsonl"
    before = metrics.stat().st_mtime_ns if metrics.exists() else 0
    while process.poll() is None:
        if metrics.exists() and metrics.stat().st_mtime_ns != before:
            break
        time.sleep(0.01)
    end = time.monotonic() + rng.uniform(0, 1.5)
    while process.poll() is None and time.monotonic() < end:
        time.sleep(0.005)


def interrupt(folder, *, kills, terms, epochs, seed=0):
    """Send signals to a run until it ends; return those that hit it, and the log's path."""
    rng = random.Random(seed)
    signals = [signal.SIGKILL] * kills + [signal.SIGTERM] * terms
    rng.shuffle(signals)
    log_path, hits = folder / "chaos.log", []
    arguments = command(folder, "chaos", epochs=epochs)
    with log_path.open("w") as log:
        for number in signals:
            process = launch(arguments, log)
            wait_for_progress(process, folder / "chaos", rng)
            if process.poll() is None:
                process.send_signal(number)
            code = process.wait(120)
            if code == 0:
                break
            assert code in (-signal.SIGKILL, RESUMABLE), log_path.read_text()[-3000:]
            hits.append(number)
        code = launch(arguments, log).wait(300)
    assert code == 0, log_path.read_text()[-3000:]
    return hits, log_path


def whole(folder, *, epochs):
    """Run the same training undisturbed."""
    log_path = folder / "whole.log"
    with log_path.open("w") as log:
        code = launch(command(folder, "whole", epochs=epochs), log).wait(300)
    assert code == 0, log_path.read_text()[-3000:]


def compare(one, other):
    """Assert that two runs ended with the same bytes and the same results."""
    for name in ("hub/model.safetensors", "metrics.jsonl", "predictions/test.conll"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    speeds = [read_speed(run / "speed.jsonl") for run in (one, other)]
    tokens = [sum(line["tokens"] for line in speed) for speed in speeds]
    assert tokens[0] == tokens[1], "speed.jsonl should count every step once"
    results = [json.loads((run / "results.json").read_text()) for run in (one, other)]
    for each in results:
        for key in MACHINE:
            del each["train"][key]
    assert results[0] == results[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--terms", type=int, default=5)
    parser.add_argument("--epochs", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        begin = time.monotonic()
        whole(folder, epochs=given.epochs)
        hits, _ = interrupt(folder, **vars(given))
        compare(folder / "whole", folder / "chaos")
        counts = {s.name: hits.count(s) for s in (signal.SIGKILL, signal.SIGTERM)}
        print(f"equal to the last bit after {counts}, {time.monotonic() - begin:.0f} s")


if __name__ == "__main__":
    main()
