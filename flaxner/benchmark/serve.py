"""`benchmark.py serve`: requests per second and latency of our server and torch's, in turns."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from flaxner.benchmark.corpus_texts import corpus_texts
from flaxner.config.command_line import add_settings, at_least, path
from flaxner.data.readers import OF_FILES

STRATEGY = "simple"  # so that both return the same entities
JOINED = (1, 1, 2, 8)  # sentences per mixed text, in turn
START = 180.0  # seconds a server may take to be ready
TIMEOUT = 120.0  # seconds an answer may take: slow ones are measured, not refused
SETTLED = 1.0  # seconds after the load, for requests still in flight
CPU, PASSES = "process_cpu_seconds_total", "flaxner_passes_total"
REQUESTS = 'flaxner_requests_total{route="/ner",status="200"}'
COMPARED = 20  # texts whose entities are compared
HEADERS = {"Content-Type": "application/json"}
# The script for wrk: requests each text in turn and prints the figures as JSON at the end.
LUA = """
local bodies = {}
for line in io.lines(%(bodies)s) do bodies[#bodies + 1] = line end
local place = 0
local headers = {["Content-Type"] = "application/json"}
request = function()
  place = place %% #bodies + 1
  return wrk.format("POST", "/ner", headers, bodies[place])
end
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\\n{"requests": %%d, "seconds": %%f, "p50_ms": %%f, "p95_ms": %%f, ' ..
    '"p99_ms": %%f, "errors": %%d}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3,
    latency:percentile(95) / 1e3, latency:percentile(99) / 1e3,
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `benchmark.py serve`."""
    add = parser.add_argument
    add("--model", type=path, required=True, help="folder or Hub name of a token classifier")
    add("--file", type=path, required=True,
        help="corpus whose sentences, words joined by spaces, are sent")  # fmt: skip
    add("--texts", type=at_least(1), default=500, help="number of texts (default: 500)")
    add("--connections", type=at_least(1), nargs="+", default=[1, 16, 64], metavar="N",
        help="numbers of concurrent connections (default: 1 16 64)")  # fmt: skip
    add("--seconds", type=at_least(1), default=8, help="seconds per measurement (default: 8)")
    add("--turns", type=at_least(1), default=1, help="turns per contender (default: 1)")
    add("--against", nargs="*", default=["torch"], choices=("torch", "torch-2"),
        help="torch: one thread calls the pipeline; torch-2: two do (default: torch)")  # fmt: skip
    add("--wait-ms", type=float, default=2.0, help="--wait-ms of our server (default: 2)")
    add_settings(parser, OF_FILES, several=False)


def run(arguments: argparse.Namespace) -> int:
    """Measure, print one JSON object per figure, and return the exit code.

    Raises:
      ValueError: wrk is missing, the file cannot be used, or a server does not start.
    """
    from flaxner.benchmark.machine import device_name
    from flaxner.publishing.verification import require

    if shutil.which("wrk") is None:
        raise ValueError("the load generator wrk is not installed: apt-get install wrk")
    require("benchmark.py serve", ("torch",))
    sentences = corpus_texts(arguments)
    kinds = {"short": sentences[: arguments.texts], "mixed": mixed(sentences)[: arguments.texts]}
    device = device_name()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ports = {
            name: stack.enter_context(_server(name, command, folder))
            for name, command in _commands(arguments).items()
        }
        for kind, texts in kinds.items():
            same = _same_answers(ports, texts[:COMPARED])
            script = _script(folder, kind, texts)
            for connections, turn in itertools.product(
                arguments.connections, range(arguments.turns)
            ):
                for name, port in ports.items():
                    figures = _measured(port, script, connections, arguments.seconds)
                    figure = {"contender": name, "texts": kind, "connections": connections}
                    figure |= {"turn": turn, **figures, "same_entities": same, "device": device}
                    print(json.dumps(figure), flush=True)
    return 0


def mixed(sentences: Sequence[str]) -> list[str]:
    """Join sentences into texts of one, two or eight sentences, in turn."""
    rest = iter(sentences)
    texts: list[str] = []
    for count in itertools.cycle(JOINED):
        if not (some := list(itertools.islice(rest, count))):
            return texts
        texts.append(" ".join(some))
    return texts


def _commands(arguments: argparse.Namespace) -> dict[str, list[str]]:
    """Contender -> the command of its server, without the port."""
    model = ["--model", arguments.model]
    ours = ["-m", "flaxner", "serve", "--strategy", STRATEGY, "--wait-ms", str(arguments.wait_ms)]
    commands = {"flaxner": [*ours, "--timeout", str(TIMEOUT), *model]}
    for name in arguments.against:
        workers = name.removeprefix("torch").lstrip("-") or "1"
        theirs = ["-m", "flaxner.benchmark.torch_server", "--workers", workers]
        commands[name] = [*theirs, *model]
    return commands


@contextlib.contextmanager
def _server(name: str, command: Sequence[str], folder: Path) -> Iterator[int]:
    """Start a server, wait until it is ready, yield its port, and stop it at the end."""
    from flaxner.serving.server import listen

    with listen("127.0.0.1", 0) as probe:
        port = probe.getsockname()[1]
    log = folder / f"{name}.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, *command, "--port", str(port)], stdout=file, stderr=file
        )
    try:
        end = time.monotonic() + START
        while not _is_ready(port):
            if process.poll() is not None or time.monotonic() > end:
                last = log.read_text("utf-8").strip().splitlines()[-1:]
                raise ValueError(f"the {name} server did not start: {''.join(last)}")
            time.sleep(0.2)
        yield port
    finally:
        process.terminate()
        process.wait(60)


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def _same_answers(ports: dict[str, int], texts: Sequence[str]) -> bool:
    """Whether all servers find the same entities."""
    bodies = []
    for name, port in ports.items():
        body = json.dumps({"text": list(texts)}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{port}/ner", body, HEADERS)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
                rows = json.load(answer)["entities"]
        except OSError as error:
            raise ValueError(f"the {name} server does not answer: {error}") from error
        bodies.append([[(e["entity_group"], e["start"], e["end"]) for e in row] for row in rows])
    return all(one == bodies[0] for one in bodies)


def _script(folder: Path, kind: str, texts: Sequence[str]) -> Path:
    bodies, script = folder / f"{kind}.jsonl", folder / f"{kind}.lua"
    bodies.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")
    script.write_text(LUA % {"bodies": json.dumps(str(bodies))}, "utf-8")
    return script


def _measured(port: int, script: Path, connections: int, seconds: int) -> dict[str, Any]:
    """Return what wrk measures, after a second of warm-up that does not count."""
    url = f"http://127.0.0.1:{port}"
    command = ["wrk", "-t1", f"-c{connections}", "--timeout", "60s", "-s", str(script)]
    subprocess.run([*command, "-d1s", url], check=True, capture_output=True)
    before = _counted(port)
    done = subprocess.run(
        [*command, f"-d{seconds}s", url], check=True, capture_output=True, text=True
    )
    time.sleep(SETTLED)  # requests that wrk abandoned are counted too
    after = _counted(port)
    counts = json.loads(done.stdout.strip().splitlines()[-1])
    rate = counts.pop("requests") / counts.pop("seconds")
    spent = {name: after[name] - before[name] for name in after}
    requests = max(1.0, spent[REQUESTS])
    return {
        "requests_per_second": round(rate, 1),
        **{name: round(value, 2) for name, value in counts.items()},
        "cpu_ms_per_request": round(1000 * spent[CPU] / requests, 3),
        "requests_per_pass": round(requests / spent[PASSES], 2) if spent[PASSES] else 1.0,
    }


def _counted(port: int) -> dict[str, float]:
    """Read the server's own metrics: CPU seconds, requests, passes of the model."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=TIMEOUT) as answer:
        lines = answer.read().decode().splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(values.get(name, 0)) for name in (CPU, REQUESTS, PASSES)}
