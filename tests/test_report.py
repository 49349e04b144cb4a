"""The report of a run: its figures, its size, its contents, and that it never fails a run."""

import dataclasses
import html
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from flaxner import TrainConfig, pipeline, train
from flaxner.config.files import load_settings
from flaxner.data.labels import LabelScheme
from flaxner.data.tags import parse_tag, tags_to_spans
from flaxner.evaluation.metrics import score
from flaxner.evaluation.mistakes import (
    BOUNDARY,
    KINDS,
    MISSED,
    SPURIOUS,
    TYPE,
    Beside,
    confusion,
)
from flaxner.evaluation.predictions import Predicted, read_predictions
from flaxner.evaluation.word_scores import WordScores
from flaxner.files.records import RECORD, is_ours, read_record
from flaxner.publishing.conversion import convert
from flaxner.reporting.browsing import browsable
from flaxner.reporting.charts import MOST_POINTS, Axis, line_chart
from flaxner.reporting.judged import judge
from flaxner.reporting.measures import grouped_scores
from flaxner.reporting.page import check_output, page, write_page, write_reports
from flaxner.reporting.record import RunRecord, read_metrics, read_runs
from flaxner.runs.folder import RunFolder
from flaxner.runs.paths import RunPaths
from tests import scripts
from tests.browser import HOSTILE
from tests.conll import QUICK, sentences, write_conll
from tests.hostile.trees import all_files, plant, unchanged

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "report.py"


def predicted(text, gold, tags):
    words = tuple(text.split())
    return Predicted(words, tuple(gold.split()), tuple(tags.split()))


def test_every_kind_of_error_by_hand():
    rows = [
        predicted("Ann met Bob", "B-P O B-P", "B-P O O"),  # missed
        predicted("He left", "O O", "O B-L"),  # spurious
        predicted("New York", "B-L I-L", "B-P I-P"),  # type
        predicted("the New York", "O B-L I-L", "B-L I-L I-L"),  # border
        predicted("New York", "B-L I-L", "B-P O"),  # both
        predicted("Ann Bob", "B-P B-P", "B-P I-P"),  # one for two
        predicted("New York City", "B-L I-L I-L", "B-R B-L I-L"),  # two for one
    ]
    kinds = [[error.kinds for error in sentence.errors()] for sentence in judge(rows, None)]
    both = (TYPE, BOUNDARY)
    assert kinds == [
        *([[(MISSED,)], [(SPURIOUS,)], [(TYPE,)], [(BOUNDARY,)], [both]]),
        [(BOUNDARY,), (BOUNDARY,)],
        [(BOUNDARY,)],
    ]


def test_the_errors_and_the_confusion_table_count_alike():
    rows = random_predictions(200, np.random.default_rng(2))
    listed = [error.kinds for sentence in judge(rows, None) for error in sentence.errors()]
    counts, cells = Counter(kind for kinds in listed for kind in kinds), Counter()
    for (annotated, found), count in confusion(rows).items():
        if annotated is Beside.UNANNOTATED:
            cells[SPURIOUS] += count
        elif isinstance(found, Beside):
            cells[found.value] += count
        elif annotated != found:
            cells[TYPE] += count
    cells[TYPE] += listed.count((TYPE, BOUNDARY))  # in the table, these are wrong boundaries
    assert counts == cells
    assert set(counts) == set(KINDS)


def test_a_page_parses_every_tag_once(monkeypatch):
    parsed = []
    counted = "flaxner.data.tags.parse_tag"
    monkeypatch.setattr(counted, lambda tag: parsed.append(tag) or parse_tag(tag))
    rows = [predicted("Ann met Bob", "B-P O B-P", "B-P O O") for _ in range(20)]
    sure = WordScores(np.full(60, 0.9, np.float32), None)
    config, scheme = TrainConfig(dataset="x", output_dir="x"), LabelScheme(("O", "B-P", "I-P"))
    page([RunRecord(Path("x"), config, [], {}, {"test": rows}, {"test": sure}, scheme, set())])
    assert len(parsed) == 20 * 2 * (3 + 1), "sentences, annotated and found, words and the end"


