"""`train.py --inspect` on exports of annotation tools, run as a user would."""

import csv
import json
import runpy
import sys
from pathlib import Path

import pytest

TRAIN = Path(__file__).resolve().parent.parent / "scripts" / "train.py"
TEXT = "Oda lives in Tarvik."


def region(start, end, text, *labels, to="text", **more):
    value = {"start": start, "end": end, "text": text, "labels": list(labels), **more}
    return {"value": value, "from_name": "label", "to_name": to, "type": "labels"}


def task(number, *results, data=None, **more):
    made = {"id": number, "result": list(results), "was_cancelled": False, **more}
    return {"id": number, "data": data or {"text": TEXT}, "annotations": [made]}


GOOD = [region(0, 3, "Oda", "PER"), region(13, 19, "Tarvik", "LOC")]
ANSWER = {**region(0, 3, ["Q7"]), "type": "textarea", "from_name": "link"}
SUBJECT = region(0, 6, "Tarvik", "LOC", to="subject")
FIELDS = {"subject": "Tarvik news", "text": TEXT}
ROWS = [
    {"annotation_id": 1, "annotator": 1, "id": 1, "lead_time": 2.5, "text": TEXT}
    | {"label": [r["value"] for r in GOOD]},
    {"annotation_id": 2, "annotator": 1, "id": 2, "lead_time": 2.5, "text": "Nobody here."},
    {"annotation_id": None, "annotator": 1, "id": 3, "lead_time": None, "text": TEXT},
]
BINARY = {"_input_hash": 2, "_is_binary": True, "answer": "accept", "text": TEXT}
MARKED = {"_input_hash": 1, "answer": "accept", "text": "Nobody here."}

# records in the file, flags -> (sentences, words, entities), part of the report
CASES = {
    "skipped": (
        [task(1, *GOOD), task(2, was_cancelled=True)],
        [],
        (1, 5, 2),
        "1 task skipped by annotators is left out (task 2)",
    ),
    "ground-truth": (
        [
            {
                **task(1),
                "annotations": [{"result": []}, {"result": GOOD, "ground_truth": True}],
            }
        ],
        [],
        (1, 5, 2),
        "the one marked as ground truth is read (task 1)",
    ),
    "per-region": ([task(1, *GOOD, ANSWER)], [], (1, 5, 2), "1 answer about regions"),
    "one-field": (
        [task(1, SUBJECT, *GOOD, data=FIELDS)],
        ["--text-column", "subject"],
        (1, 2, 1),
        "2 regions in fields other than subject are left out",
    ),
    "utf-16": (
        [task(1, region(3, 5, "塔城", "LOC"), data={"text": "😀在塔城工作"})],
        [],
        (1, 6, 1),
        "1 text has spans counted in UTF-16 units",
    ),
    "two-labels": (
        [task(1, region(0, 3, "Oda", "PER", "ORG"))],
        ["--span-policy", "widen"],
        (1, 5, 1),
        "1 region with several labels is read with their first label (task 1)",
    ),
    "json-min": (ROWS, [], (2, 8, 2), "(predictions do not count) (task 3)"),
    "prodigy": ([BINARY, MARKED], [], (1, 3, 0), "accepting or rejecting one span"),
    "doccano": (
        [{"text": "😀在塔城", "label": [[3, 5, "LOC"]]}],
        ["--span-offsets", "utf-16"],
        (1, 4, 1),
        "",
    ),
    "edge": ([{"text": "Tarvik\u200b too", "label": [[0.0, 6.0, "LOC"]]}], [], (1, 2, 1), ""),
}


def run(tmp_path, monkeypatch, capsys, path, *flags):
    """Return (exit status, stdout with white space collapsed, stderr) of the script."""
    monkeypatch.chdir(tmp_path)
    command = ["train.py", "--inspect", "--model", "flaxner:tiny", "--train-file", path.name]
    monkeypatch.setattr(sys, "argv", [*command, *flags])
    status = 0
    try:
        runpy.run_path(str(TRAIN), run_name="__main__")
    except SystemExit as end:
        status = end.code or 0
    out, error = capsys.readouterr()
    return status, " ".join(out.split()), error


def write(tmp_path, records):
    path = tmp_path / "export.json"
    path.write_text(json.dumps(records, ensure_ascii=False), "utf-8")
    return path


@pytest.mark.parametrize("name", CASES)
def test_what_is_read_and_reported(tmp_path, monkeypatch, capsys, name):
    records, flags, counts, said = CASES[name]
    path = write(tmp_path, records)
    status, out, error = run(tmp_path, monkeypatch, capsys, path, *flags)
    assert (status, error) == (0, "")
    assert " ".join(("train", *map(str, counts))) in out
    assert said in out
    assert "left out" in out or "left out" not in said


def test_label_studio_csv(tmp_path, monkeypatch, capsys):
    path = tmp_path / "export.csv"
    names = sorted({name for row in ROWS for name in row})
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, quoting=csv.QUOTE_NONNUMERIC)
        writer.writeheader()
        for row in ROWS:
            writer.writerow({k: json.dumps(v) if k == "label" else v for k, v in row.items()})
    status, out, _ = run(tmp_path, monkeypatch, capsys, path)
    assert status == 0
    assert "train 2 8 2" in out
    assert "(task 3)" in out


def test_a_span_not_found_in_the_text_is_a_one_line_error(tmp_path, monkeypatch, capsys):
    path = write(tmp_path, [task(7, region(0, 6, "Lunsby", "LOC"))])
    status, _, error = run(tmp_path, monkeypatch, capsys, path)
    assert status == 2
    assert error.count("\n") == 1
    assert "export.json, line 1: task 7: the span 0 to 6 (LOC) claims to be 'Lunsby'" in error
