"""Damaged corpora of every format: each must be read, or refused with a one-line error.

    python -m tests.fuzz --cases 100000

Damages files in small steps (bytes deleted, duplicated or changed, pieces of syntax inserted) or
assembles them from pieces of syntax. Each must give a corpus, or a `ValueError` of one line that
names the file and the line, within SLOW seconds; the others are printed with their bytes, and the
exit code is then 1.
"""

import argparse
import collections
import contextlib
import gzip
import io
import json
import random
import re
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path

from flaxner.data.corpus import read_corpus
from flaxner.data.readers import ReadOptions
from flaxner.data.readers.offsets import COUNTINGS

SLOW = 5.0  # seconds of CPU time for a file of a few kilobytes; more counts as a hang
TEXTS = {
    "a.conll": "-DOCSTART- -X- O O\n\nAnn N x B-PER\nleft V x O\n\nRome N x B-LOC\n",
    "b.conll": "Ann\tB-PER\r\nl\u00a0\tO\n\t\n# c\nX\tI-LOC\n",
    "c.conllu": "# id\n1\tAnn\tB-PER\t-\n2\tx\tO\t-\n\n1\tb\tO\t-\n",
    "d.conllu": "1-2\tx\t_\t_\n1\tAnn\tN\tNER=B-PER|a=b\n2.1\te\tV\t_\n\n1\tb\tN\tNER=B-LOC\n",
    "e.txt": "Ann S-PER\nleft O\n\nNew B-LOC\nYork E-LOC\n",
    "f.jsonl": '{"tokens": ["a", "b"], "ner_tags": ["B-X", "O"]}\n{"text": "a bc", "label": '
    '[[0, 1, "X"]]}\n',
    "g.json": '[{"data": {"text": "Ann x"}, "annotations": [{"result": [{"value": {"start": 0, '
    '"end": 3, "labels": ["P"]}}]}]},\n {"text": "b", "spans": []}]',
    "h.jsonl": '{"text": "Ann x", "tokens": [{"text": "Ann", "start": 0, "end": 3}, {"text": "x", '
    '"start": 4, "end": 5}], "spans": [{"start": 0, "end": 3, "label": "P"}], "answer": "accept"}\n'
    '["b c", {"entities": [[0, 1, "X"]]}]\n{\n  "text": "b",\n  "entities": []\n}\n',
    "i.csv": 'sentence_id,word,tag\n1,Ann,B-PER\n1,"x, y",O\n2,b,O\n',
    "k.jsonl": '{"sid": 1, "word": "a", "tag": "B-X"}\n{"sid": 2, "word": "b", "tag": "O"}\n',
    "l.conll": "Ann N B-NP B-PER\nleft V B-VP O\n\tO\n\nRome N B-NP 0\n",
    "m.txt": "Ann\tperson\nleft\tO\n\nx\tO\n",
    "j.tsv": "word\ttag\na\tB-X\n\nb\tO\n",
    "p.csv": '"annotation_id","annotator","id","label","lead_time","text"\n1,1,1,"[{""start"": 0, '
    '""end"": 3, ""text"": ""Ann"", ""labels"": [""P""]}]",1.5,"Ann x"\n1,1,2,"",1,"b"\n',
}
# Exports of annotation tools, whose single values are damaged too.
EXPORTS = {
    "q.jsonl": [
        {
            "id": 1,
            "data": {"text": "Ann x \U0001f600", "title": "b", "talk": [{"text": "Ann"}]},
            "annotations": [
                {
                    "id": 1,
                    "was_cancelled": False,
                    "ground_truth": True,
                    "result": [
                        {
                            "value": {"start": 0, "end": 3, "text": "Ann", "labels": ["P"]},
                            **{"from_name": "l", "to_name": "text", "type": "labels"},
                        },
                        {
                            "value": {"start": "0", "end": "0", "startOffset": 0, "endOffset": 3}
                            | {"text": "Ann", "paragraphlabels": ["P"]},
                            **{"from_name": "m", "to_name": "talk", "type": "paragraphlabels"},
                        },
                    ],
                }
            ],
            "predictions": [],
        },
    ],
    "r.jsonl": [
        {
            **{"id": 1, "text": "Ann x", "annotator": 1, "annotation_id": 1, "lead_time": 2.5},
            "label": [{"start": 0, "end": 3, "text": "Ann", "labels": ["P"]}],
        },
        {"id": 2, "text": "b", "annotator": 1, "annotation_id": None, "lead_time": None},
    ],
    "s.jsonl": [
        {
            **{"text": "Ann x", "_input_hash": 1, "_is_binary": False, "answer": "accept"},
            "tokens": [{"text": "Ann", "start": 0, "end": 3, "id": 0}],
            "spans": [{"start": 0, "end": 3, "label": "P", "text": "Ann"}],
        },
        {"text": "b \U0001f600 c", "label": [[4, 5, "X"]]},
    ],
    "t.jsonl": [
        {"id": 0, "paragraphs": [{"sentences": [{"tokens": [{"orth": "Ann", "ner": "U-P"}]}]}]},
        {
            **{"text": "Ann x", "ents": [{"start": 0, "end": 3, "label": "P"}]},
            "sents": [{"start": 0, "end": 5}],
            "tokens": [{"id": 0, "start": 0, "end": 3}, {"id": 1, "start": 4, "end": 5}],
            "spans": {"sc": [{"start": 0, "end": 3, "label": "P"}]},
        },
    ],
}
VALUES = [None, True, 0, -1, 3, 99, 2.0, 0.5, "", "x", "3", [], {}, [[]], [None], {"start": 1}]
PIECES = [
    *(b"\n", b"\t", b" ", b"\r", b"\0", b"\xff", b"{", b"[", b'"', b",", b"#", b"O", b"B-", b"I-X"),
    *(
        b"]",
        b"}",
        b":",
        b"|",
        b"=",
        b"-",
        b".",
        b"\\",
        b"\\ud800",
        b"null",
        b"true",
        b"-1",
        b"1e999",
    ),
    *(
        b"-DOCSTART-",
        b"# newdoc",
        b"\xe2\x80\xa8",
        b"\xef\xbb\xbf",
        b"\xc2\xa0",
        b"\xf0\x9f\x98\x80",
    ),
    *(b"9" * 5000, b"[[" * 600, b'{"a":' * 600, b"PAR1", b"ARROW1\0\0", b"\x1f\x8b", b"\xff\xfe"),
    *(b'"text"', b'"spans"', b'"tokens"', b'"ner_tags"', b'"start"', b"NER=B-X", b"\xed\xa0\x80"),
]