def random_predictions(count, rng):
    tags = ("O", "O", "O", "B-PER", "I-PER", "B-LOC", "I-LOC")
    rows = []
    for _ in range(count):
        size = int(rng.integers(1, 50))
        gold = rng.choice(tags, size)
        wrong = rng.random(size) < 0.2
        given = np.where(wrong, rng.choice(tags, size), gold)
        words = rng.choice(["Ann", "Bob", "of", "York"], size)
        rows.append(Predicted(tuple(words.tolist()), tuple(gold.tolist()), tuple(given.tolist())))
    return rows


def test_scores_are_seqevals_and_intervals_hold_them():
    rows = random_predictions(120, np.random.default_rng(1))
    groups = grouped_scores(judge(rows, None), {("Ann",)})
    gold, tags = [list(r.gold) for r in rows], [list(r.tags) for r in rows]
    report = score(gold, tags, words_in_corpus=sum(map(len, gold)))
    (whole,) = groups["all"]
    for name in ("precision", "recall", "f1"):
        assert whole[name] == pytest.approx(getattr(report, f"overall_{name}"))
    by_type = {row["name"]: row for row in groups["type"]}
    for kind, row in report.per_type.items():
        for name in ("precision", "recall", "f1"):
            assert by_type[kind][name] == pytest.approx(row[name])
        assert by_type[kind]["annotated"] == row["support"]
    for title, parts in groups.items():
        assert sum(row["annotated"] for row in parts) == whole["annotated"], title
        assert sum(row["found"] for row in parts) == whole["found"], title
        assert all(row["low"] <= row["f1"] <= row["high"] for row in parts), title
    assert [row["name"] for row in groups["seen in training"]] == ["seen", "not seen"]
    names = [row["name"] for row in groups["words of the sentence"]]
    assert names == ["1 to 10", "11 to 20", "21 to 40", "over 40"]
    again = grouped_scores(judge(rows, None), {("Ann",)})
    assert again == groups, "repeated calls must give the same numbers"


def test_an_interval_is_as_wide_as_theory_says():
    """With half of 400 one-word sentences right, F1 is 0.5 and the interval is the binomial's."""
    right = predicted("a", "B-P", "B-P")
    wrong = predicted("a", "B-P", "B-L")
    (row,) = grouped_scores(judge([right, wrong] * 200, None), None)["all"]
    assert row["f1"] == 0.5
    assert row["low"] == pytest.approx(0.5 - 1.96 * 0.025, abs=0.01)
    assert row["high"] == pytest.approx(0.5 + 1.96 * 0.025, abs=0.01)


def test_a_split_without_entities_is_accepted():
    groups = grouped_scores(judge([predicted("a b", "O O", "O O")], None), set())
    assert groups["all"] == groups["type"] == []


def test_long_sentences_are_cut_around_their_errors():
    size = 1000
    gold = ["O"] * size
    gold[5], gold[700] = "B-P", "B-P"
    row = Predicted(tuple(f"w{i}" for i in range(size)), tuple(gold), ("O",) * size)
    made = browsable(judge([row], np.linspace(0, 1, size)), set())
    assert [(item["c"], len(item["w"]), item["m"]) for item in made["items"]] == [
        (660, 81, 259),
        (0, 46, 954),
    ]
    assert all(item["w"][item["a"][0][0]] in ("w5", "w700") for item in made["items"])


def test_omitted_errors_are_counted():
    rows = random_predictions(50, np.random.default_rng(0))
    whole = browsable(judge(rows, None), None)
    some = browsable(judge(rows, None), None, budget=4000)
    kept = sum(len(item["e"]) for item in some["items"])
    assert kept + some["left_out"] == some["errors"] == whole["errors"]
    assert whole["left_out"] == 0 < kept < whole["errors"]


