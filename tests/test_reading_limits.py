"""Limits on reading: no corpus may hang, exhaust memory or be read slowly. Mostly slow tests."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz import fuzz

MB = 1 << 20
LIMIT = 2_000_000_000  # bytes of address space; beyond it the child fails

# Reads a file and prints the result, CPU seconds, and peak memory.
CHILD = """
import json, resource, sys, time
if int(sys.argv[2]):
    resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]),) * 2)
from flaxner.data.corpus import read_corpus
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
before, begin, told = peak(), time.process_time(), ""
try:
    corpus = read_corpus(sys.argv[1])
    words = corpus.words
except ValueError as error:
    words, told = 0, str(error)
seconds = time.process_time() - begin
print(json.dumps({"words": words, "told": told, "seconds": seconds, "before": before,
                  "peak": peak(), "sentences": len(corpus) if words else 0}))
"""


def read_apart(path, limit=0):
    """Read a file in a separate process."""
    command = [sys.executable, "-c", CHILD, str(path), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def test_damaged_files_are_read_or_refused_with_one_sentence():
    outcomes, faults = fuzz(300, seed=11, tell=lambda text: None)
    assert not faults
    assert outcomes["corpus"] > 30
    assert outcomes["refused"] > 30


@pytest.mark.slow
def test_a_hundred_thousand_damaged_files():
    outcomes, faults = fuzz(100_000)
    assert not faults
    assert outcomes.total() == 100_000


LONG = {
    "words.conll": (b"Ann B-PER\nleft O\n", b"x", b""),
    "tabs.conll": (b"Ann\tB-PER\nleft\tO\n", b"y\t", b""),
    "only.conll": (b"", b"z", b""),
    "value.jsonl": (b'{"tokens": ["a"], "ner_tags": ["O"]}\n{"text": "', b"x", b'", "spans": []}'),
    "brackets.jsonl": (b'{"tokens": ["a"], "ner_tags": ["O"]}\n', b"[", b""),
    "array.json": (b'[{"tokens": ["a"], "ner_tags": ["O"]}, {"text": "', b"x", b'", "spans": []}]'),
    "nested.json": (b'[{"tokens": ["a"], "ner_tags": ["O"]}, ', b"[", b"]"),
    "cell.csv": (b"sentence_id,word,tag\n1,Ann,B-PER\n1,", b"x", b",O\n"),
    "quoted.csv": (b'sentence_id,word,tag\n1,Ann,B-PER\n1,"', b"x", b'",O\n'),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG)
def test_a_line_of_100_mb_takes_little_memory(tmp_path, name):
    """Refused with the line number, within 200 MB above the memory after importing."""
    head, unit, tail = LONG[name]
    path = tmp_path / name
    with path.open("wb") as file:
        file.write(head)
        for _ in range(100):
            file.write(unit * (MB // len(unit)))
        file.write(tail)
    result = read_apart(path, LIMIT)
    assert f"{path}, line " in result["told"]
    assert len(result["told"]) < 1000
    assert result["peak"] - result["before"] < 200 * MB
    assert result["seconds"] < 60


@pytest.mark.slow
@pytest.mark.shared
def test_a_million_sentences_are_read_fast(shared_data, tmp_path):
    """The shared corpora repeated: at least 300,000 words per second on one core."""
    texts = []
    for name in ("wikigold/wikigold", "wnut17/train", "sec_filings/train"):
        rows = (shared_data / f"{name}.conll").read_text("utf-8").split("\n")
        pairs = [row.replace("\t", " ").split(" ") if row.strip() else [] for row in rows]
        pairs = [pair for pair in pairs if pair[:1] != ["-DOCSTART-"]]
        texts.append("\n".join(f"{pair[0]} {pair[-1]}" if pair else "" for pair in pairs))
    text = "\n\n".join(texts) + "\n\n"
    path = tmp_path / "million.conll"
    path.write_text(text, "utf-8")
    once = read_apart(path)
    times = -(-1_000_000 // once["sentences"])
    with path.open("w", encoding="utf-8") as file:
        for _ in range(times):
            file.write(text)
    result = read_apart(path)
    assert result["sentences"] == once["sentences"] * times >= 1_000_000
    assert result["words"] == once["words"] * times
    rate = result["words"] / result["seconds"]
    print(f"{result['sentences']:,} sentences, {result['words']:,} words, {path.stat().st_size:,} "
          f"bytes: {rate:,.0f} words/s, peak {result['peak'] / MB:,.0f} MB")  # fmt: skip
    assert rate >= 300_000
    assert result["peak"] < 6_000 * MB


def test_the_child_reports_what_it_read(tmp_path):
    path = Path(tmp_path / "a.conll")
    path.write_text("Ann B-PER\nleft O\n\nRome B-LOC\n")
    result = read_apart(path, LIMIT)
    assert (result["words"], result["sentences"], result["told"]) == (3, 2, "")
    assert result["peak"] <= resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10
