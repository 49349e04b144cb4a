"""The cost of a first answer from process start: seconds, CPU seconds, memory."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from flaxner.benchmark.choices import CUT, ENGINES, STATIC, STRATEGY
from flaxner.benchmark.machine import peak_bytes

STARTS = 3  # per contender, after one that fills the caches; the lowest figures count
OURS = "from flaxner import pipeline; p = pipeline('ner', model={model!r}, **{options})"
EXPORTED = "from flaxner import load_exported; p = load_exported({model!r}, **{options})"
TORCH = (
    "from transformers import pipeline; "
    "p = pipeline('ner', model={model!r}, trust_remote_code=False, **{options})"
)
# Prints what was used after the first answer and, when stdin says so, after all texts.
REPORT = """
import json, os, sys, time
try:
    import resource
except ImportError:  # Windows
    resource = None
def used():
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss if resource else 0
    status = "/proc/self/status"
    told = open(status).read() if os.path.exists(status) else ""
    print(json.dumps([time.process_time(), told, most]), flush=True)
texts = json.loads(sys.stdin.readline())
p(texts[0])
used()
sys.stdin.readline()
p(texts, batch_size=32)
used()
"""


class Start(NamedTuple):
    """What a new process used.

    Attributes:
      seconds: wall-clock time to its first answer.
      cpu_seconds: CPU time of all its threads to its first answer.
      peak_mb: peak memory up to its first answer.
      peak_mb_of_all: peak memory up to the answers to all texts.
    """

    seconds: float
    cpu_seconds: float
    peak_mb: float
    peak_mb_of_all: float


def first_answers(
    model: Any,
    texts: list[str],
    engines: Iterable[str],
    static: Path | None = None,
    *,
    torch: bool = True,
) -> list[dict[str, Any]]:
    """Measure each of our engines, and torch, in new processes, in turns, with warm caches.

    Args:
      model: a folder or a Hub name.
      texts: the texts to answer: first one, then all.
      engines: names in `choices.ENGINES`.
      static: the exported model behind STATIC, if it is among the engines.
      torch: whether to measure torch's pipeline too.

    Raises:
      ValueError: as `start_of`.
    """
    programs = {}
    for name in engines:
        form, source = (EXPORTED, static) if name == STATIC else (OURS, model)
        options = {**ENGINES[name], **STRATEGY, **CUT}
        programs[f"flaxner, {name}"] = form.format(model=str(source), options=options)
    if torch:
        programs["torch"] = TORCH.format(model=str(model), options=STRATEGY)
    taken: dict[str, list[Start]] = {name: [] for name in programs}
    for turn in range(1 + STARTS):
        for name, program in programs.items():
            start = start_of(program, texts)
            if turn:
                taken[name].append(start)
    figures = []
    for name, starts in taken.items():
        least = [min(column) for column in zip(*starts, strict=True)]
        figures.append(
            {
                "contender": name,
                "seconds_to_first_answer": round(least[0], 2),
                "cpu_seconds": round(least[1], 2),
                "peak_mb": round(least[2]),
                "peak_mb_of_all_texts": round(least[3]),
            }
        )
    return figures


def start_of(program: str, texts: list[str]) -> Start:
    """Measure a new process in which this program creates a pipeline `p`.

    Raises:
      ValueError: the process failed; the message contains its last line.
    """
    with tempfile.TemporaryFile("w+") as faults:  # a pipe that nobody reads would fill up
        begin = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-c", program + REPORT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=faults,
            text=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it ended early: its error is reported below
            process.stdin.write(json.dumps(texts) + "\n")
            process.stdin.flush()
        first = process.stdout.readline()
        seconds = time.perf_counter() - begin
        rest, _ = process.communicate("\n")
        faults.seek(0)
        fault = faults.read().splitlines()
    if process.returncode or not first:
        last = (fault or ["it printed nothing"])[-1]
        raise ValueError(f"the process that was to answer a text ended without an answer: {last}")
    used, *memory = json.loads(first)
    _, *memory_of_all = json.loads(rest)
    return Start(seconds, used, *(peak_bytes(*m) / 2**20 for m in (memory, memory_of_all)))