def binary_seeds():
    """Return Parquet, Arrow, DocBin (if spaCy is installed) and gzip files from their libraries."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    features = {"tags": {"feature": {"names": ["O", "B-X"], "_type": "ClassLabel"}}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    table = pa.table({"tokens": [["a", "b"], ["c"]], "tags": [[1, 0], [0]]})
    table = table.replace_schema_metadata(metadata)
    seeds = {"m.conll.gz": gzip.compress(TEXTS["a.conll"].encode(), mtime=0)}
    for name, writer in (("k.arrow", pa.ipc.new_file), ("l.arrow", pa.ipc.new_stream)):
        sink = io.BytesIO()
        with writer(sink, table.schema) as file:
            file.write_table(table)
        seeds[name] = sink.getvalue()
    sink = io.BytesIO()
    pq.write_table(table, sink)
    seeds["n.parquet"] = sink.getvalue()
    with contextlib.suppress(ImportError):
        import spacy
        from spacy.tokens import DocBin, Span

        document = spacy.blank("xx")("Ann left Rome")
        document.ents = [Span(document, 0, 1, "PER")]
        seeds["o.spacy"] = DocBin(docs=[document]).to_bytes()
    return seeds


def replaced(rng, value):
    """Return a JSON value with one of its nested values removed or replaced."""
    if not isinstance(value, (dict, list)) or not value or rng.random() < 0.15:
        return rng.choice(VALUES)
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = rng.choice(keys)
    made = value.copy()
    made[key] = replaced(rng, value[key])
    if rng.random() < 0.1:
        del made[key]
    return made


def export(rng):
    """Return (name, content) of an annotation tool's file with one or two values changed."""
    name = rng.choice(sorted(EXPORTS))
    records = EXPORTS[name] * rng.choice((1, 1, 2))
    for _ in range(rng.choice((1, 1, 2))):
        at = rng.randrange(len(records))
        records = [*records[:at], replaced(rng, records[at]), *records[at + 1 :]]
    return name, "".join(json.dumps(record) + "\n" for record in records).encode()


