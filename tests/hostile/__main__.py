"""Run every case of this folder as a user would: as a command in a process of its own.

    python -m tests.hostile FOLDER [PART]

FOLDER is a model folder written by `train.py`. Every case must end with an answer, or with one
sentence and exit code 2, 74 or 75, within 20 seconds and 1 GB; PART selects cases by part of their
name.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from tests.chaos import ROOT, environment
from tests.hostile import corpora, models

SECONDS, BYTES = 20, 1 << 30
SENTENCES = (2, 74, 75)
TEXT = "Angela Merkel met Barack Obama in Berlin ."


def measured(arguments):
    """Return (exit code or None if killed, seconds, peak memory, output) of a command."""
    begin, most = time.monotonic(), 0
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            [sys.executable, *map(str, arguments)], cwd=ROOT, env=environment(), stdout=said,
            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        while process.poll() is None:
            try:
                most = max(most, psutil.Process(process.pid).memory_info().rss)
            except psutil.NoSuchProcess:
                break
            if time.monotonic() - begin > SECONDS or most > BYTES:
                process.kill()
                process.wait()
                return None, time.monotonic() - begin, most, "killed: too slow or too large"
            time.sleep(0.02)
        said.seek(0)
        return process.wait(), time.monotonic() - begin, most, said.read()


def fault(code, said, sentence):
    """Return what is wrong with how a command ended, or None."""
    if code is None:
        return said
    if "Traceback" in said:
        return "a traceback"
    if sentence is None:
        return None if code == 0 else f"exit code {code}: {said[-300:]}"
    if code not in SENTENCES:
        return f"exit code {code}: {said[-300:]}"
    return None if sentence in said else f"another sentence: {said[-300:]}"


def cases(model, exported, folder):
    """Yield (name, arguments of the command, part of the sentence or None)."""
    for kind, source, table in (
        ("model", model, models.CASES),
        ("export", exported, models.EXPORTED),
    ):
        for name, (damage, sentence) in table.items():
            copy = folder / f"{kind} {name}"
            shutil.copytree(source, copy)
            damage(copy)
            yield f"{kind}: {name}", ["scripts/predict.py", "--model", copy, TEXT], sentence
            shutil.rmtree(copy)
    for name, (file, content, sentence) in (corpora.CASES | corpora.LONG).items():
        path = folder / file
        path.write_bytes(content())
        arguments = ["scripts/train.py", "--inspect", "--model", "flaxner:tiny"]
        yield f"corpus: {name}", [*arguments, "--train-file", path], sentence
        path.unlink()


def main():
    model, part = Path(sys.argv[1]), (sys.argv[2:] or [""])[0]
    failed = 0
    with tempfile.TemporaryDirectory() as held:
        folder = Path(held)
        export = ["scripts/export.py", "--model", model, "--output-dir", folder / "exported"]
        code, _, _, said = measured(export)
        if code != 0:
            sys.exit(f"the model folder cannot be exported: {said}")
        for name, arguments, sentence in cases(model, folder / "exported", folder):
            if part not in name:
                continue
            code, seconds, most, said = measured(arguments)
            wrong = fault(code, said, sentence)
            failed += wrong is not None
            print(f"{seconds:5.1f} s {most >> 20:5} MB  {name}: {wrong or 'ok'}", flush=True)
    print(f"{failed} cases failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
