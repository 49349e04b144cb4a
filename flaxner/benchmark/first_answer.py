"""From the start of a process to its first answer: seconds, CPU-seconds, memory."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterable
from typing import Any

from flaxner.benchmark.answers import STRATEGY
from flaxner.benchmark.machine import peak_bytes

STARTS = 3  # of each, after one that fills caches; the quickest counts
OURS = (
    "from flaxner import pipeline; "
    "p = pipeline('ner', model={model!r}, engine={engine!r}, weights={weights!r}, **{options})"
)
TORCH = (
    "from transformers import pipeline; "
    "p = pipeline('ner', model={model!r}, trust_remote_code=False, **{options})"
)
REPORT = (
    "; p({text!r}); import json, os, resource; u = resource.getrusage(resource.RUSAGE_SELF); "
    "s = '/proc/self/status'; s = open(s).read() if os.path.exists(s) else ''; "
    "print(json.dumps([u.ru_utime + u.ru_stime, s, u.ru_maxrss]))"
)


def first_answers(model: Any, text: str, engines: Iterable[str]) -> list[dict[str, Any]]:
    """A figure for each engine of ours, and for torch; new processes, in turns, warm caches.

    Args:
      model: a folder or a Hub name.
      text: to be answered.
      engines: of `pipeline.ENGINES`.
    """
    programs = {}
    for name in engines:
        engine, _, int8 = name.partition("-")
        programs[f"flaxner, {name}"] = (OURS + REPORT).format(
            model=model, engine=engine, weights=int8 or "float32", options=STRATEGY, text=text
        )
    programs["torch"] = (TORCH + REPORT).format(model=model, options=STRATEGY, text=text)
    seconds: dict[str, list[tuple[float, float, float]]] = {name: [] for name in programs}
    for turn in range(1 + STARTS):
        for name, program in programs.items():
            taken = _start(program)
            if turn:
                seconds[name].append(taken)
    return [
        {
            "contender": name,
            "seconds_to_first_answer": round(min(one[0] for one in taken), 2),
            "cpu_seconds": round(min(one[1] for one in taken), 2),
            "peak_mb": round(min(one[2] for one in taken)),
        }
        for name, taken in seconds.items()
    ]


def _start(program: str) -> tuple[float, float, float]:
    """Seconds by the clock, CPU-seconds, and the largest memory in MB of a new process."""
    begin = time.perf_counter()
    process = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    elapsed = time.perf_counter() - begin
    used, *memory = json.loads(process.stdout.splitlines()[-1])
    return elapsed, used, peak_bytes(*memory) / 2**20