def damaged(rng, seeds):
    """Return (name, content, options) of a case."""
    if rng.random() < 0.3:
        name, data = export(rng)
        return name, data, ReadOptions(**reading(rng))
    name = rng.choice(sorted(seeds))
    data = bytearray(seeds[name])
    if rng.random() < 0.1:
        data = bytearray(b"".join(rng.choices(PIECES, k=rng.randint(1, 30))))
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        at, kind = rng.randrange(len(data) + 1), rng.randrange(5)
        if kind == 0:
            data[at:at] = rng.choice(PIECES)
        elif kind == 1:
            del data[at : at + rng.randint(1, 12)]
        elif kind == 2 and at < len(data):
            data[at] = rng.randrange(256)
        elif kind == 3:
            other = rng.randrange(len(data) + 1)
            data[at:at] = data[other : other + rng.randint(1, 20)]
        elif rng.random() < 0.3:
            del data[at:]
    return name, bytes(data), ReadOptions(**reading(rng))


def reading(rng):
    """Return random options for reading a case."""
    options = {}
    if rng.random() < 0.2:
        options["span_policy"] = rng.choice(["widen", "drop"])
    if rng.random() < 0.1:
        options["format"] = rng.choice(["conll", "json", "table", "span-table", "parquet"])
    if rng.random() < 0.1:
        options["scheme"] = "IO"
    if rng.random() < 0.05:
        options["tag_column"] = rng.choice(["tag", "-1", "1", "99", "ner_tags"])
    if rng.random() < 0.05:
        options["text_column"] = rng.choice(["text", "title", "talk"])
    if rng.random() < 0.05:
        options["spans_column"] = rng.choice(["label", "l", "sc", "spans"])
    if rng.random() < 0.05:
        options["span_offsets"] = rng.choice(sorted(COUNTINGS))
    return options


class Hung(BaseException):
    """A file that is still being read after SLOW seconds."""


def _hung(number, frame):
    raise Hung


def fault_of(path, options):
    """Return the outcome ("corpus", "refused", "hung" or "crashed") and the fault or None."""
    signal.setitimer(signal.ITIMER_PROF, SLOW)
    try:
        corpus = read_corpus(path, options=options)
        whole = all(len(s.words) == len(s.tags) and all(s.words) for s in corpus)
        "".join(word for s in corpus for word in (*s.words, *s.tags)).encode()
        return "corpus", None if whole and len(corpus) else "words and tags do not match"
    except ValueError as error:
        text = str(error)
        if "\n" in text or len(text) > 1000:
            return "refused", f"no single sentence: {text[:300]!r}"
        if not re.match(rf"{re.escape(str(path))}, line \d+: .", text):
            return "refused", f"no file and line: {text[:300]!r}"
        return "refused", None
    except Hung:
        return "hung", f"still reading after {SLOW} s"
    except Exception as error:
        return "crashed", f"{type(error).__name__}: {error}"[:300]
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def fuzz(cases, seed=0, tell=print):
    """Read `cases` damaged files; return a count of outcomes, and faults with an example each."""
    rng = random.Random(seed)
    seeds = {name: text.encode() for name, text in TEXTS.items()} | binary_seeds()
    outcomes, faults = collections.Counter(), {}
    signal.signal(signal.SIGPROF, _hung)
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in range(1, cases + 1):
            name, data, options = damaged(rng, seeds)
            path = Path(folder) / name
            path.write_bytes(data)
            outcome, fault = fault_of(path, options)
            outcomes[outcome] += 1
            if fault is not None:
                key = re.sub(r"\d+", "N", fault)[:120]
                faults.setdefault(key, (fault, name, options, data))
            if number % 10000 == 0:
                tell(f"{number} files, {dict(outcomes)}, {time.monotonic() - begin:.0f} s")
    return outcomes, list(faults.values())


def main(arguments=None):
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    outcomes, faults = fuzz(given.cases, given.seed)
    for fault, name, options, data in faults:
        print(f"FAULT {fault}\n  {name} {options}\n  {data[:1000]!r}")
    print(f"{given.cases} files: {dict(outcomes)}; {len(faults)} kinds of faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