def test_axes_have_round_numbers():
    assert [text for _, text in Axis(0, 1, 0, 100).ticks()] == [
        "0.0",
        "0.2",
        "0.4",
        "0.6",
        "0.8",
        "1.0",
    ]
    assert [text for _, text in Axis(0, 1251, 0, 100).ticks()] == ["0", "500", "1,000"]
    assert [text for _, text in Axis(0, 3.3e6, 0, 100).ticks()] == ["0M", "1M", "2M", "3M"]
    assert [text for _, text in Axis(0, 7.2e5, 0, 100).ticks()][:3] == ["0.0M", "0.2M", "0.4M"]
    assert [text for _, text in Axis(0, 5e-5, 0, 1).ticks()][:2] == ["0", "1.0e-05"]
    assert Axis(3, 3, 0, 100).at(3) == 50, "a single value is allowed"
    assert Axis(0, 0, 0, 100).ticks()[0] == (0, "0.0"), "an F1 of 0 needs no negative numbers"
    (_, _, points, *_), *_ = line_chart([("x", [(i, i) for i in range(10_000)])])["lines"]
    assert len(points.split()) <= MOST_POINTS + 1
    assert line_chart([("x", [])]) == {}
    for steps in (100, 2504, 100_010, 450_010):  # the last label ends within the drawing
        made = line_chart([("x", [(0, 0), (steps, 1)])])
        at, text = made["x_ticks"][-1]
        assert at + 13 * 0.6 * len(text) / 2 <= made["width"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run with hostile words and a hostile path; it learns little and so makes many errors."""
    root = tmp_path_factory.mktemp("corpus")
    test = [*sentences(40, shift=2), ([HOSTILE, "[red]", "\u202eBerlin"], ["B-PER", "O", "B-LOC"])]
    files = {
        "train_file": write_conll(root / "train.conll", sentences(48)),
        "validation_file": write_conll(root / "dev.conll", sentences(40, shift=1)),
        "test_file": write_conll(root / "test.conll", test),
    }
    paths = {name: str(path) for name, path in files.items()}
    config = TrainConfig(**{**QUICK, **paths, "epochs": 2.0, "output_dir": str(root / "a <b> run")})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(SCRIPT.with_name("train.py"))])
        train(config, console=Console(quiet=True))
    return root / "a <b> run"


def held(made):
    """Return the errors of every split on a page."""
    found = re.findall(r'<script type="application/json">(.*?)</script>', made, re.DOTALL)
    return [json.loads(text) for text in found]


def test_a_run_writes_a_self_contained_page(folder):
    made = (folder / "report.html").read_text("utf-8")
    assert is_ours(folder, "report.html", read_record(folder))
    results = json.loads((folder / "results.json").read_text("utf-8"))
    assert f"{100 * results['test']['overall_f1']:.2f}" in made
    for what in ("Learning curves", "Can the scores be trusted", "wrong boundary", "jax version"):
        assert what in made
    assert "http" not in made.replace("http-equiv", ""), "the page must load nothing from elsewhere"
    rows = read_predictions(folder / "predictions" / "test.conll")
    wrong = sum(tags_to_spans(r.gold) != tags_to_spans(r.tags) for r in rows)
    test, validation = held(made)
    kinds = r"(\d+) missed, (\d+) spurious, (\d+) wrong type, (\d+) wrong boundary(?: \((\d+) of)?"
    for split, counts in zip((test, validation), re.findall(kinds, made), strict=True):
        *single, both = (int(count or 0) for count in counts)
        assert sum(single) - both == split["errors"]
    assert len(test["items"]) == test["sentences"] == wrong > 5
    assert validation["known"]
    assert all(error["s"] is not None for item in test["items"] for error in item["e"])


def test_hostile_words_do_not_run_as_code(folder):
    made = (folder / "report.html").read_text("utf-8")
    assert made.count("<script") == 4, "two of errors, one for colours, one with the code"
    assert not {"\x1b", "\u202e"} & set(made)
    assert html.escape("a <b> run") in made
    assert "a <b> run" not in made
    words = {word for data in held(made) for item in data["items"] for word in item["w"]}
    assert {HOSTILE, "[red]", "\\u202eBerlin"} <= words


def test_every_command_on_the_page_names_a_script(folder):
    made = html.unescape((folder / "report.html").read_text("utf-8"))
    named = set(re.findall(r"python (scripts/\w+\.py)", made))
    assert len(named) == 4
    assert all((SCRIPT.parent.parent / name).is_file() for name in named)


def test_a_run_named_by_dots_is_repeated_beside_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert RunPaths("runs/ner/").beside("-again") == "runs/ner-again"
    assert RunPaths(".").beside("-again") == f"{tmp_path}-again"


def test_the_script_writes_the_same_page_again(folder, tmp_path):
    kept = (folder / "report.html").read_text("utf-8")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{folder / 'report.html'}\n"
    assert (folder / "report.html").read_text("utf-8") == kept
    assert is_ours(folder, "report.html", read_record(folder))
    wrong = scripts.run("report.py", tmp_path)
    assert wrong.returncode == 2
    assert (
        wrong.stderr == f"report.py: {tmp_path} is not a run: name the output folder of train.py\n"
    )


def test_runs_side_by_side(folder, tmp_path):
    path = write_reports([folder, folder], tmp_path / "both.html")
    made = path.read_text("utf-8")
    assert "2 runs side by side" in made
    assert "F1 on test, by run" in made
    assert len(held(made)) == 4
    check_output(path)
    (tmp_path / "mine.html").write_text("<p>mine</p>")
    with pytest.raises(ValueError, match="not a flaxner page"):
        write_reports([folder, folder], tmp_path / "mine.html")


def test_a_run_has_its_colour_in_charts_that_another_is_missing_from(folder):
    (record,) = read_runs(folder)
    plain = [row for row in record.metrics if "split" not in row]
    names = [Path(name) for name in ("unvalidated", "validated")]
    pair = [
        dataclasses.replace(record, path=names[0], metrics=plain, speed=()),
        dataclasses.replace(record, path=names[1]),
    ]
    made = page(pair)
    keys = re.findall(r'<i style="border-top:3px solid (#\w+)"></i>(\w+)<', made)
    drawn = re.findall(r'style="stroke:(#\w+)"><title>(\w+): ', made)
    assert len(keys) == 2
    assert set(drawn) == set(keys)


def test_folds_are_in_the_order_of_their_numbers(folder, tmp_path):
    (tmp_path / "whole").mkdir()
    shutil.copyfile(folder / "config.toml", tmp_path / "whole" / "config.toml")
    for number in (10, 9, 1):
        shutil.copytree(folder, tmp_path / "whole" / f"fold-{number}")
    (tmp_path / "whole" / "checkpoints").mkdir()
    names = [record.path.name for record in read_runs(tmp_path / "whole")]
    assert names == ["fold-1", "fold-9", "fold-10"]


def test_old_and_unfinished_runs_have_pages(folder, tmp_path):
    old = tmp_path / "old"
    shutil.copytree(folder, old)
    assert "tokens/s by step" in page(read_runs(old))
    (old / "speed.jsonl").unlink()
    (old / "predictions" / "test.safetensors").unlink()
    results = json.loads((old / "results.json").read_text())
    del results["calibration"], results["train"]["versions"]
    (old / "results.json").write_text(json.dumps(results))
    (record,) = read_runs(old)
    assert "the model's confidence on test is not available" in record.notes[0]
    made = page([record])
    assert held(made)[0]["items"][0]["e"][0]["s"] is None
    assert "tokens/s by step" not in made
    for name in ("results.json", "predictions"):
        shutil.rmtree(old / name) if (old / name).is_dir() else (old / name).unlink()
    with (old / "metrics.jsonl").open("a") as file:
        file.write('{"step": 99, "lo')
    (record,) = read_runs(old)
    made = page([record])
    assert made.index("the run has not finished") < made.index("Learning curves")
    assert "validation F1" in made
    assert "--resume" in made
    assert "serve" not in made, "there is no model yet"


def test_names_of_a_corpus_that_has_changed_since_are_not_those_seen_in_training(folder, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(folder, run)
    train_file = write_conll(tmp_path / "edited.conll", [*sentences(48), (("Zoe",), ("B-PER",))])
    config = load_settings(run / "config.toml")
    (run / "config.toml").write_text(
        TrainConfig(**config).replace(train_file=(str(train_file),)).to_toml()
    )
    (record,) = read_runs(run)
    assert record.known is None
    told = f"the names seen in training are not available: {train_file} has changed since the run"
    assert told in record.notes
    results = json.loads((run / "results.json").read_text())
    del results["train"]["names_digest"]
    (run / "results.json").write_text(json.dumps(results))
    assert read_runs(run)[0].known, "earlier versions did not record the names"


def test_invalid_metrics_are_reported(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": "x"}\n{"step": 3}\n')
    with pytest.raises(ValueError, match="line 2"):
        read_metrics(tmp_path / "metrics.jsonl")


def test_a_failure_to_write_the_page_is_one_sentence(folder):
    """Called at the end of a run, which must go on whatever happens."""
    kept = (folder / "report.html").read_bytes()
    (said,) = write_page(RunFolder(folder), lambda: 1 / 0)
    assert said.startswith(f"could not write {folder / 'report.html'} (ZeroDivisionError: ")
    assert (folder / "report.html").read_bytes() == kept


def test_an_edited_page_is_kept_and_overwrite_removes_the_page(folder, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(folder, copy)
    (copy / "report.html").write_text("mine")
    write_reports([copy])
    assert (copy / "report.html.before-1").read_text() == "mine"
    run = RunFolder(copy)
    run.check(overwrite=True, resume=False)
    run.claim(overwrite=True)
    assert not (copy / "report.html").exists()
    run.ended()
    run.release()
    assert not list(copy.glob(".replaced*/report.html"))


def test_pages_lie_beside_the_files_of_others(folder, tmp_path, monkeypatch):
    copy = shutil.copytree(folder, tmp_path / "run")
    others = [*plant(copy), *plant(tmp_path)]
    before = [path for path in all_files(tmp_path) if path != copy / "report.html"]
    monkeypatch.chdir(tmp_path)
    with unchanged(*(path for path in before if path.name not in (RECORD, ".lock-holder"))):
        write_reports([copy])
        write_reports([copy, copy], "pages.html")
        write_reports([copy, copy])
    (tmp_path / "report.html").write_text("mine")
    with unchanged(tmp_path):
        for target in (None, others[0], copy / "src"):
            with pytest.raises(ValueError, match=r"choose another file|name a file for the page"):
                write_reports([copy, copy], target)


def test_the_temperature_is_written_where_it_is_used(folder):
    results = json.loads((folder / "results.json").read_text())
    heat = results["calibration"]["temperature"]
    assert heat > 0
    assert (
        json.loads((folder / "hub" / "config.json").read_text())["flaxner"]["temperature"] == heat
    )
    assert convert(folder).folder == folder / "hub"
    assert (
        json.loads((folder / "hub" / "config.json").read_text())["flaxner"]["temperature"] == heat
    )
    other = convert(folder, step=6, output_dir=folder.parent / "six")
    if not other.scored:
        assert "temperature" not in (other.folder / "config.json").read_text()
    text = "Angela Merkel met Chen in Berlin ."
    words = {"aggregation_strategy": "word", "decoder": "argmax"}
    assert pipeline("ner", model=folder / "hub", calibrated=True, **words)(text) is not None


def test_a_page_for_conll_2003_is_small():
    """3,453 sentences, about 45,000 words; one tag in seven is predicted at random."""
    rng = np.random.default_rng(0)
    tags = np.asarray(["O"] * 16 + ["B-PER", "I-PER", "B-LOC", "B-ORG", "I-ORG", "B-MISC"])
    rows = []
    for _ in range(3453):
        size = int(rng.integers(1, 26))
        gold = rng.choice(tags, size)
        given = np.where(rng.random(size) < 1 / 7, rng.choice(tags, size), gold)
        words = ["".join(chr(97 + c) for c in rng.integers(0, 26, 6)) for _ in range(size)]
        rows.append(Predicted(tuple(words), tuple(gold.tolist()), tuple(given.tolist())))
    config = TrainConfig(dataset="x", output_dir="runs/x")
    predictions = {"test": rows, "validation": rows}
    record = RunRecord(Path("runs/x"), config, [], {}, predictions, {}, None, {("a",)})
    made = page([record])
    assert len(made.encode()) < 5_000_000
    data = held(made)[0]
    assert data["sentences"] > 1500
