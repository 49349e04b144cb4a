"""From the start of a process to its first answer: seconds, CPU-seconds, memory."""

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

STARTS = 3  # of each, after one that fills caches; the quickest counts
OURS = "from flaxner import pipeline; p = pipeline('ner', model={model!r}, **{options})"
EXPORTED = "from flaxner import load_exported; p = load_exported({model!r}, **{options})"
TORCH = (
    "from transformers import pipeline; "
    "p = pipeline('ner', model={model!r}, trust_remote_code=False, **{options})"
)
# What is used after the first answer, and after all, of which stdin tells.
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
    """What a new process took.

    Attributes:
      seconds: by the clock, to its first answer.
      cpu_seconds: the same, of all its threads.
      peak_mb: memory by its first answer.
      peak_mb_of_all: memory when it had answered all texts.
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
    """A figure for each engine of ours, and for torch; new processes, in turns, warm caches.

    Args:
      model: a folder or a Hub name.
      texts: to be answered; the first, then all.
      engines: of `choices.ENGINES`.
      static: the export that STATIC is, if it is one of them.
      torch: whether torch's pipeline is one, too.

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
    """What a new process takes that makes a pipeline `p` by this program.

    Raises:
      ValueError: it failed; with its last line.
    """
    with tempfile.TemporaryFile("w+") as faults:  # a pipe would fill up where nobody reads
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
        with contextlib.suppress(BrokenPipeError):  # it ended before it read: its fault is told
            process.stdin.write(json.dumps(texts) + "\n")
            process.stdin.flush()
        first = process.stdout.readline()
        seconds = time.perf_counter() - begin
        rest, _ = process.communicate("\n")
        faults.seek(0)
        fault = faults.read().splitlines()
    if process.returncode or not first:
        last = (fault or ["it said nothing"])[-1]
        raise ValueError(f"a process that was to answer a text ended without an answer: {last}")
    used, *memory = json.loads(first)
    _, *memory_of_all = json.loads(rest)
    return Start(seconds, used, *(peak_bytes(*m) / 2**20 for m in (memory, memory_of_all)))
